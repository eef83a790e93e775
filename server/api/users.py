"""What a user has, and how it came about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from ..ledger.accounts import check_user_id
from ..ledger.clock import parse_rfc3339, rfc3339
from ..ledger.days import parse_day
from ..ledger.errors import InvalidRequest
from ..ledger.history import HistoryFilter
from ..ledger.statements import Statement
from ..ledger.updates import Committed, with_epoch
from .answers import answer, json_array, listing
from .calls import Call
from .csv_answers import csv_answer, wants_csv
from .history_rows import HISTORY_COLUMNS, history_rows
from .queries import (
    BalancesQuery,
    HistoryQuery,
    StatementQuery,
    continue_page,
    filters_of,
    write_cursor,
)

_STATEMENT_COLUMNS = ("account", "line", "change_type", "category", "count", "amount")


async def read_balances(call: Call, query: BalancesQuery) -> Response:
    """The user's balances, of now, as of a position or time, or as effective before a day."""
    user_id = check_user_id(call.path["user"])
    if [query.as_of_position, query.as_of_time, query.before].count(None) < 2:
        raise InvalidRequest("give at most one of as_of_position, as_of_time, before")
    manager, book = call.services.manager, query.book
    if book is not None:
        await manager.prepare(lambda catalog: catalog.book(book))
    reader = manager.reader
    if query == BalancesQuery():
        snapshot = await reader.snapshot([user_id])
    elif query.before is not None:
        day = parse_day(query.before, "before")
        snapshot = await reader.balances_before(user_id, day, book=book)
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


async def read_statement(call: Call, query: StatementQuery) -> Response:
    """What moved the user's balances in one book, by effective date, from one day to another."""
    user_id = check_user_id(call.path["user"])
    as_csv = wants_csv(call)
    statement = await call.services.manager.statement(
        user_id, from_=query.from_, to=query.to, book=query.book
    )
    if not as_csv:
        return answer(statement)
    name = f"statement-{statement.book}-{statement.from_}-{statement.to}"
    return csv_answer(name, _STATEMENT_COLUMNS, _statement_rows(statement))


async def list_history(call: Call, query: HistoryQuery) -> Response:
    """The updates that touched the user, newest first; as CSV a page too, the next by `Link`."""
    user_id = check_user_id(call.path["user"])
    as_csv = wants_csv(call)
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
    cursor = write_cursor(listed, filters_of(query), page[-1].position) if more else None
    admin = call.principal.may("auditor")
    views = [_view(row, user_id, admin=admin) for row in page]
    if as_csv:
        rows_of = history_rows(map(msgspec.json.decode, views))
        download = csv_answer(f"history-{user_id}", HISTORY_COLUMNS, rows_of)
        if cursor is not None:
            query_of_next = urlencode({"limit": query.limit, "cursor": cursor})
            download.headers["Link"] = f'<?{query_of_next}>; rel="next"'
        return download
    epoch = (await reader.head()).epoch
    return listing([with_epoch(epoch, view) for view in views], cursor)


def _statement_rows(statement: Statement) -> Iterator[Sequence[object]]:
    for each in statement.accounts:
        yield each.account, "opening", None, None, None, each.opening
        for movement in each.movements:
            yield each.account, "movement", *msgspec.structs.astuple(movement)
        yield each.account, "closing", None, None, None, each.closing


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
