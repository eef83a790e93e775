"""
The invariants, checked on stored rows: what is wrong, where, and what it should be.

Pure. Rows come in the journal's order or in the order of one account's entries, and only what
the next row needs is kept. After a mismatch a walk goes on from the stored value, so that one
fault is not found again in every later row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from .accounts import AccountKey, StoredState
from .catalog import Catalog
from .digest import GENESIS, SealHash, content_hash, entry_digest
from .money import format_amount
from .transaction_types import TransactionTypes


class Invariant(StrEnum):
    """The names of the invariants that stored rows can break."""

    CONSERVATION = "CONSERVATION"
    SNAPSHOT_REPLAY = "SNAPSHOT=REPLAY"
    SEQUENCE_GAP = "SEQUENCE_GAP"
    HASH_CHAIN = "HASH_CHAIN"
    SEAL = "SEAL"
    OVERDRAFT_FLOOR = "OVERDRAFT_FLOOR"
    HOLD_ACCOUNTING = "HOLD_ACCOUNTING"


class Discrepancy(Struct, frozen=True, kw_only=True):
    """
    One value that is not what the rest of the ledger says it is.

    what: which value of the `account` or transaction at `position`; stored: as found, None
    where nothing is; actual: as it should be; difference: stored less actual, where both are
    numbers. Amounts are decimal strings, own sense.
    """

    invariant: Invariant
    what: str
    account: str = "-"
    position: int | None = None
    stored: str | None = None
    actual: str | None = None
    difference: str | None = None


class StoredEntry(NamedTuple):
    """A row of `postings`; the columns from `seq` on are None on system accounts."""

    position: int
    account_id: int
    amount: int
    held_change: int
    seq: int | None
    balance: int | None
    held: int | None
    total_in: int | None
    total_out: int | None
    floor: int | None
    suspend_below: int | None
    alert_below: int | None
    status: str | None
    digest: str | None


class StoredSeal(NamedTuple):
    """A row of `seals`."""

    last: int
    first: int
    created_at: str
    seal: str


class Ends(NamedTuple):
    """Where the clock and each table say that the journal ends, as of one moment."""

    clock: int
    clock_seal: str
    transactions: int
    postings: int
    seals: int
    last_seal: str


class Measure(NamedTuple):
    """How amounts of one account are told: its name, its own sense, its asset's scale."""

    account: str
    sign: int
    scale: int

    @classmethod
    def of(cls, key: AccountKey, catalog: Catalog) -> Measure | None:
        """The measure of the account `key`; None where the catalog lacks its book or asset."""
        book, asset = catalog.books.get(key.book), catalog.assets.get(key.asset)
        if book is None or asset is None:
            return None
        return cls(key.name, book.stored_sign, asset.scale)


def check_ends(ends: Ends) -> Iterator[Discrepancy]:
    """Clock, transactions, postings and seals end at one position, and the clock has its seal."""
    gap = Invariant.SEQUENCE_GAP
    if ends.clock != ends.transactions:
        yield _numbers(gap, "clock position", None, ends.clock, ends.transactions)
    if ends.postings > ends.transactions:
        yield _numbers(gap, "last posting", None, ends.postings, ends.transactions)
    if ends.seals != ends.transactions:
        yield _numbers(Invariant.SEAL, "last seal", None, ends.seals, ends.transactions)
    if ends.clock_seal != ends.last_seal:
        yield Discrepancy(
            invariant=Invariant.SEAL,
            what="clock seal",
            stored=ends.clock_seal,
            actual=ends.last_seal,
        )


class JournalWalk:
    """
    The journal by position: SEQUENCE_GAP of positions, CONSERVATION of each transaction, SEAL
    of each transaction's content and of each batch.
    """

    # Enough to name the culprits; a wrecked ledger must not fill the memory.
    MOST_MISSING = 1000

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._next = 1
        self._seals: deque[StoredSeal] = deque()
        self._open: StoredSeal | None = None
        self._hash = SealHash(GENESIS, 0, 0, "")
        self._previous = GENESIS
        self._sealed_to = 0
        self._uncovered = False
        self._missing_accounts: set[int] = set()
        self.seals_read_to = 0

    def add_seals(self, seals: Iterable[StoredSeal]) -> None:
        """The next seals, by `last`; those of a transaction must come before it."""
        for seal in seals:
            self._seals.append(seal)
            self.seals_read_to = seal.last

    def transaction(
        self,
        columns: Sequence[object],
        stored_hash: str,
        postings: Iterable[StoredEntry],
        accounts: Mapping[int, AccountKey],
    ) -> Iterator[Discrepancy]:
        """
        The next transaction. columns: its row without the hash, position first; accounts:
        those of its postings that exist, by id.
        """
        position = columns[0]
        assert isinstance(position, int)
        if position != self._next:
            yield _numbers(Invariant.SEQUENCE_GAP, "position", self._next, position, self._next)
        self._next = position + 1
        yield from self._content(position, columns, stored_hash, postings, accounts)
        yield from self._seal(position, stored_hash)

    def _content(
        self,
        position: int,
        columns: Sequence[object],
        stored_hash: str,
        postings: Iterable[StoredEntry],
        accounts: Mapping[int, AccountKey],
    ) -> Iterator[Discrepancy]:
        legs: list[tuple[object, ...]] = []
        sums: dict[tuple[str, str], int] = {}
        complete = True
        for posting in postings:
            key = accounts.get(posting.account_id)
            if key is None:
                complete = False
                yield from self._missing_account(posting)
                continue
            legs.append((key.name, *posting[2:]))
            place = (key.book, key.asset)
            sums[place] = sums.get(place, 0) + posting.amount
        if not complete:
            # Neither its legs' names nor their books are known any more.
            return
        for place, total in sums.items():
            if total:
                yield self._unbalanced(position, place, total)
        legs.sort(key=lambda leg: str(leg[0]))
        actual = content_hash(columns, legs)
        if actual != stored_hash:
            yield Discrepancy(
                invariant=Invariant.SEAL,
                what="content hash",
                position=position,
                stored=stored_hash,
                actual=actual,
            )

    def _missing_account(self, posting: StoredEntry) -> Iterator[Discrepancy]:
        if posting.account_id in self._missing_accounts:
            return
        if len(self._missing_accounts) < self.MOST_MISSING:
            self._missing_accounts.add(posting.account_id)
        yield Discrepancy(
            invariant=Invariant.SNAPSHOT_REPLAY,
            what=f"account {posting.account_id} of entries from here on",
            position=posting.position,
            actual=str(posting.account_id),
        )

    def _unbalanced(self, position: int, place: tuple[str, str], total: int) -> Discrepancy:
        book, asset = self._catalog.books.get(place[0]), self._catalog.assets.get(place[1])
        return _amounts(
            Invariant.CONSERVATION,
            f"sum of legs in {place[0]}/{place[1]}",
            position,
            total * (book.stored_sign if book else 1),
            0,
            scale=asset.scale if asset else 0,
        )

    def _seal(self, position: int, stored_hash: str) -> Iterator[Discrepancy]:
        """
        Seals are computed over the stored content hashes: an edited transaction is found by
        its own, and only an edited hash breaks the seal as well.
        """
        while self._open is None or self._open.last < position:
            yield from self._close()
            if not self._seals:
                break
            yield from self._begin(self._seals.popleft())
        if self._open is None or position < self._open.first:
            if not self._uncovered:
                yield Discrepancy(
                    invariant=Invariant.SEAL, what="seal from here on", position=position
                )
            self._uncovered = True
            return
        self._uncovered = False
        self._hash.add(stored_hash)
        if position == self._open.last:
            yield from self._close()

    def _begin(self, seal: StoredSeal) -> Iterator[Discrepancy]:
        if seal.first != self._sealed_to + 1:
            yield _numbers(
                Invariant.SEAL,
                "first position of the seal",
                seal.last,
                seal.first,
                self._sealed_to + 1,
            )
        self._open = seal
        self._hash = SealHash(self._previous, seal.first, seal.last, seal.created_at)
        self._previous = seal.seal
        self._sealed_to = seal.last

    def _close(self) -> Iterator[Discrepancy]:
        seal, self._open = self._open, None
        if seal is None:
            return
        actual = self._hash.hexdigest()
        if actual != seal.seal:
            yield Discrepancy(
                invariant=Invariant.SEAL,
                what="seal",
                position=seal.last,
                stored=seal.seal,
                actual=actual,
            )


class EntryWalk:
    """
    One user account's entries by position: SEQUENCE_GAP of seqs, SNAPSHOT=REPLAY and
    HOLD_ACCOUNTING of the states, HASH_CHAIN, OVERDRAFT_FLOOR.
    """

    def __init__(self, measure: Measure, types: TransactionTypes) -> None:
        self._measure = measure
        self._types = types
        self._before = StoredState()

    def entry(self, entry: StoredEntry, transaction: tuple[str, str] | None) -> list[Discrepancy]:
        """
        What is wrong with the next entry. transaction: the id and type of its transaction;
        None where that is missing, which the journal's own walk reports.
        """
        state = _state(entry)
        if state is None:
            return [
                Discrepancy(
                    invariant=Invariant.SNAPSHOT_REPLAY,
                    what="state of the entry",
                    account=self._measure.account,
                    position=entry.position,
                )
            ]
        found: list[Discrepancy] = []
        before, position = self._before, entry.position
        if state.seq != before.seq + 1:
            found.append(
                _numbers(
                    Invariant.SEQUENCE_GAP,
                    "seq",
                    position,
                    state.seq,
                    before.seq + 1,
                    self._measure.account,
                )
            )
        replayed = {
            "balance": before.balance + entry.amount,
            "held": before.held + entry.held_change,
        }
        if transaction is not None:
            replayed.update(self._totals(transaction[1], entry.amount, state))
        for column, actual in replayed.items():
            if getattr(state, column) != actual:
                found += _column(self._measure, column, position, getattr(state, column), actual)
        found += self._limits(position, state)
        if transaction is not None:
            found += self._digest(entry, state, transaction[0])
        self._before = state
        return found

    def _totals(self, type_name: str, amount: int, state: StoredState) -> dict[str, int]:
        """
        The totals that the entry should leave. A type that this process does not know, an
        application's own, may count or not.
        """
        before, own = self._before, self._measure.sign * amount
        counted = (before.total_in + max(own, 0), before.total_out + max(-own, 0))
        if type_name in self._types:
            counts = self._types[type_name].counts
        else:
            counts = (state.total_in, state.total_out) == counted
        expected = counted if counts else (before.total_in, before.total_out)
        return {"total_in": expected[0], "total_out": expected[1]}

    def _limits(self, position: int, state: StoredState) -> Iterator[Discrepancy]:
        """Nothing held is negative, and no debit leaves `available` below that entry's floor."""
        if state.held < 0:
            yield self._amounts(
                Invariant.HOLD_ACCOUNTING, "held below zero", position, state.held, 0
            )
        available, before = self._available(state), self._available(self._before)
        if state.floor is not None and available < state.floor and available < before:
            yield self._amounts(
                Invariant.OVERDRAFT_FLOOR, "available", position, available, state.floor
            )

    def _amounts(
        self, invariant: Invariant, what: str, position: int, stored: int, actual: int
    ) -> Discrepancy:
        scale, account = self._measure.scale, self._measure.account
        return _amounts(invariant, what, position, stored, actual, scale=scale, account=account)

    def _available(self, state: StoredState) -> int:
        return self._measure.sign * state.balance - state.held

    def _digest(
        self, entry: StoredEntry, state: StoredState, transaction_id: str
    ) -> list[Discrepancy]:
        sign = self._measure.sign
        actual: str | None = None
        # What is not ASCII cannot have been written by the ledger, and has no digest.
        with suppress(UnicodeEncodeError):
            actual = entry_digest(
                self._before.digest,
                self._measure.account,
                state.seq,
                sign * entry.amount,
                entry.held_change,
                sign * state.balance,
                state.held,
                transaction_id,
            )
        if actual == state.digest:
            return []
        return [
            Discrepancy(
                invariant=Invariant.HASH_CHAIN,
                what="digest",
                account=self._measure.account,
                position=entry.position,
                stored=state.digest,
                actual=actual,
            )
        ]


def check_cached(
    measure: Measure, cached: StoredState, entries: StoredState | None
) -> Iterator[Discrepancy]:
    """
    SNAPSHOT=REPLAY: an account's row says what its entries give, column by column.

    entries: the state after its last entry; None where it has no entries, which is wrong too,
    since an account is made by its first.
    """
    if entries is None:
        yield Discrepancy(
            invariant=Invariant.SNAPSHOT_REPLAY,
            what="account without entries",
            account=measure.account,
            stored=format_amount(measure.sign * cached.balance, measure.scale),
        )
        return
    if cached == entries:
        return
    for column, stored, actual in zip(StoredState._fields, cached, entries, strict=True):
        if stored != actual:
            yield from _column(measure, column, None, stored, actual, cached=True)


def check_name(name: str, key: AccountKey) -> Iterator[Discrepancy]:
    """SNAPSHOT=REPLAY: an account's name is the one that its book, owner and asset make."""
    if name != key.name:
        yield Discrepancy(
            invariant=Invariant.SNAPSHOT_REPLAY,
            what="account name",
            account=key.name,
            stored=name,
            actual=key.name,
        )


def without_catalog(key: AccountKey) -> Discrepancy:
    """An account of a book or asset that does not exist."""
    return Discrepancy(
        invariant=Invariant.SNAPSHOT_REPLAY,
        what="book or asset of the account",
        account=key.name,
        actual=f"{key.book}/{key.asset}",
    )


def check_trial_balance(sums: Mapping[str, str]) -> Iterator[Discrepancy]:
    """CONSERVATION: all accounts of a book and asset sum to zero; `sums` as decimal strings."""
    for place, total in sums.items():
        if Decimal(total):
            yield Discrepancy(
                invariant=Invariant.CONSERVATION,
                what=f"trial balance of {place}",
                stored=total,
                actual=f"{abs(Decimal(total)) * 0:f}",
                difference=total,
            )


_AMOUNTS = (
    "balance",
    "held",
    "total_in",
    "total_out",
    "floor",
    "suspend_below",
    "alert_below",
)


def _state(entry: StoredEntry) -> StoredState | None:
    """The state after a user account's entry; None where it is not whole."""
    _, _, _, _, seq, balance, held, total_in, total_out, floor, suspend, alert, status, digest = (
        entry
    )
    if (
        seq is None
        or balance is None
        or held is None
        or total_in is None
        or total_out is None
        or status is None
        or digest is None
    ):
        return None
    return StoredState(
        balance, held, total_in, total_out, floor, suspend, alert, status, seq, digest
    )


def _column(
    measure: Measure,
    column: str,
    position: int | None,
    stored: int | str | None,
    actual: int | str | None,
    *,
    cached: bool = False,
) -> Iterator[Discrepancy]:
    """A state's `column` that is not what the entries give; `held` is two invariants' matter."""
    what = f"cached {column}" if cached else column
    invariants = [Invariant.SNAPSHOT_REPLAY]
    if column == "held":
        invariants.append(Invariant.HOLD_ACCOUNTING)
    sign = measure.sign if column == "balance" else 1
    for invariant in invariants:
        if isinstance(stored, str) or isinstance(actual, str):
            yield Discrepancy(
                invariant=invariant,
                what=what,
                account=measure.account,
                position=position,
                stored=None if stored is None else str(stored),
                actual=None if actual is None else str(actual),
            )
        else:
            yield _amounts(
                invariant,
                what,
                position,
                None if stored is None else sign * stored,
                None if actual is None else sign * actual,
                scale=measure.scale if column in _AMOUNTS else 0,
                account=measure.account,
            )


def _numbers(
    invariant: Invariant,
    what: str,
    position: int | None,
    stored: int,
    actual: int,
    account: str = "-",
) -> Discrepancy:
    return _amounts(invariant, what, position, stored, actual, scale=0, account=account)


def _amounts(
    invariant: Invariant,
    what: str,
    position: int | None,
    stored: int | None,
    actual: int | None,
    *,
    scale: int,
    account: str = "-",
) -> Discrepancy:
    return Discrepancy(
        invariant=invariant,
        what=what,
        account=account,
        position=position,
        stored=None if stored is None else format_amount(stored, scale),
        actual=None if actual is None else format_amount(actual, scale),
        difference=(
            None if stored is None or actual is None else format_amount(stored - actual, scale)
        ),
    )
