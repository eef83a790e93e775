"""
Reads by effective date: balances before a day, statements of a period.

Nothing is effective after it is booked. So whatever was booked before an instant counts as it
stands, by one keyed read an account, and only what was booked since is looked at one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from .accounts import Account, AccountKey
from .balances import (
    BalanceReader,
    Head,
    Snapshot,
    last_booked,
    read_head,
    states_at,
)
from .catalog import Asset, Book
from .clock import rfc3339
from .dialects import Sets, halves, joined
from .money import format_amount
from .views import dated_balance_view


class Movement(Struct, frozen=True):
    """
    What one type of change, in one category, moved in a period.

    category: ``metadata.category``, None where there is none; count: of entries; amount: their
    sum, a decimal string in whole units, own sense.
    """

    change_type: str
    category: str | None
    count: int
    amount: str


class AccountStatement(Struct, frozen=True):
    """One account over a period: `opening` and the movements add up to `closing`."""

    account: str
    opening: str
    movements: list[Movement]
    closing: str


class Statement(Struct, frozen=True, rename={"from_": "from"}):
    """A user's accounts in one book, by name, over the days `from_` to `to`, both included."""

    book: str
    from_: str
    to: str
    accounts: list[AccountStatement]


class EffectiveReader(BalanceReader):
    """Reads in which a change counts from its effective date, whenever it was booked."""

    async def balances_before(
        self, user_id: str, day: date, *, book: str | None = None
    ) -> Snapshot:
        """
        The user's balances and totals by what was effective strictly before `day` started in
        each book's own time zone, as known at the head; everything else in them is null.
        """
        async with self._database.read() as connection:
            head = await read_head(connection)
            # Read anew: a book's time zone can be changed.
            catalog = await self._journal.catalog(connection)
            rows = await connection.execute(
                text("SELECT DISTINCT book FROM accounts WHERE owner = :user"), {"user": user_id}
            )
            books_by_start: dict[str, list[str]] = {}
            for name in rows.scalars():
                if book in (None, name):
                    start = rfc3339(catalog.book(name).start_of(day))
                    books_by_start.setdefault(start, []).append(name)
            accounts = [
                account
                for start, books in books_by_start.items()
                for account in await self._before(connection, user_id, books, start, head)
            ]
        views = [
            msgspec.json.encode(dated_balance_view(account, catalog))
            for account in sorted(accounts, key=lambda account: account.key.name)
        ]
        return Snapshot(head.epoch, head.position, {user_id: views})

    async def statement(self, user_id: str, book: str, first: date, last: date) -> Statement:
        """
        What moved the user's accounts in `book` on the days `first` to `last`, both included, in
        the book's time zone. Accounts in which no money had moved by then are left out, and so
        are entries that move none. Raises UnknownBook.
        """
        async with self._database.read() as connection:
            head = await read_head(connection)
            catalog = await self._journal.catalog(connection)
            in_book = catalog.book(book)
            start, end = rfc3339(in_book.start_of(first)), rfc3339(in_book.end_of(last))
            booked = await last_booked(connection, "created_at < :time", start, head)
            openings = {
                account.key.asset: account.balance
                for account in await states_at(connection, user_id, booked)
                if account.key.book == book
            }
            place = {"user": user_id, "book": book, "booked": booked}
            moved = await connection.execute(text(_MOVED_BY), place)
            drafts = {asset: _Draft(openings[asset]) for asset in moved.scalars()}
            rows = await connection.execute(
                text(_movements(self._database.dialect)),
                {**place, "head": head.position, "start": start, "end": end},
            )
            for asset, *movement in rows:
                drafts.setdefault(asset, _Draft(0)).add(*movement)
        return Statement(
            book,
            first.isoformat(),
            last.isoformat(),
            sorted(
                (
                    draft.finished(user_id, in_book, catalog.asset(asset))
                    for asset, draft in drafts.items()
                ),
                key=lambda each: each.account,
            ),
        )

    async def _before(
        self,
        connection: AsyncConnection,
        user_id: str,
        books: Sequence[str],
        start: str,
        head: Head,
    ) -> list[Account]:
        """The user's accounts in `books` with the balance and the totals before `start`."""
        booked = await last_booked(connection, "created_at < :time", start, head)
        accounts = {
            account.id: account
            for account in await states_at(connection, user_id, booked)
            if account.key.book in books
        }
        sets = Sets(self._database.dialect)
        rows = await connection.execute(
            text(_BOOKED_SINCE.format(books=sets.among("books", "text"))),
            {
                "user": user_id,
                "books": sets.parameter(books),
                "booked": booked,
                "head": head.position,
                "start": start,
            },
        )
        for id_, book, owner, asset, *sums in rows:
            account = accounts.get(id_) or Account(id_, AccountKey(book, owner, asset))
            earned = joined(sums[6], sums[7])
            accounts[id_] = replace(
                account,
                balance=account.balance + joined(sums[0], sums[1]),
                total_in=account.total_in + joined(sums[2], sums[3]),
                total_out=account.total_out + joined(sums[4], sums[5]),
                total_earned=(account.total_earned or 0) + earned
                if earned
                else account.total_earned,
            )
        return list(accounts.values())


class _Draft:
    """One account's statement while its rows come in; minor units as stored."""

    def __init__(self, opening: int) -> None:
        self._opening = opening
        self._movements: dict[tuple[str, str | None], tuple[int, int]] = {}

    def add(
        self, is_before: bool, kind: str, category: str | None, count: int, high: Any, low: Any
    ) -> None:
        amount = joined(high, low)
        if is_before:
            self._opening += amount
            return
        key = (kind, _label(category))
        counted, summed = self._movements.get(key, (0, 0))
        self._movements[key] = (counted + count, summed + amount)

    def finished(self, user_id: str, book: Book, asset: Asset) -> AccountStatement:
        def shown(stored: int) -> str:
            return format_amount(book.stored_sign * stored, asset.scale)

        ordered = sorted(self._movements.items(), key=lambda each: (each[0][0], each[0][1] or ""))
        closing = self._opening + sum(amount for _, amount in self._movements.values())
        return AccountStatement(
            AccountKey(book.name, user_id, asset.code).name,
            shown(self._opening),
            [Movement(*key, count, shown(amount)) for key, (count, amount) in ordered],
            shown(closing),
        )


def _label(category: str | None) -> str | None:
    """The category in its JSON text: a string is itself, another value its JSON, null is none."""
    value = None if category is None else msgspec.json.decode(category)
    return value if value is None or isinstance(value, str) else category


# The assets of the accounts in which money was moved by what was booked up to :booked.
_MOVED_BY = """
SELECT a.asset FROM accounts a WHERE a.owner = :user AND a.book = :book AND EXISTS (
    SELECT 1 FROM postings p
    WHERE p.account_id = a.id AND p.position <= :booked AND p.amount <> 0)
"""

# What was booked after :booked and was effective before :start, by account. The totals that an
# entry left, less those that the one before it left, are what it added to them.
_BOOKED_SINCE = f"""
SELECT e.id, e.book, e.owner, e.asset,
    {halves("e.amount")}, {halves("e.total_in")}, {halves("e.total_out")},
    {halves("e.total_earned")}
FROM (
    SELECT a.id, a.book, a.owner, a.asset, p.position, p.amount,
        p.total_in - COALESCE(LAG(p.total_in) OVER entries, 0) AS total_in,
        p.total_out - COALESCE(LAG(p.total_out) OVER entries, 0) AS total_out,
        p.total_earned - COALESCE(LAG(p.total_earned) OVER entries, 0) AS total_earned
    FROM accounts a JOIN postings p ON p.account_id = a.id AND p.position <= :head
        AND p.position >= COALESCE((SELECT max(q.position) FROM postings q
            WHERE q.account_id = a.id AND q.position <= :booked), 0)
    WHERE a.owner = :user AND a.book {{books}}
    WINDOW entries AS (PARTITION BY p.account_id ORDER BY p.position)
) e JOIN transactions t ON t.position = e.position
WHERE e.position > :booked AND t.effective_at < :start
GROUP BY e.id, e.book, e.owner, e.asset
"""


def _movements(dialect: str) -> str:
    """What was booked after :booked and moved money before :end, told apart at :start."""
    metadata = "t.metadata" if dialect == "sqlite" else "CAST(t.metadata AS json)"
    return f"""
    SELECT m.asset, m.is_before, m.type, m.category, COUNT(*), {halves("m.amount")}
    FROM (
        SELECT a.asset, p.amount, t.type, t.effective_at < :start AS is_before,
            CAST({metadata} -> 'category' AS text) AS category
        FROM accounts a
        JOIN postings p ON p.account_id = a.id
            AND p.position > :booked AND p.position <= :head AND p.amount <> 0
        JOIN transactions t ON t.position = p.position
        WHERE a.owner = :user AND a.book = :book AND t.effective_at < :end
    ) m GROUP BY m.asset, m.is_before, m.type, m.category
    """
