"""What a user has, and how it came about."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from ..ledger.accounts import check_user_id
from ..ledger.clock import parse_rfc3339, rfc3339
from ..ledger.errors import InvalidRequest
from ..ledger.history import HistoryFilter
from ..ledger.updates import Committed, with_epoch
from .answers import answer, json_array, listing
from .calls import Call
from .queries import BalancesQuery, HistoryQuery, continue_page, filters_of, write_cursor


async def read_balances(call: Call, query: BalancesQuery) -> Response:
    """The user's balances, of now or as of a position or time."""
    user_id = check_user_id(call.path["user"])
    if query.before is not None:
        raise InvalidRequest("before is not offered yet")
    if query.as_of_position is not None and query.as_of_time is not None:
        raise InvalidRequest("give at most one of as_of_position, as_of_time, before")
    manager, book = call.services.manager, query.book
    if book is not None:
        await manager.prepare(lambda catalog: catalog.book(book))
    reader = manager.reader
    if query == BalancesQuery():
        snapshot = await reader.snapshot([user_id])
    else:
        snapshot = await reader.balances_at(
            user_id,
            position=query.as_of_position,
            time=_time("as_of_time", query.as_of_time),
            book=book,
        )
    return answer(
        b'{"user_id":%s,"epoch":"%s","position":%d,"balances":%s}'
        % (
            msgspec.json.encode(user_id),
            snapshot.epoch.encode(),
            snapshot.position,
            json_array(snapshot.balances.get(user_id, [])),
        )
    )


async def list_history(call: Call, query: HistoryQuery) -> Response:
    """The updates that touched the user, newest first."""
    user_id = check_user_id(call.path["user"])
    listed = f"history of {user_id}"
    query, before = continue_page(listed, query)
    reader = call.services.manager.reader
    wanted = HistoryFilter(
        type=query.type,
        book=query.book,
        asset=query.asset,
        from_=_time("from", query.from_),
        to=_time("to", query.to),
        reference=query.reference,
        metadata=query.metadata,
    )
    rows = await reader.history(user_id, wanted, before, query.limit + 1)
    page = rows[: query.limit]
    more = len(rows) > query.limit
    epoch = (await reader.head()).epoch
    return listing(
        [
            with_epoch(epoch, _view(row, user_id, admin=call.principal.may("auditor")))
            for row in page
        ],
        write_cursor(listed, filters_of(query), page[-1].position) if more else None,
    )


def _view(committed: Committed, user_id: str, *, admin: bool) -> bytes:
    """The user's UPDATE, with the admin fields where the reader may see them."""
    place = [user for user, _ in committed.user_bodies()].index(user_id)
    return committed.admin_bodies()[place] if admin else committed.user_bodies()[place][1]


def _time(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        # In a query string an unescaped "+" of an offset arrives as a space.
        return rfc3339(parse_rfc3339(text.replace(" ", "+")))
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} is an RFC 3339 time with an offset") from None
