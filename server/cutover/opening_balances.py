"""
Opening balances: each row of a source becomes one opening of one account, or is refused.

The source is read once, at one moment, into a staging table; from there it is booked by pages.
A page first asks the ledger what is booked already, so an import may be ended at any moment
and repeated; what two imports book at once, the idempotency keys of the openings keep single.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..ledger import BalanceManager, Change, Clock
from ..ledger.accounts import Account, AccountKey
from ..ledger.balances import Opened
from ..ledger.batch import Outcome
from ..ledger.catalog import Catalog
from ..ledger.errors import (
    Conflict,
    IdempotencyKeyReused,
    InvalidAmount,
    InvalidRequest,
    LedgerError,
    OutcomeUnknown,
    Overloaded,
    Paused,
)
from ..ledger.money import format_amount
from ..ledger.opening_balance import opening_balance
from ..ledger.receipts import Receipt
from ..ledger.rules import Decision, State, decide
from .sources import Source, SourceRow
from .staging import StagedRow, Staging
from .values import read_balance, read_user_id

# Two of the committer's batches.
_PAGE = 1024
_LONGEST_SHOWN = 80
# What refuses every row alike: the import stops, to be repeated.
_STOPPING = (Overloaded, OutcomeUnknown, Paused)


class ImportedBook(NamedTuple):
    """
    Where the balances go. in_minor_units: the source counts cents, not units; allow_negative:
    in a credit book, open accounts below zero too.
    """

    book: str
    asset: str
    in_minor_units: bool = False
    allow_negative: bool = False


class Refused(NamedTuple):
    """A row that is not booked: its number in the source, what stands there, and why."""

    row: int
    user: str
    balance: str
    reason: str


class _Opening(NamedTuple):
    """A row that can be read: the account that it opens, and with how much (own sense)."""

    row: StagedRow
    key: AccountKey
    minor: int


@dataclass
class Line:
    """How many rows, and the sum of their balances in minor units."""

    rows: int = 0
    sum: int = 0

    def add(self, minor: int) -> None:
        """Count one row of `minor` units."""
        self.rows += 1
        self.sum += minor

    def view(self, scale: int) -> dict[str, Any]:
        """Its form in JSON, the sum a decimal string."""
        return {"rows": self.rows, "sum": format_amount(self.sum, scale)}


@dataclass
class ControlTotals:
    """
    What an import did. read = booked + replayed + refused, in rows and in sums; ledger: the
    openings that the ledger holds for this source's rows, read back from the journal, which
    equals booked + replayed (in a dry run, which books nothing, replayed alone).

    unreadable: refused rows without a readable balance, which no sum contains; elsewhere: what
    the book's opening account holds besides: openings from other sources, or reversed ones.
    Sums are in minor units and in the own sense of the users' accounts.
    """

    dry_run: bool
    scale: int
    read: Line = field(default_factory=Line)
    booked: Line = field(default_factory=Line)
    replayed: Line = field(default_factory=Line)
    refused: Line = field(default_factory=Line)
    ledger: Line = field(default_factory=Line)
    unreadable: int = 0
    opening_account: int = 0

    @property
    def elsewhere(self) -> int:
        """What the book's opening account holds that is not of this source."""
        return self.opening_account - self.ledger.sum

    @property
    def agree(self) -> bool:
        """Whether every total is what the others say it is."""
        parts = (self.booked, self.replayed, self.refused)
        expected = [self.replayed] if self.dry_run else [self.booked, self.replayed]
        return (
            self.read.rows == sum(part.rows for part in parts)
            and self.read.sum == sum(part.sum for part in parts)
            and self.ledger.rows == sum(part.rows for part in expected)
            and self.ledger.sum == sum(part.sum for part in expected)
        )

    def view(self) -> dict[str, Any]:
        """Its form in JSON."""
        lines = ("read", "booked", "replayed", "refused", "ledger")
        return {
            "dry_run": self.dry_run,
            **{name: getattr(self, name).view(self.scale) for name in lines},
            "unreadable": self.unreadable,
            "opening_account": format_amount(self.opening_account, self.scale),
            "elsewhere": format_amount(self.elsewhere, self.scale),
            "agree": self.agree,
        }


async def import_balances(
    manager: BalanceManager,
    source: Source,
    place: ImportedBook,
    *,
    actor: str,
    clock: Clock,
    dry_run: bool = False,
    refused: Callable[[Refused], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ControlTotals:
    """
    Open an account for every row of `source`, once, however often this is repeated.

    A row is refused, and told to `refused`, where its user id or its balance cannot be read,
    its user is listed twice, or its account has entries that are not its opening balance; a
    balance that changed since it was booked is refused too. progress: called with rows done and
    rows in all. dry_run: the same answers, and nothing is written. Raises CannotRead, what the
    catalog refuses, and Paused, Overloaded or OutcomeUnknown where the ledger takes nothing now.
    """
    catalog = await manager.read_catalog()
    scale = catalog.asset(place.asset).scale
    catalog.book(place.book)
    totals = ControlTotals(dry_run, scale)
    booking = _Booking(manager, catalog, place, totals, actor, clock, refused)
    with closing(Staging()) as staging:
        count = 0
        async for rows in source.pages():
            staging.add(_read(row, 0 if place.in_minor_units else scale) for row in rows)
            count += len(rows)
        staging.refuse_duplicates()
        for page in staging.pages(_PAGE):
            await booking.book(page)
            progress(totals.read.rows, count)
    totals.opening_account = await _opening_account(manager, place, scale)
    if not dry_run:
        target = f"{place.book}/{place.asset}"
        details = {"source": source.name, **totals.view()}
        await manager.administration.record(actor, "balances_imported", target, details)
    return totals


class _Booking:
    """Books staged rows, page by page, and keeps the totals."""

    def __init__(
        self,
        manager: BalanceManager,
        catalog: Catalog,
        place: ImportedBook,
        totals: ControlTotals,
        actor: str,
        clock: Clock,
        refused: Callable[[Refused], None],
    ) -> None:
        self._manager = manager
        self._catalog = catalog
        self._place = place
        self._book = catalog.book(place.book)
        self._asset = catalog.asset(place.asset)
        self._totals = totals
        self._actor = actor
        self._clock = clock
        self._refused = refused
        self._refusals: list[Refused] = []

    async def book(self, rows: Sequence[StagedRow]) -> None:
        """Book `rows`, and read back what the ledger then holds for them."""
        waiting: list[_Opening] = []
        for row in rows:
            self._totals.read.rows += 1
            self._totals.read.sum += row.minor or 0
            if row.problem is None and row.user_id is not None and row.minor is not None:
                key = AccountKey(self._place.book, row.user_id, self._place.asset)
                waiting.append(_Opening(row, key, row.minor))
            else:
                self._refuse(row, row.problem or "")
        accepted: list[AccountKey] = []
        # Again for the rows that another import books between the look and the booking.
        for _ in range(2):
            opened = await self._manager.reader.opened([opening.key for opening in waiting])
            new: list[_Opening] = []
            for opening in waiting:
                known = opened.get(opening.key)
                if known is not None and known.opening is not None:
                    if self._replay(opening, known.opening):
                        accepted.append(opening.key)
                elif (reason := self._forbidden(opening, known)) is not None:
                    self._refuse(opening.row, reason)
                else:
                    new.append(opening)
            waiting = []
            for opening, outcome in zip(new, await self._open(new, opened), strict=True):
                if isinstance(outcome, _STOPPING):
                    raise outcome
                if isinstance(outcome, (Conflict, IdempotencyKeyReused)):
                    waiting.append(opening)
                elif isinstance(outcome, LedgerError):
                    self._refuse(opening.row, outcome.detail)
                else:
                    replayed = isinstance(outcome, Receipt) and outcome.replayed
                    (self._totals.replayed if replayed else self._totals.booked).add(opening.minor)
                    accepted.append(opening.key)
        for opening in waiting:
            self._refuse(opening.row, "the account changes while it is being opened")
        await self._read_back(accepted)
        for refusal in sorted(self._refusals):
            self._refused(refusal)
        self._refusals.clear()

    def _replay(self, opening: _Opening, stored: int) -> bool:
        """Whether `opening` is what was booked before (`stored`, credit-positive)."""
        before = self._book.stored_sign * stored
        if before == opening.minor:
            self._totals.replayed.add(opening.minor)
            return True
        scale = self._asset.scale
        was, now = format_amount(before, scale), format_amount(opening.minor, scale)
        self._refuse(opening.row, f"already opened with {was}, now {now}")
        return False

    def _forbidden(self, opening: _Opening, known: Opened | None) -> str | None:
        """Why an account without an opening balance cannot get this one, as far as that is ours."""
        if known is not None and known.moved:
            return "the account has entries already"
        if known is not None and known.account.seq:
            floor = known.account.floor
        else:
            floor = self._book.floor_for(self._asset)
        owed = opening.minor < 0 and not self._place.allow_negative
        if owed and floor is not None and opening.minor < floor:
            return f"below the account's floor of {format_amount(floor, self._asset.scale)}"
        return None

    async def _open(
        self, openings: Sequence[_Opening], opened: Mapping[AccountKey, Opened]
    ) -> Sequence[Outcome | Decision]:
        accounts = {
            key: opened[key].account if key in opened else Account(0, key) for _, key, _ in openings
        }
        changes = [
            opening_balance(
                self._catalog,
                self._manager.types,
                key,
                minor,
                at_seq=accounts[key].seq,
                actor=self._actor,
            )
            for _, key, minor in openings
        ]
        if not self._totals.dry_run:
            return await self._manager.post_many(changes)
        return [self._rehearse(change, accounts) for change in changes]

    def _rehearse(
        self, change: Change, accounts: Mapping[AccountKey, Account]
    ) -> Decision | LedgerError:
        """What the rules say of `change`."""
        try:
            return decide(change, "", State(accounts), self._catalog, self._clock.now())
        except LedgerError as refusal:
            return refusal

    async def _read_back(self, accepted: Sequence[AccountKey]) -> None:
        for known in (await self._manager.reader.opened(accepted)).values():
            if known.opening is not None:
                self._totals.ledger.add(self._book.stored_sign * known.opening)

    def _refuse(self, row: StagedRow, reason: str) -> None:
        if row.minor is None:
            self._totals.refused.rows += 1
            self._totals.unreadable += 1
        else:
            self._totals.refused.add(row.minor)
        self._refusals.append(Refused(row.number, row.shown_user, row.shown_balance, reason))


def _read(row: SourceRow, scale: int) -> StagedRow:
    """What the values of a source's `row` stand for, or what is wrong with them."""
    number, user, balance = row
    user_id = minor = problem = None
    try:
        user_id = read_user_id(user)
    except InvalidRequest as error:
        problem = error.detail
    try:
        minor = read_balance(balance, scale)
    except InvalidAmount as error:
        problem = problem or error.detail
    return StagedRow(number, _shown(user), _shown(balance), user_id, minor, problem)


def _shown(value: object) -> str:
    text = "NULL" if value is None else str(value)
    return text.encode("utf-8", "replace").decode()[:_LONGEST_SHOWN]


async def _opening_account(manager: BalanceManager, place: ImportedBook, scale: int) -> int:
    """What the opening account stands for: the sum of the book's openings, in users' sense."""
    wanted = (place.book, place.asset, "@opening")
    for row in (await manager.reader.trial_balance())["rows"]:
        if (row["book"], row["asset"], row["owner_kind"]) == wanted:
            return -read_balance(row["balance"], scale)
    return 0
