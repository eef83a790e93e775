"""
Accounts, read page by page: their entries for the walk, and every copy of what the entries say,
their rows, holds and mirrors. Whatever moves on meanwhile is compared within one statement.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from sqlalchemy import TextClause

from ..accounts import AccountKey, StoredState
from ..catalog import Catalog
from ..database import Database
from ..dialects import joined
from ..invariants import Discrepancy, Measure
from ..mirrors.check import MirrorCheck
from ..mirrors.copies import Copy, check_copy, unreadable
from ..report import Findings
from ..transaction_types import TransactionTypes
from .entry_walk import (
    Cause,
    EntryWalk,
    check_cached,
    check_row,
    not_a_number,
    without_catalog,
)
from .holds import HoldJournal, StoredHold, check_hold, check_open_holds, never_placed
from .journal_pages import JournalPages
from .queries import Selection, Statements, rows
from .stored import StoredAccount, StoredEntry, misfit
from .trading_pages import TradingPages, TradingRepairs

ENTRIES_PER_PAGE = 500
ACCOUNTS_PER_PAGE = 500
SYSTEM_POSTINGS_PER_PAGE = 2000

_SMALLEST = -(2**63)
_WIDTH = len(StoredState._fields)


class Repairs(TradingRepairs, Protocol):
    """Makes copies say again what the journal says."""

    async def account(self, key: AccountKey, found: Sequence[Discrepancy]) -> bool:
        """Repair a user account, where this was found; whether that was accepted."""

    async def mirrors(self, key: AccountKey) -> None:
        """Put right those mirrors of an account that can be."""

    async def system_account(
        self, key: AccountKey, position: int, balance: int, found: Sequence[Discrepancy]
    ) -> bool:
        """
        Repair a system account, whose postings up to `position` sum to `balance`; whether that
        was accepted.
        """


class Copies(Struct):
    """
    What is wrong with the copies of one account, its entries taken as they are.

    found: in its row and its holds; mirrored: in its mirrors; holds: those whose rows are wrong;
    last_entry: the position of its last entry, None where it has none; agrees: whether the row
    has that entry's seq and digest; ahead: whether it has those of a later one, which then is
    missing.
    """

    key: AccountKey
    found: list[Discrepancy] = []
    mirrored: list[Copy] = []
    holds: set[str] = set()
    last_entry: int | None = None
    agrees: bool = True
    ahead: bool = False


class AccountPages:
    """The accounts of one verification."""

    def __init__(
        self,
        database: Database,
        statements: Statements,
        catalog: Catalog,
        types: TransactionTypes,
        journal: JournalPages,
        mirrors: MirrorCheck,
        trading: TradingPages,
        findings: Findings,
        repairs: Repairs | None,
    ) -> None:
        """repairs: None where nothing is to be repaired."""
        self._database = database
        self._statements = statements
        self._catalog = catalog
        self._types = types
        self._journal = journal
        self._mirrors = mirrors
        self._trading = trading
        self._unreadable: set[str] = set()
        self._findings = findings
        self._repairs = repairs
        self._lost_entries = False
        # A few for each book and asset.
        self._system: list[tuple[StoredAccount, Measure]] = []

    async def count(self, selection: Selection) -> int:
        """How many accounts there are to check."""
        count, parameters = self._statements.count_accounts(selection)
        counted = await self._fetch(count, **parameters)
        return int(counted[0][0])

    async def walk(self, selection: Selection, *, history: bool = True) -> None:
        """
        Every account that is selected: the system's last, since it is users' entries that can
        prove that some are missing.

        history: whether to walk the entries too, and not only to compare what follows from them.
        """
        async for page in self._pages(selection):
            await self._page(page, history=history, everyone=selection.whole)
            self._findings.advance(len(page))
        for account, measure in self._system:
            await self._system_account(account, measure)

    async def _pages(self, selection: Selection) -> AsyncIterator[list[StoredAccount]]:
        statement, parameters = self._statements.accounts(selection)
        after = _SMALLEST
        while page := [
            StoredAccount._make(row)
            for row in await self._fetch(
                statement, **parameters, after=after, limit=ACCOUNTS_PER_PAGE
            )
        ]:
            yield page
            after = page[-1].id

    async def _page(self, page: Sequence[StoredAccount], *, history: bool, everyone: bool) -> None:
        measures: dict[int, Measure] = {}
        copies: dict[int, Copies] = {}
        faulty: set[int] = set()
        for account in page:
            if self._findings.report(check_row(account)):
                faulty.add(account.id)
            if misfit(account) is not None:
                continue
            measure = Measure.of(account.key, self._catalog)
            if measure is None:
                self._findings.report([without_catalog(account.key)])
                continue
            measures[account.id] = measure
            if account.key.is_system:
                self._system.append((account, measure))
            else:
                copies[account.id] = Copies(account.key)
        for first, last in _ranges(page, copies, everyone=everyone) if history else ():
            faulty |= await self._entries(first, last, measures, copies)
        await self._compare(measures, copies)
        for id_, compared in copies.items():
            await self._settle(id_, measures[id_], compared, sound=id_ not in faulty)

    async def _settle(self, id_: int, measure: Measure, copies: Copies, *, sound: bool) -> None:
        """Report what is wrong with an account's copies, after their repair where that may be."""
        if not copies.found and not copies.mirrored:
            return
        self._lost_entries = self._lost_entries or copies.ahead
        again = copies
        if self._repairs is not None and sound:
            if not copies.found:
                # Mirrors alone: what others wrote to them may be for the books.
                await self._repairs.mirrors(copies.key)
            if not copies.found or (
                await self._may_repair(id_, copies)
                and await self._repairs.account(copies.key, copies.found)
            ):
                again = Copies(copies.key)
                await self._check_holds(sorted(copies.holds), {id_: measure}, {id_: again})
                await self._compare({id_: measure}, {id_: again})
        # An account's row and holds are repaired together, each of its mirrors' rows by itself.
        fixed = bool(copies.found) and not again.found
        self._findings.fixed += fixed
        self._findings.report(copies.found, fixed=fixed)
        left = {copy.mirror.id for copy in again.mirrored}
        for copy in copies.mirrored:
            synced = copy.mirror.id not in left
            self._findings.synced += synced
            self._findings.report(check_copy(copy), fixed=synced)

    async def _may_repair(self, id_: int, copies: Copies) -> bool:
        """
        Whether the entries, whose own walk found nothing, can be taken for the truth.

        A row that is ahead of them may be the only trace of an entry that was taken away. A row
        that agrees with the last entry says that none was; else the whole journal is asked.
        """
        if copies.last_entry is None or copies.ahead:
            return False
        if copies.agrees:
            return await self._journal.contents_are_sound(id_)
        return await self._journal.is_sound(copies.key.name, copies.last_entry)

    async def _entries(
        self, first: int, last: int, measures: Mapping[int, Measure], copies: dict[int, Copies]
    ) -> set[int]:
        """
        The entries of the accounts with ids `first` to `last`, all of users, by account, the holds
        that they placed and the trades that they opened; the result is the ids of those whose
        entries are wrong.
        """
        statements, faulty = self._statements, set()
        walked, walk = None, None
        cursor = (first, _SMALLEST)
        full = True
        while full:
            async with self._database.read(any_text=True) as connection:
                page = [
                    StoredEntry._make(row)
                    for row in await rows(
                        connection,
                        statements.entries,
                        account_id=cursor[0],
                        position=cursor[1],
                        last=last,
                        head=self._journal.head,
                        limit=ENTRIES_PER_PAGE,
                    )
                ]
                positions = statements.set({entry.position for entry in page})
                causes = {
                    row[0]: Cause.stored(*row[1:])
                    for row in await rows(connection, statements.causes, positions=positions)
                }
            placed: list[str] = []
            opened: list[tuple[str, AccountKey]] = []
            for entry in page:
                if entry.account_id != walked:
                    walked, measure = entry.account_id, measures.get(entry.account_id)
                    # No such account: the walk of the journal has named it.
                    walk = None if measure is None else EntryWalk(measure, self._types)
                cause = causes.get(entry.position)
                if walk is not None and self._findings.report(walk.entry(entry, cause)):
                    faulty.add(entry.account_id)
                if cause is not None and cause.hold == cause.id:
                    placed.append(cause.id)
                if cause is not None and cause.trade == cause.id and entry.account_id in copies:
                    opened.append((cause.id, copies[entry.account_id].key))
            await self._check_holds(placed, measures, copies)
            await self._trading.opened(opened)
            full = len(page) == ENTRIES_PER_PAGE
            if full:
                cursor = (page[-1].account_id, page[-1].position)
        return faulty

    async def _check_holds(
        self, ids: Sequence[str], measures: Mapping[int, Measure], copies: Mapping[int, Copies]
    ) -> None:
        """The rows of holds against their newest transactions, both read by one statement."""
        if not ids:
            return
        statements = self._statements
        async with self._database.read(any_text=True) as connection:
            found = await rows(connection, statements.holds, ids=statements.set(ids))
            moves = await rows(connection, statements.hold_moves, ids=statements.set(ids))
        for id_, account_id, placed_at, newest, encoded, *columns in found:
            if account_id not in copies:
                continue
            remaining = sum(
                change for hold, position, change in moves if hold == id_ and position <= newest
            )
            wrong = list(
                check_hold(
                    measures[account_id],
                    StoredHold._make(columns),
                    HoldJournal(id_, account_id, placed_at, newest, encoded, remaining),
                )
            )
            if wrong:
                copies[account_id].found += wrong
                copies[account_id].holds.add(id_)

    async def _compare(self, measures: Mapping[int, Measure], copies: Mapping[int, Copies]) -> None:
        """Each account's row and open holds against its last entry, all read by one statement."""
        if not copies:
            return
        ids = self._statements.set(copies)
        for id_, last_entry, high, low, *columns in await self._fetch(
            self._statements.cached, ids=ids
        ):
            cached = StoredState._make(columns[:_WIDTH])
            entries = StoredState._make(columns[_WIDTH:])
            each, measure = copies[id_], measures[id_]
            each.last_entry = last_entry
            each.found += check_cached(measure, cached, None if last_entry is None else entries)
            if last_entry is None:
                continue
            each.agrees = (cached.seq, cached.digest) == (entries.seq, entries.digest)
            each.ahead = cached.digest != entries.digest and _after(cached.seq, entries.seq)
            remaining = joined(high, low)
            each.found += check_open_holds(measure, remaining, entries)
        for id_, account_id, remaining in await self._fetch(self._statements.loose_holds, ids=ids):
            copies[account_id].found.append(never_placed(measures[account_id], id_, remaining))
        if self._catalog.mirrors:
            await self._compare_mirrors(copies)

    async def _compare_mirrors(self, copies: Mapping[int, Copies]) -> None:
        page = await self._mirrors.page_of(list(copies))
        for copy in page.copies:
            if not copy.is_right:
                copies[copy.account_id].mirrored.append(copy)
        for mirror, said in page.unreadable:
            if mirror.name not in self._unreadable:
                self._unreadable.add(mirror.name)
                self._findings.report([unreadable(mirror, said)])

    async def _system_account(self, account: StoredAccount, measure: Measure) -> None:
        """
        A system account's row against the sum of its postings: pages as far as there are any,
        then, by one statement, the row and the postings that came meanwhile.
        """
        total, after, numbers_only = 0, _SMALLEST, True
        full = True
        while full:
            page = await self._fetch(
                self._statements.system_postings,
                id=account.id,
                after=after,
                limit=SYSTEM_POSTINGS_PER_PAGE,
            )
            part, misfits = _sum(measure, page)
            numbers_only = not self._findings.report(misfits) and numbers_only
            total += part
            after = page[-1][0] if page else after
            full = len(page) == SYSTEM_POSTINGS_PER_PAGE
        found = await self._compare_system(account.id, measure, total, after)
        if not found:
            return
        fixed = False
        if self._repairs is not None and numbers_only and not self._lost_entries:
            fixed = await self._repair_system(self._repairs, account, measure, total, after, found)
        self._findings.fixed += fixed
        self._findings.report(found, fixed=fixed)

    async def _compare_system(
        self, id_: int, measure: Measure, total: int, after: int
    ) -> list[Discrepancy]:
        """The row against `total`, the sum of the postings up to `after`, and what came since."""
        found = await self._fetch(self._statements.system_row, id=id_, after=after)
        if not found:
            return []
        since, misfits = _sum(measure, [(p, amount) for *_, p, amount in found if p is not None])
        self._findings.report(misfits)
        never_posted = after == _SMALLEST and found[0][-2] is None
        summed = None if never_posted else StoredState()._replace(balance=total + since)
        return list(check_cached(measure, StoredState._make(found[0][:_WIDTH]), summed))

    async def _repair_system(
        self,
        repairs: Repairs,
        account: StoredAccount,
        measure: Measure,
        total: int,
        position: int,
        found: Sequence[Discrepancy],
    ) -> bool:
        """Repair a system account where no fault in the journal can touch it; whether it is."""
        sound = account.name == account.key.name and position != _SMALLEST
        if not sound or not await self._journal.is_sound(account.name, 0):
            return False
        if not await repairs.system_account(account.key, position, total, found):
            return False
        return not await self._compare_system(account.id, measure, total, position)

    async def _fetch(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        async with self._database.read(any_text=True) as connection:
            return await rows(connection, statement, **parameters)


def _after(seq: object, last: object) -> bool:
    return isinstance(seq, int) and isinstance(last, int) and seq > last


def _sum(measure: Measure, postings: Iterable[tuple[int, int]]) -> tuple[int, list[Discrepancy]]:
    """The sum of the amounts of (position, amount), and those that are no numbers."""
    total = 0
    misfits: list[Discrepancy] = []
    for position, amount in postings:
        if isinstance(amount, int):
            total += amount
        else:
            misfits.append(not_a_number(measure, position, amount))
    return total, misfits


def _ranges(
    page: Sequence[StoredAccount], wanted: Collection[int], *, everyone: bool
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
