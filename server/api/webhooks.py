"""Webhooks: made, changed, looked at, removed."""

from __future__ import annotations

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from .. import metrics
from ..ledger.updates import UpdateFilter
from ..webhooks.registrations import Registration, Wanted
from ..webhooks.signing import Secret
from .answers import answer, listing
from .bodies import WebhookSettings
from .calls import Call
from .queries import NamesQuery, continue_page, write_cursor
from .schemas import Removed, Webhook
from .services import Services


async def put_webhook(call: Call, settings: WebhookSettings) -> Response:
    """Make the webhook or change what is named; it is then tried at once, unless it is paused."""
    wanted = Wanted(
        url=settings.url,
        filter=None if settings.filter is None else UpdateFilter.parse(settings.filter),
        secret=None if settings.secret is None else Secret(settings.secret),
        position=settings.position,
        status=settings.status,
    )
    made, fresh = await call.services.webhooks.put(
        call.path["name"], wanted, actor=call.principal.user_id
    )
    return answer(_view(made, await _head(call), fresh))


async def read_webhook(call: Call) -> Response:
    """A webhook, and how far its deliveries have come; never its secret."""
    found = await call.services.webhooks.get(call.path["name"])
    return answer(_view(found, await _head(call)))


async def list_webhooks(call: Call, query: NamesQuery) -> Response:
    """The webhooks, by name."""
    query, _ = continue_page("webhooks", query)
    rows = await call.services.webhooks.listed(query.after, query.limit + 1)
    head = await _head(call)
    page = rows[: query.limit]
    more = len(rows) > query.limit
    return listing(
        [msgspec.json.encode(_view(row, head)) for row in page],
        write_cursor("webhooks", {"after": page[-1].name}, len(page)) if more else None,
    )


async def delete_webhook(call: Call) -> Response:
    """Remove the webhook; a delivery that is under way may still arrive."""
    name = call.path["name"]
    await call.services.webhooks.remove(name, actor=call.principal.user_id)
    return answer(Removed(name))


async def measure_webhooks(services: Services) -> None:
    """Show on /metrics how every webhook stands by its row; raises LedgerError."""
    rows = await services.webhooks.all()
    head = (await services.manager.reader.head()).position
    metrics.WEBHOOK_LAG.clear()
    metrics.WEBHOOK_FAILED.clear()
    metrics.WEBHOOK_PAUSED.clear()
    for row in rows:
        metrics.WEBHOOK_LAG.labels(row.name).set(row.lag(head))
        metrics.WEBHOOK_FAILED.labels(row.name).set(row.attempts)
        metrics.WEBHOOK_PAUSED.labels(row.name).set(row.status == "paused")


async def _head(call: Call) -> int:
    return (await call.services.manager.reader.head()).position


def _view(row: Registration, head: int, fresh: Secret | None = None) -> Webhook:
    return Webhook(
        name=row.name,
        url=row.url,
        filter=row.filter.conditions(),
        status=row.status,
        position=row.position,
        head=head,
        lag=row.lag(head),
        attempts=row.attempts,
        failing_since=row.failing_since,
        next_attempt_at=row.next_attempt_at,
        last_error=row.last_error,
        last_delivered_at=row.last_delivered_at,
        secret=UNSET if fresh is None else fresh.text,
    )
