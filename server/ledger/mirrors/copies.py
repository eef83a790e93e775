"""MIRROR=LEDGER of stored rows: what each says, and what it should say. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from ..accounts import AccountKey
from ..errors import InvalidAmount
from ..invariants import Discrepancy, Invariant, numbers
from .mirror import NO_ROW, Mirror, MirrorState


class Copy(Struct, frozen=True, kw_only=True):
    """
    A row as found, and what it should say. stored: the column's value; actual: minor units;
    state: None where the ledger has not met the row yet.
    """

    mirror: Mirror
    account: AccountKey
    account_id: int
    scale: int
    exists: bool
    stored: Any
    actual: int
    state: MirrorState | None

    @property
    def minor(self) -> int | None:
        """What the row says in minor units; None where that is no amount."""
        try:
            return self.mirror.minor_of(self.stored, self.scale)
        except InvalidAmount:
            return None

    @property
    def is_right(self) -> bool:
        """MIRROR=LEDGER: whether the row says what the ledger says."""
        return self.exists and self.minor == self.actual

    @property
    def has_drifted(self) -> bool:
        """Whether others wrote to the row after the ledger did."""
        if not self.exists or self.stored is None:
            return False
        if self.state is None:
            return self.minor != self.actual
        return self.state.written is not None and self.minor != self.state.written


def check_copy(copy: Copy) -> Iterator[Discrepancy]:
    """MIRROR=LEDGER: the row is there and says what the ledger says."""
    if copy.is_right:
        return
    minor = copy.minor
    failure = copy.state.failure if copy.state else None
    if not copy.exists:
        failure = NO_ROW
    yield numbers(
        Invariant.MIRROR_LEDGER,
        f"mirror {copy.mirror.name}" + (f": {failure}" if failure else ""),
        str(copy.stored) if minor is None and copy.stored is not None else minor,
        copy.actual,
        scale=copy.scale,
        account=copy.account.name,
    )


def unreadable(mirror: Mirror, said: str) -> Discrepancy:
    """A mirror whose table cannot be read, as the database said."""
    return Discrepancy(invariant=Invariant.MIRROR_LEDGER, what=f"mirror {mirror.name}: {said}")
