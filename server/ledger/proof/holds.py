"""
HOLD_ACCOUNTING: what is held is what the journal placed and has not ended yet.

Pure. A hold's row follows from the newest transaction that belongs to it, which tells the whole
hold; its `remaining` is the sum of what its transactions did to `held`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..accounts import StoredState
from ..invariants import Discrepancy, Invariant, Measure, numbers, texts
from ..money import format_amount
from .stored import told_of

_HOLDS = Invariant.HOLD_ACCOUNTING
_AMOUNTS = ("amount", "remaining")
_TEXTS = ("status", "placed_by", "expires_at", "reference")


class StoredHold(NamedTuple):
    """A row of `holds`, each column None where there is no such row."""

    account_id: int | None
    position: int | None
    amount: int | None
    remaining: int | None
    status: str | None
    placed_by: str | None
    expires_at: str | None
    reference: str | None


class HoldJournal(NamedTuple):
    """
    What the journal has of a hold: the account and position that it was placed on and at, the
    position and the encoded updates of its newest transaction, and what they left of it.
    """

    id: str
    account_id: int
    placed_at: int
    newest: int
    encoded: str
    remaining: int


def check_hold(measure: Measure, row: StoredHold, journal: HoldJournal) -> Iterator[Discrepancy]:
    """A hold's row, its newest transaction and the sum of its entries say the same."""
    told = told_of(journal.encoded, "hold")
    if row.account_id is None:
        yield texts(
            _HOLDS,
            f"hold {journal.id}",
            None,
            told.get("status"),
            account=measure.account,
            position=journal.newest,
        )
        return
    for column, stored, actual in (
        ("account", row.account_id, journal.account_id),
        ("position", row.position, journal.placed_at),
        *((name, _amount(measure, getattr(row, name)), told.get(name)) for name in _AMOUNTS),
        *((name, getattr(row, name), told.get(name)) for name in _TEXTS),
    ):
        if stored != actual:
            yield texts(
                _HOLDS,
                f"hold {journal.id}: {column}",
                stored,
                actual,
                account=measure.account,
                position=journal.newest,
            )
    if _amount(measure, journal.remaining) != told.get("remaining"):
        yield texts(
            _HOLDS,
            f"hold {journal.id}: remaining by its entries",
            told.get("remaining"),
            _amount(measure, journal.remaining),
            account=measure.account,
            position=journal.newest,
        )


def check_open_holds(
    measure: Measure, remaining: int, entries: StoredState
) -> Iterator[Discrepancy]:
    """What remains of an account's open holds is what its last entry holds."""
    if remaining != entries.held:
        yield numbers(
            _HOLDS,
            "open holds",
            remaining,
            entries.held,
            scale=measure.scale,
            account=measure.account,
        )


def never_placed(measure: Measure, hold_id: str, remaining: int) -> Discrepancy:
    """A hold's row that no transaction placed on its account."""
    return numbers(
        _HOLDS,
        f"hold {hold_id} that nothing placed",
        remaining,
        None,
        scale=measure.scale,
        account=measure.account,
    )


def _amount(measure: Measure, minor: object) -> object:
    return format_amount(minor, measure.scale) if isinstance(minor, int) else minor
