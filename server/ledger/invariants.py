"""
The invariants by name, and how a discrepancy is told: what is wrong, where, what it should be.

Pure. What checks them: `journal_walk`, `entry_walk`, `told`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from .accounts import AccountKey
from .catalog import Catalog
from .money import format_amount

NOBODY = "-"

# Before the book and asset whose accounts do not sum to zero.
TRIAL_BALANCE = "trial balance of "


class Invariant(StrEnum):
    """The names of the invariants that stored rows can break."""

    CONSERVATION = "CONSERVATION"
    SNAPSHOT_REPLAY = "SNAPSHOT=REPLAY"
    SEQUENCE_GAP = "SEQUENCE_GAP"
    HASH_CHAIN = "HASH_CHAIN"
    SEAL = "SEAL"
    OVERDRAFT_FLOOR = "OVERDRAFT_FLOOR"
    HOLD_ACCOUNTING = "HOLD_ACCOUNTING"
    REVERT_ONCE = "REVERT_ONCE"
    SCREEN_LEDGER = "SCREEN=LEDGER"
    MIRROR_LEDGER = "MIRROR=LEDGER"


class Discrepancy(Struct, frozen=True, kw_only=True):
    """
    One value that is not what the rest of the ledger says it is.

    what: which value of the `account` or transaction at `position`; stored: as found, None
    where nothing is; actual: as it should be; difference: stored less actual, where both are
    numbers; fixed: whether it was put right. Amounts are decimal strings, own sense.
    """

    invariant: Invariant
    what: str
    account: str = NOBODY
    position: int | None = None
    stored: str | None = None
    actual: str | None = None
    difference: str | None = None
    fixed: bool = False


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


def texts(
    invariant: Invariant,
    what: str,
    stored: object,
    actual: object,
    *,
    account: str = NOBODY,
    position: int | None = None,
) -> Discrepancy:
    """A discrepancy of values that have no difference; None stands for nothing there."""
    return Discrepancy(
        invariant=invariant,
        what=what,
        account=account,
        position=position,
        stored=_told(stored),
        actual=_told(actual),
    )


def numbers(
    invariant: Invariant,
    what: str,
    stored: int | str | None,
    actual: int | str | None,
    *,
    scale: int = 0,
    account: str = NOBODY,
    position: int | None = None,
) -> Discrepancy:
    """A discrepancy of numbers in minor units of `scale` decimals; a text is told as it is."""
    return Discrepancy(
        invariant=invariant,
        what=what,
        account=account,
        position=position,
        stored=format_amount(stored, scale) if isinstance(stored, int) else _told(stored),
        actual=format_amount(actual, scale) if isinstance(actual, int) else _told(actual),
        difference=(
            format_amount(stored - actual, scale)
            if isinstance(stored, int) and isinstance(actual, int)
            else None
        ),
    )


def columns(
    measure: Measure,
    column: str,
    stored: int | str | None,
    actual: int | str | None,
    *,
    position: int | None = None,
    cached: bool = False,
) -> Iterator[Discrepancy]:
    """A state's `column` that is not what the entries give; `held` is two invariants' matter."""
    what = f"cached {column}" if cached else column
    invariants = [Invariant.SNAPSHOT_REPLAY]
    if column == "held":
        invariants.append(Invariant.HOLD_ACCOUNTING)
    for invariant in invariants:
        yield numbers(
            invariant,
            what,
            _own_sense(measure, column, stored),
            _own_sense(measure, column, actual),
            scale=measure.scale if column in _AMOUNTS else 0,
            account=measure.account,
            position=position,
        )


def check_trial_balance(sums: Mapping[str, str]) -> Iterator[Discrepancy]:
    """CONSERVATION: all accounts of a book and asset sum to zero; `sums` as decimal strings."""
    for place, total in sums.items():
        if Decimal(total):
            yield Discrepancy(
                invariant=Invariant.CONSERVATION,
                what=TRIAL_BALANCE + place,
                stored=total,
                actual=f"{abs(Decimal(total)) * 0:f}",
                difference=total,
            )


_AMOUNTS = (
    "balance",
    "held",
    "total_in",
    "total_out",
    "total_earned",
    "floor",
    "suspend_below",
    "alert_below",
)


def _told(value: object) -> str | None:
    return None if value is None else str(value)


def _own_sense(measure: Measure, column: str, value: int | str | None) -> int | str | None:
    # SQLite may hand out what is no number; that is told as it is.
    return measure.sign * value if column == "balance" and isinstance(value, int) else value
