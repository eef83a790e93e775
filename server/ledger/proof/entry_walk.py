"""
One account by position: what each entry demands of the next, and the last of the cached row.

Pure. After a mismatch the walk goes on from the stored value, so that one fault is not found
again in every later entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ..accounts import AccountKey, StoredState
from ..digest import entry_digest
from ..invariants import (
    Discrepancy,
    Invariant,
    Measure,
    columns,
    numbers,
    texts,
)
from ..transaction_types import TransactionTypes
from .stored import StoredAccount, StoredEntry, misfit


class _Forced(Struct):
    forced: bool = False


class Cause(NamedTuple):
    """
    The transaction of an entry: its id and type, the hold that it belongs to, the type of the
    transaction that it reverses, whether it was forced past the floor, and its trade.
    """

    id: str
    type: str
    hold: str | None = None
    undone: str | None = None
    forced: bool = False
    trade: str | None = None

    @classmethod
    def stored(
        cls,
        id_: str,
        kind: str,
        hold: str | None,
        undone: str | None,
        metadata: str | None,
        trade: str | None,
    ) -> Cause:
        """The cause by its row; metadata: a reversal's, where it says whether it was forced."""
        forced = False
        if metadata is not None:
            with suppress(msgspec.DecodeError, TypeError):
                forced = msgspec.json.decode(metadata, type=_Forced).forced
        return cls(id_, kind, hold, undone, forced, trade)


class EntryWalk:
    """
    One user account's entries by position: SEQUENCE_GAP of seqs, SNAPSHOT=REPLAY and
    HOLD_ACCOUNTING of the states, HASH_CHAIN, OVERDRAFT_FLOOR.
    """

    def __init__(
        self, measure: Measure, types: TransactionTypes, before: StoredState | None = None
    ) -> None:
        """before: the state that earlier entries left; None where there are none."""
        self._measure = measure
        self._types = types
        self._before = before or StoredState()

    @property
    def state(self) -> StoredState:
        """The state that the entries so far left."""
        return self._before

    def entry(self, entry: StoredEntry, cause: Cause | None) -> list[Discrepancy]:
        """
        What is wrong with the next entry. cause: its transaction; None where that is missing,
        which the journal's own walk reports.
        """
        account, position = self._measure.account, entry.position
        state = _state(entry)
        if state is None:
            column = misfit(entry) or "seq"
            return [
                texts(
                    Invariant.SNAPSHOT_REPLAY,
                    f"state of the entry: {column}",
                    getattr(entry, column),
                    None,
                    account=account,
                    position=position,
                )
            ]
        found: list[Discrepancy] = []
        before = self._before
        if state.seq != before.seq + 1:
            found.append(
                numbers(
                    Invariant.SEQUENCE_GAP,
                    "seq",
                    state.seq,
                    before.seq + 1,
                    account=account,
                    position=position,
                )
            )
        replayed: dict[str, int | None] = {
            "balance": before.balance + entry.amount,
            "held": before.held + entry.held_change,
        }
        if cause is not None:
            replayed.update(self._totals(cause, entry.amount, state))
            replayed["total_earned"] = self._total_earned(cause, entry.amount, state)
        for column, actual in replayed.items():
            stored = getattr(state, column)
            if stored != actual:
                found += columns(self._measure, column, stored, actual, position=position)
        found += self._limits(position, state, cause)
        if cause is not None:
            found += self._digest(entry, state, cause.id)
        self._before = state
        return found

    def _totals(self, cause: Cause, amount: int, state: StoredState) -> dict[str, int]:
        """
        The totals that the entry should leave: a reversal takes back what its original added. A
        type that this process does not know, an application's own, may count or not.
        """
        before, own = self._before, self._measure.sign * amount
        if cause.undone is None:
            kind = cause.type
            counted = (before.total_in + max(own, 0), before.total_out + max(-own, 0))
        else:
            kind = cause.undone
            counted = (before.total_in - max(-own, 0), before.total_out - max(own, 0))
        if kind in self._types:
            counts = self._types[kind].counts
        else:
            counts = (state.total_in, state.total_out) == counted
        expected = counted if counts else (before.total_in, before.total_out)
        return {"total_in": expected[0], "total_out": expected[1]}

    def _total_earned(self, cause: Cause, amount: int, state: StoredState) -> int | None:
        """
        What the entry should leave of `total_earned`: what was there, where its type or the one
        that it reverses is known as no earning. Else it may count or not, since a type that was
        marked later counts from then on.
        """
        before, kind = self._before.total_earned, cause.undone or cause.type
        if kind in self._types and not self._types[kind].earning:
            return before
        counted = (before or 0) + self._measure.sign * amount
        return counted if state.total_earned != before else before

    def _limits(
        self, position: int, state: StoredState, cause: Cause | None
    ) -> Iterator[Discrepancy]:
        """Nothing held is negative; no debit, unless forced, leaves `available` below the floor."""
        if state.held < 0:
            yield self._amounts(
                Invariant.HOLD_ACCOUNTING, "held below zero", position, state.held, 0
            )
        available, before = self._available(state), self._available(self._before)
        if (
            state.floor is not None
            and available < state.floor
            and available < before
            and not self._may_pass_floor(cause)
        ):
            yield self._amounts(
                Invariant.OVERDRAFT_FLOOR, "available", position, available, state.floor
            )

    def _may_pass_floor(self, cause: Cause | None) -> bool:
        if cause is None:
            return False
        passes = cause.type in self._types and self._types[cause.type].passes_floor
        return passes or (cause.undone is not None and cause.forced)

    def _amounts(
        self, invariant: Invariant, what: str, position: int, stored: int, actual: int
    ) -> Discrepancy:
        scale, account = self._measure.scale, self._measure.account
        return numbers(
            invariant, what, stored, actual, scale=scale, account=account, position=position
        )

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
            texts(
                Invariant.HASH_CHAIN,
                "digest",
                state.digest,
                actual,
                account=self._measure.account,
                position=entry.position,
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
        yield numbers(
            Invariant.SNAPSHOT_REPLAY,
            "account without entries",
            measure.sign * cached.balance if isinstance(cached.balance, int) else cached.balance,
            None,
            scale=measure.scale,
            account=measure.account,
        )
        return
    for column, stored, actual in zip(StoredState._fields, cached, entries, strict=True):
        if stored != actual or type(stored) is not type(actual):
            yield from columns(measure, column, stored, actual, cached=True)


def check_row(row: StoredAccount) -> Iterator[Discrepancy]:
    """SNAPSHOT=REPLAY: an account's name is the one that its book, owner and asset make."""
    if (column := misfit(row)) is not None:
        yield texts(
            Invariant.SNAPSHOT_REPLAY,
            f"account {row.id}: {column}",
            getattr(row, column),
            None,
        )
        return
    name = row.key.name
    if row.name != name:
        yield texts(Invariant.SNAPSHOT_REPLAY, "account name", row.name, name, account=name)


def without_catalog(key: AccountKey) -> Discrepancy:
    """An account of a book or asset that does not exist."""
    return texts(
        Invariant.SNAPSHOT_REPLAY,
        "book or asset of the account",
        None,
        f"{key.book}/{key.asset}",
        account=key.name,
    )


def not_a_number(measure: Measure, position: int, amount: object) -> Discrepancy:
    """A posting's amount that only SQLite could have kept."""
    return texts(
        Invariant.SNAPSHOT_REPLAY,
        "amount of a posting",
        amount,
        None,
        account=measure.account,
        position=position,
    )


def _state(entry: StoredEntry) -> StoredState | None:
    """The state after a user account's entry; None where it is not whole or not of its types."""
    if (
        entry.seq is None
        or entry.balance is None
        or entry.held is None
        or entry.total_in is None
        or entry.total_out is None
        or entry.status is None
        or entry.digest is None
        or misfit(entry) is not None
    ):
        return None
    return StoredState(
        balance=entry.balance,
        held=entry.held,
        total_in=entry.total_in,
        total_out=entry.total_out,
        floor=entry.floor,
        suspend_below=entry.suspend_below,
        alert_below=entry.alert_below,
        status=entry.status,
        seq=entry.seq,
        digest=entry.digest,
        total_earned=entry.total_earned,
    )
