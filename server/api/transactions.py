"""The journal read back: single transactions, and the list for auditors."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from ..ledger.errors import NotFound
from ..ledger.updates import with_epoch
from .answers import answer, listing
from .calls import Call
from .queries import Page, TrialBalanceQuery, continue_page, filters_of, write_cursor


async def read_transaction(call: Call) -> Response:
    """The TRANSACTION to auditors, the own UPDATE to a user whom it touches, 404 to others."""
    reader = call.services.manager.reader
    stored = await reader.transaction(call.id)
    if stored is not None:
        epoch = (await reader.head()).epoch
        if call.principal.may("auditor"):
            return answer(stored.view(epoch))
        for user_id, body in stored.committed.user_bodies():
            if user_id == call.principal.user_id:
                return answer(with_epoch(epoch, body))
    raise NotFound("there is no such transaction")


async def list_transactions(call: Call, query: Page) -> Response:
    """Every transaction, newest first."""
    query, before = continue_page("transactions", query)
    reader = call.services.manager.reader
    rows = await reader.transactions(before, query.limit + 1)
    page = rows[: query.limit]
    more = len(rows) > query.limit
    epoch = (await reader.head()).epoch
    return listing(
        [msgspec.json.encode(row.view(epoch)) for row in page],
        write_cursor("transactions", filters_of(query), page[-1].committed.position)
        if more
        else None,
    )


async def list_audit(call: Call, query: Page) -> Response:
    """What operators did, newest first."""
    query, before = continue_page("audit", query)
    rows = await call.services.manager.reader.audit(before, query.limit + 1)
    page = rows[: query.limit]
    return listing(
        [msgspec.json.encode(row) for row in page],
        write_cursor("audit", {}, page[-1]["id"]) if len(rows) > query.limit else None,
    )


async def read_trial_balance(call: Call, query: TrialBalanceQuery) -> Response:
    """The sums by kind of owner; those of each book and asset are zero."""
    return answer(await call.services.manager.reader.trial_balance(query.as_of_position))
