"""What operators do besides money: pause, resume, disconnect; and stream tickets."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from ..ledger.accounts import check_user_id
from ..ledger.clock import rfc3339
from .answers import answer
from .calls import Call
from .queries import NamesQuery, names_page
from .schemas import Connections, UserConnections

TICKET_SECONDS = 60


async def read_pause(call: Call) -> Response:
    """Whether changes are refused now."""
    return answer({"paused": (await call.services.manager.read_catalog()).paused})


async def pause(call: Call) -> Response:
    """Refuse changes until resumed; reads go on."""
    await call.services.manager.administration.pause(actor=call.principal.user_id)
    return answer({"paused": True})


async def resume(call: Call) -> Response:
    """Take changes again."""
    await call.services.manager.administration.resume(actor=call.principal.user_id)
    return answer({"paused": False})


async def list_connections(call: Call, query: NamesQuery) -> Response:
    """Who is on, by user_id, with how many live connections, in all processes that are reached."""
    counts = await call.services.hub.connections()
    page, next_cursor = names_page("connections", counts, query)
    items = [UserConnections(user_id, counts[user_id]) for user_id in page]
    return answer(Connections(len(counts), sum(counts.values()), items, next_cursor))


async def disconnect_user(call: Call) -> Response:
    """Close the user's connections and refuse the tokens issued up to this second."""
    services, user_id = call.services, check_user_id(call.path["user"])
    at = math.floor(services.clock.now().timestamp())
    await services.manager.access.revoke(user_id, at)
    services.revocations.revoke(user_id, at)
    services.hub.disconnect(user_id)
    await services.bus.publish_revocation(user_id, at)
    revoked_until = rfc3339(datetime.fromtimestamp(at, UTC))
    await services.manager.administration.record(
        call.principal.user_id, "disconnect", user_id, {"revoked_until": revoked_until}
    )
    return answer({"user_id": user_id, "revoked_until": revoked_until})


async def create_ticket(call: Call) -> Response:
    """A ticket to connect with, once, for those who cannot send headers."""
    services, principal = call.services, call.principal
    expires_at = min(
        services.clock.now() + timedelta(seconds=TICKET_SECONDS),
        datetime.fromtimestamp(min(principal.expires_at, 2**32), UTC),
    )
    ticket = await services.manager.access.issue_ticket(principal.claims(), expires_at)
    return answer({"ticket": ticket, "expires_at": rfc3339(expires_at)})
