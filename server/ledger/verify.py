"""
Verification: every invariant over the whole ledger, while traffic flows.

Works up to a head taken at the start, in pages that are each a short transaction of their
own, and keeps no more than a page. The journal below the head never changes, so pages of it
agree with one another; whatever moves on is compared within one statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from .. import metrics
from .accounts import AccountKey, StoredState
from .catalog import Catalog
from .database import Database
from .digest import GENESIS
from .entry_walk import Cause, EntryWalk, check_cached, check_row, not_a_number, without_catalog
from .errors import UnknownAsset, UnknownBook, UnknownUser
from .history import JournalReader
from .invariants import Discrepancy, Measure, check_trial_balance
from .journal import Journal
from .journal_walk import Ends, JournalWalk, LoggedSeal, Original, check_ends
from .stored import StoredAccount, StoredEntry, StoredSeal, misfit
from .transaction_types import TransactionTypes
from .verify_statements import TRANSACTION_COLUMNS, Statements, rows

TRANSACTIONS_PER_PAGE = 250
BYTES_PER_PAGE = 1 << 20
ENTRIES_PER_PAGE = 500
ACCOUNTS_PER_PAGE = 500
SYSTEM_POSTINGS_PER_PAGE = 2000
MOST_DETAILS = 1000

Progress = Callable[[int, int], None]

_SMALLEST = -(2**63)


class Report(Struct, frozen=True):
    """
    What a verification found.

    checked: transactions and accounts looked at; synced, fixed: caches and mirrors put right;
    errors: discrepancies in all; details: the first MOST_DETAILS of them. Read by attribute or
    by name, as a mapping.
    """

    checked: int
    synced: int
    fixed: int
    errors: int
    details: list[Discrepancy]

    def keys(self) -> tuple[str, ...]:
        """The names of its values."""
        return self.__struct_fields__

    def __getitem__(self, name: str) -> Any:
        """The value called `name`; raises KeyError."""
        if name not in self.__struct_fields__:
            raise KeyError(name)
        return getattr(self, name)


class Verifier:
    """Verifies the ledger in `database`; changes nothing."""

    def __init__(
        self, database: Database, journal: Journal, reader: JournalReader, types: TransactionTypes
    ) -> None:
        self._database = database
        self._journal = journal
        self._reader = reader
        self._types = types
        self._statements = Statements(database.dialect)

    async def verify(
        self,
        *,
        user_id: str | None = None,
        book: str | None = None,
        logged: Sequence[LoggedSeal] = (),
        progress: Progress | None = None,
    ) -> Report:
        """
        Check every invariant, or those of the accounts of `user_id` or `book` alone.

        logged: seals noted outside of the database, which the journal must still have; progress:
        called after each page with what is checked so far and in all, transactions and accounts.
        Raises UnknownUser, UnknownBook where there is nothing to check.
        """
        async with self._database.read() as connection:
            row = (await connection.execute(self._statements.bounds)).one()
            catalog = await self._journal.catalog(connection)
        ends, last_account = _ends(row), row.last_account or 0
        if book is not None:
            catalog.book(book)
        selection = _Selection(last_account, user_id, book)
        accounts = await self._count(selection)
        if user_id is not None and not accounts:
            raise UnknownUser(f"{user_id!r} has no account here")
        head = ends.transactions if selection.whole else 0
        run = _Run(
            self._database, self._statements, catalog, self._types, head + accounts, progress
        )
        for seal in logged:
            await run.look_for(seal)
        if selection.whole:
            run.report(check_ends(ends))
            await run.walk_journal(ends.transactions)
        await run.walk_accounts(selection, ends.transactions)
        if user_id is None:
            run.report(check_trial_balance(await self._sums(book)))
        metrics.VERIFY_DISCREPANCIES.set(run.errors)
        return Report(
            checked=run.checked, synced=0, fixed=0, errors=run.errors, details=run.details
        )

    async def _count(self, selection: _Selection) -> int:
        async with self._database.read() as connection:
            counted = await connection.execute(
                self._statements.count_accounts(selection.condition),
                selection.parameters(_SMALLEST),
            )
            return int(counted.scalar_one())

    async def _sums(self, book: str | None) -> dict[str, str]:
        try:
            sums: dict[str, str] = (await self._reader.trial_balance())["sums"]
        except (UnknownBook, UnknownAsset):
            # An account's book or asset is gone: the walk of the accounts has named it.
            return {}
        return {name: total for name, total in sums.items() if book in (None, name.split("/")[0])}


class _Forced(Struct):
    forced: bool = False


class _Selection(NamedTuple):
    """Which accounts are checked; those made after the start are left to the next time."""

    last_account: int
    user_id: str | None
    book: str | None

    @property
    def whole(self) -> bool:
        return self.user_id is None and self.book is None

    @property
    def condition(self) -> str:
        parts = ["id <= :last_account"]
        if self.user_id is not None:
            parts.append("owner = :user_id")
        if self.book is not None:
            parts.append("book = :book")
        return " AND ".join(parts)

    def parameters(self, after: int) -> dict[str, Any]:
        named = {name: value for name, value in self._asdict().items() if value is not None}
        return {"after": after, **named}


class _Run:
    """One verification: the pages, and what was found in them so far."""

    def __init__(
        self,
        database: Database,
        statements: Statements,
        catalog: Catalog,
        types: TransactionTypes,
        total: int,
        progress: Progress | None,
    ) -> None:
        self._database = database
        self._statements = statements
        self._catalog = catalog
        self._types = types
        self._total = total
        self._progress = progress
        self.checked = 0
        self.errors = 0
        self.details: list[Discrepancy] = []

    def report(self, found: Iterable[Discrepancy]) -> None:
        """Count what was found, and keep the first."""
        for discrepancy in found:
            self.errors += 1
            if len(self.details) < MOST_DETAILS:
                self.details.append(discrepancy)

    def _advance(self, checked: int) -> None:
        self.checked += checked
        if self._progress is not None:
            self._progress(self.checked, self._total)

    async def look_for(self, logged: LoggedSeal) -> None:
        """A seal that the journal had must still be there, and with it all that it vouches for."""
        found = await self._fetch(self._statements.seal, position=logged.position)
        self.report(logged.check(found[0][0] if found else None))

    async def walk_journal(self, head: int) -> None:
        """Every transaction up to `head` by position, with its postings and its seal."""
        walk = JournalWalk(self._catalog, self._types)
        after = 0
        while after < head:
            after = await self._journal_page(walk, after, head)

    async def _journal_page(self, walk: JournalWalk, after: int, head: int) -> int:
        statements = self._statements
        async with self._database.read() as connection:
            records = [
                dict(zip(TRANSACTION_COLUMNS, row, strict=True))
                for row in await rows(
                    connection,
                    statements.transactions,
                    after=after,
                    head=head,
                    limit=TRANSACTIONS_PER_PAGE,
                    bytes=BYTES_PER_PAGE,
                )
            ]
            if not records:
                return head
            upto: int = records[-1]["position"]
            postings = [
                StoredEntry._make(row)
                for row in await rows(connection, statements.postings, after=after, upto=upto)
            ]
            ids = statements.set({p.account_id for p in postings if isinstance(p.account_id, int)})
            accounts = {
                row[0]: AccountKey._make(row[1:])
                for row in await rows(connection, statements.account_keys, ids=ids)
                if all(isinstance(part, str) for part in row[1:])
            }
            originals = await self._originals(connection, records)
            while walk.seals_read_to < upto:
                seals = await rows(
                    connection,
                    statements.seals,
                    after=walk.seals_read_to,
                    head=head,
                    limit=TRANSACTIONS_PER_PAGE,
                )
                if not seals:
                    break
                walk.add_seals(StoredSeal._make(row) for row in seals)
        by_position: dict[int, list[StoredEntry]] = {}
        for posting in postings:
            by_position.setdefault(posting.position, []).append(posting)
        for record in records:
            legs = by_position.get(record["position"], [])
            self.report(walk.transaction(record, legs, accounts, originals))
        self._advance(len(records))
        return upto

    async def _originals(
        self, connection: AsyncConnection, records: Sequence[Mapping[str, Any]]
    ) -> dict[str, Original]:
        """What the transactions of a page reverse, by id."""
        ids = {r["reverses"] for r in records if isinstance(r["reverses"], str)}
        if not ids:
            return {}
        statements = self._statements
        found = await rows(connection, statements.originals, ids=statements.set(ids))
        legs: dict[int, dict[int, int]] = {row[1]: {} for row in found}
        for position, account_id, amount in await rows(
            connection, statements.legs, positions=statements.set(legs)
        ):
            legs[position][account_id] = amount
        return {
            id_: Original(position, kind, legs[position], first)
            for id_, position, kind, first in found
        }

    async def walk_accounts(self, selection: _Selection, head: int) -> None:
        """Every account that is selected: its entries up to `head`, and its row."""
        page_of_accounts = self._statements.accounts(selection.condition)
        after = _SMALLEST
        while True:
            page = [
                StoredAccount._make(row)
                for row in await self._fetch(
                    page_of_accounts, limit=ACCOUNTS_PER_PAGE, **selection.parameters(after)
                )
            ]
            if not page:
                return
            await self._account_page(page, head, everyone=selection.whole)
            self._advance(len(page))
            after = page[-1].id

    async def _account_page(
        self, page: Sequence[StoredAccount], head: int, *, everyone: bool
    ) -> None:
        measures: dict[int, Measure] = {}
        users: set[int] = set()
        for account in page:
            self.report(check_row(account))
            if misfit(account) is not None:
                continue
            measure = Measure.of(account.key, self._catalog)
            if measure is None:
                self.report([without_catalog(account.key)])
                continue
            measures[account.id] = measure
            if not account.key.is_system:
                users.add(account.id)
        for first, last in _ranges(page, users, everyone=everyone):
            await self._entries(first, last, head, measures)
        await self._cached(users, measures)
        for id_ in measures.keys() - users:
            await self._system_account(id_, measures[id_])

    async def _entries(
        self, first: int, last: int, head: int, measures: dict[int, Measure]
    ) -> None:
        """The entries of the accounts with ids `first` to `last`, all of users, by account."""
        statements = self._statements
        walked, walk = None, None
        cursor = (first, _SMALLEST)
        full = True
        while full:
            async with self._database.read() as connection:
                page = [
                    StoredEntry._make(row)
                    for row in await rows(
                        connection,
                        statements.entries,
                        account_id=cursor[0],
                        position=cursor[1],
                        last=last,
                        head=head,
                        limit=ENTRIES_PER_PAGE,
                    )
                ]
                positions = statements.set({entry.position for entry in page})
                causes = {
                    row[0]: _cause(*row[1:])
                    for row in await rows(connection, statements.causes, positions=positions)
                }
            for entry in page:
                if entry.account_id != walked:
                    walked, measure = entry.account_id, measures.get(entry.account_id)
                    # No such account: the walk of the journal has named it.
                    walk = None if measure is None else EntryWalk(measure, self._types)
                if walk is not None:
                    self.report(walk.entry(entry, causes.get(entry.position)))
            full = len(page) == ENTRIES_PER_PAGE
            if full:
                cursor = (page[-1].account_id, page[-1].position)

    async def _cached(self, ids: set[int], measures: dict[int, Measure]) -> None:
        """Each account's row against its own last entry, both read by one statement."""
        if not ids:
            return
        found = await self._fetch(self._statements.cached, ids=self._statements.set(ids))
        for id_, last_position, *columns in found:
            cached = StoredState._make(columns[: len(StoredState._fields)])
            entries = StoredState._make(columns[len(StoredState._fields) :])
            self.report(
                check_cached(measures[id_], cached, None if last_position is None else entries)
            )

    async def _system_account(self, id_: int, measure: Measure) -> None:
        """
        A system account's row against the sum of its postings: pages as far as there are any,
        then, by one statement, the row and the postings that came meanwhile.
        """
        total, after = 0, _SMALLEST
        full = True
        while full:
            page = await self._fetch(
                self._statements.system_postings,
                id=id_,
                after=after,
                limit=SYSTEM_POSTINGS_PER_PAGE,
            )
            total += self._sum(measure, page)
            after = page[-1][0] if page else after
            full = len(page) == SYSTEM_POSTINGS_PER_PAGE
        found = await self._fetch(self._statements.system_row, id=id_, after=after)
        for *state, position, amount in found:
            if position is not None:
                total, after = total + self._sum(measure, [(position, amount)]), position
            cached = StoredState._make(state)
        if found:
            summed = None if after == _SMALLEST else StoredState()._replace(balance=total)
            self.report(check_cached(measure, cached, summed))

    def _sum(self, measure: Measure, postings: Iterable[tuple[int, int]]) -> int:
        """The sum of the amounts of (position, amount); what is no number is told."""
        total = 0
        for position, amount in postings:
            if isinstance(amount, int):
                total += amount
            else:
                self.report([not_a_number(measure, position, amount)])
        return total

    async def _fetch(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        async with self._database.read() as connection:
            return await rows(connection, statement, **parameters)


def _cause(id_: str, kind: str, undone: str | None, metadata: str | None) -> Cause:
    """The cause of an entry; metadata: that of a reversal, where it says whether it was forced."""
    forced = False
    if metadata is not None:
        with suppress(msgspec.DecodeError):
            forced = msgspec.json.decode(metadata, type=_Forced).forced
    return Cause(id_, kind, undone, forced)


def _ends(row: Any) -> Ends:
    return Ends(
        clock=row.position,
        clock_seal=row.seal,
        clock_time=row.created_at,
        transactions=row.transactions or 0,
        postings=row.postings or 0,
        seals=row.seals or 0,
        last_seal=row.last_seal or GENESIS,
        last_time=row.last_time,
        beyond=row.beyond,
    )


def _ranges(
    page: Sequence[StoredAccount], wanted: set[int], *, everyone: bool
) -> list[tuple[int, int]]:
    """
    The ids `wanted` of the accounts in `page` as ranges that hold no other account's id.

    everyone: `page` leaves no account out; else only neighbouring ids may share a range.
    """
    ranges: list[tuple[int, int]] = []
    end: int | None = None
    for account in page:
        id_ = account.id
        if id_ not in wanted:
            end = None
        elif end is not None and (everyone or id_ == end + 1):
            ranges[-1], end = (ranges[-1][0], id_), id_
        else:
            ranges.append((id_, id_))
            end = id_
    return ranges
