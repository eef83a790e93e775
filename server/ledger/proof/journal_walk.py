"""
The journal by position: what each transaction demands of its row, its postings and its seal.

Pure. Rows come in the journal's order, and only what the next row needs is kept. After a mismatch
the walk goes on from the stored value, so that one fault is not found again in every later row.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from ..accounts import AccountKey
from ..catalog import Catalog
from ..digest import GENESIS, SealHash, content_hash
from ..errors import InvalidRequest
from ..invariants import Discrepancy, Invariant, numbers, texts
from ..transaction_types import TransactionTypes
from .stored import StoredEntry, StoredSeal, misfit
from .told import check_updates, told_accounts
from .trades import Around

Record = Mapping[str, Any]

_LOGGED = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", re.ASCII)


class Ends(NamedTuple):
    """
    Where the clock and each table say that the journal ends, as of one moment.

    beyond: rows at positions that are no numbers, which sort after all that are.
    """

    clock: int
    clock_seal: str
    clock_time: str
    transactions: int
    postings: int
    seals: int
    last_seal: str
    last_time: str | None
    beyond: int


def check_ends(ends: Ends) -> Iterator[Discrepancy]:
    """Clock, transactions, postings and seals end at one position, and the clock has its seal."""
    gap, seal = Invariant.SEQUENCE_GAP, Invariant.SEAL
    if ends.clock != ends.transactions:
        yield numbers(gap, "clock position", ends.clock, ends.transactions)
    if ends.postings > ends.transactions:
        yield numbers(gap, "last posting", ends.postings, ends.transactions)
    if ends.beyond:
        yield numbers(gap, "rows at positions that are no numbers", ends.beyond, 0)
    if ends.seals != ends.transactions:
        yield numbers(seal, "last seal", ends.seals, ends.transactions)
    if ends.clock_seal != ends.last_seal:
        yield texts(seal, "clock seal", ends.clock_seal, ends.last_seal)
    if ends.last_time is not None and ends.clock_time != ends.last_time:
        yield texts(seal, "clock time", ends.clock_time, ends.last_time)


class LoggedSeal(Struct, frozen=True):
    """A seal that was noted outside of the database when the journal ended at `position`."""

    position: int
    seal: str

    @classmethod
    def parse(cls, text: str) -> LoggedSeal:
        """The seal that was logged as ``POSITION:SEAL``; raises InvalidRequest."""
        match = _LOGGED.fullmatch(text)
        if match is None:
            raise InvalidRequest(
                "a logged seal is POSITION:SEAL, the seal 64 hexadecimal digits",
                pointer="/logged_seals",
            )
        return cls(int(match[1]), match[2])

    def check(self, found: str | None) -> Iterator[Discrepancy]:
        """SEAL: the journal still has it; found: the seal of that position now, if there is one."""
        if found != self.seal:
            yield texts(Invariant.SEAL, "logged seal", found, self.seal, position=self.position)


class Original(NamedTuple):
    """
    What a reversal undoes: its position, type and legs (credit-positive minor units by account
    id), and the position of the first transaction that reverses it.
    """

    position: int
    type: str
    legs: Mapping[int, int]
    first_reversal: int


class JournalWalk:
    """
    SEQUENCE_GAP of positions; CONSERVATION of each transaction; SEAL of each transaction's
    content and of each batch; SCREEN=LEDGER of its updates; REVERT_ONCE.
    """

    # Enough to name the culprits; a wrecked ledger must not fill the memory.
    MOST_NAMED = 10_000

    def __init__(self, catalog: Catalog, types: TransactionTypes) -> None:
        self._catalog = catalog
        self._types = types
        self._next = 1
        self._seals: deque[StoredSeal] = deque()
        self._open: StoredSeal | None = None
        self._hash = SealHash(GENESIS, 0, 0, "")
        self._previous = GENESIS
        self._sealed_to = 0
        self._uncovered = False
        self._missing_accounts: set[int] = set()
        self._sealed_names: set[str] = set()
        self._unsound: set[str] = set()
        self._nothing_is_sound = False
        self._last_gap = 0
        self.seals_read_to = 0

    def add_seals(self, seals: Iterable[StoredSeal]) -> None:
        """The next seals, by `last`; those of a transaction must come before it."""
        for seal in seals:
            self.seals_read_to = seal.last
            if misfit(seal) is None:
                self._seals.append(seal)

    def is_sound(self, name: str, newest: int) -> bool:
        """
        Whether no fault that was found can have to do with the account of that name, the trade of
        that id, or the subject: none in a transaction, or in a batch, that touches or tells of
        it, and none missing that may have been its newest, which follows `newest` (a position).
        """
        if self._nothing_is_sound or len(self._unsound) > self.MOST_NAMED:
            return False
        return name not in self._unsound and self._last_gap <= newest

    def transaction(
        self,
        record: Record,
        postings: Sequence[StoredEntry],
        accounts: Mapping[int, AccountKey],
        originals: Mapping[str, Original],
        around: Around,
    ) -> Iterator[Discrepancy]:
        """
        The next transaction: its row by column, and its postings. accounts: those of its postings
        that exist, by id; originals: what it reverses, if that exists, by id; around: what its
        trade is held against.
        """
        position = record["position"]
        names = {accounts[p.account_id].name for p in postings if p.account_id in accounts}
        names |= {str(name) for name in (record["trade"], record["subject"]) if name is not None}
        contents = self.contents(record, postings, accounts, originals, around)
        found = [*self._place(position), *contents]
        if found:
            self._distrust(names | told_accounts(record))
        self._sealed_names |= names
        yield from found
        if isinstance(position, int):
            yield from self._seal(position, record["content_hash"])

    def contents(
        self,
        record: Record,
        postings: Sequence[StoredEntry],
        accounts: Mapping[int, AccountKey],
        originals: Mapping[str, Original],
        around: Around,
    ) -> Iterator[Discrepancy]:
        """What is wrong with a transaction by itself, wherever it stands; see `transaction`."""
        for posting in postings:
            if posting.account_id not in accounts:
                yield from self._missing_account(posting)
        if all(posting.account_id in accounts for posting in postings):
            # Else neither its legs' names nor their books are known any more.
            yield from self._conservation(record["position"], postings, accounts)
            yield from self._content(record, postings, accounts)
            legs = [(accounts[posting.account_id], posting) for posting in postings]
            yield from check_updates(record, legs, around, self._catalog)
        if record["reverses"] is not None:
            yield from self._reversal(record, postings, originals.get(record["reverses"]))

    def distrust_everything(self) -> None:
        """The journal's end cannot be trusted, so nothing is sound."""
        self._nothing_is_sound = True

    def _place(self, position: object) -> Iterator[Discrepancy]:
        if not isinstance(position, int):
            yield texts(Invariant.SEQUENCE_GAP, "position", position, self._next)
            return
        if position != self._next:
            self._last_gap = position
            yield numbers(
                Invariant.SEQUENCE_GAP, "position", position, self._next, position=self._next
            )
        self._next = position + 1

    def _distrust(self, names: set[str]) -> None:
        if len(self._unsound) <= self.MOST_NAMED:
            self._unsound |= names

    def _missing_account(self, posting: StoredEntry) -> Iterator[Discrepancy]:
        if posting.account_id in self._missing_accounts:
            return
        if len(self._missing_accounts) < self.MOST_NAMED:
            self._missing_accounts.add(posting.account_id)
        yield texts(
            Invariant.SNAPSHOT_REPLAY,
            f"account {posting.account_id} of entries from here on",
            None,
            posting.account_id,
            position=posting.position,
        )

    def _conservation(
        self, position: int, postings: Iterable[StoredEntry], accounts: Mapping[int, AccountKey]
    ) -> Iterator[Discrepancy]:
        sums: dict[tuple[str, str], int] = {}
        for posting in postings:
            key = accounts[posting.account_id]
            if isinstance(posting.amount, int):
                place = (key.book, key.asset)
                sums[place] = sums.get(place, 0) + posting.amount
        for (book, asset), total in sums.items():
            if total:
                yield numbers(
                    Invariant.CONSERVATION,
                    f"sum of legs in {book}/{asset}",
                    total * self._catalog.books[book].stored_sign
                    if book in self._catalog.books
                    else total,
                    0,
                    scale=self._catalog.assets[asset].scale if asset in self._catalog.assets else 0,
                    position=position,
                )

    def _content(
        self,
        record: Record,
        postings: Iterable[StoredEntry],
        accounts: Mapping[int, AccountKey],
    ) -> Iterator[Discrepancy]:
        columns = [value for name, value in record.items() if name != "content_hash"]
        legs = [(accounts[p.account_id].name, *p[2:]) for p in postings]
        legs.sort(key=lambda leg: leg[0])
        actual = content_hash(columns, legs)
        if actual != record["content_hash"]:
            yield texts(
                Invariant.SEAL,
                "content hash",
                record["content_hash"],
                actual,
                position=record["position"],
            )

    def _reversal(
        self, record: Record, postings: Iterable[StoredEntry], original: Original | None
    ) -> Iterator[Discrepancy]:
        """What it undoes came before it, may be undone, and is undone whole and by it alone."""
        once, position = Invariant.REVERT_ONCE, record["position"]
        if original is None or original.position >= position:
            yield texts(once, "reversed transaction", None, record["reverses"], position=position)
            return
        if original.first_reversal != position:
            yield numbers(
                once,
                "position of the reversal",
                position,
                original.first_reversal,
                position=position,
            )
        if original.type in self._types and not self._types[original.type].reversible:
            yield texts(once, "type that is not reversible", original.type, None, position=position)
        legs = {posting.account_id: posting.amount for posting in postings}
        for id_ in legs.keys() | original.legs.keys():
            undone = original.legs.get(id_)
            actual = None if undone is None else -undone
            if legs.get(id_) != actual:
                yield numbers(
                    once,
                    f"leg of account {id_}, stored sense, minor units",
                    legs.get(id_),
                    actual,
                    position=position,
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
                yield texts(Invariant.SEAL, "seal from here on", None, None, position=position)
            self._uncovered = True
            self._distrust(self._sealed_names)
            self._sealed_names = set()
            return
        self._uncovered = False
        self._hash.add(stored_hash)
        if position == self._open.last:
            yield from self._close()

    def _begin(self, seal: StoredSeal) -> Iterator[Discrepancy]:
        if seal.first != self._sealed_to + 1:
            yield numbers(
                Invariant.SEAL,
                "first position of the seal",
                seal.first,
                self._sealed_to + 1,
                position=seal.last,
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
            self._distrust(self._sealed_names)
            yield texts(Invariant.SEAL, "seal", seal.seal, actual, position=seal.last)
        self._sealed_names = set()
