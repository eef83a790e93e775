"""
The rules a second time, as plainly as they can be said: one dictionary of users, own sense.

Written from the contract alone (sections 1, 2 and 3); the tests hold the ledger's rules to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Purse:
    """One user's account: minor units, own sense."""

    balance: int = 0
    held: int = 0
    total_in: int = 0
    total_out: int = 0
    floor: int | None = 0
    suspend_below: int | None = None
    alert_below: int | None = None
    status: str = "active"
    seq: int = 0

    @property
    def available(self) -> int:
        return self.balance - self.held


@dataclass(frozen=True)
class Move:
    """What happens to one user: an amount in own sense, and a change of what is held."""

    user: str
    amount: int
    held_change: int = 0


class Refused(Exception):
    """By the contract's code."""


class Model:
    """Every purse, on a book of one side."""

    def __init__(self, side: str, *, strict: bool = False, floor: int | None = 0) -> None:
        self.debit = side == "debit"
        self.strict = strict
        self.floor = None if self.debit else floor
        self.purses: dict[str, Purse] = {}
        self.alerts: list[str] = []

    def purse(self, user: str) -> Purse:
        return self.purses.get(user, Purse(floor=self.floor))

    def post(self, moves: Sequence[Move], *, counts: bool, recharge: bool) -> None:
        """All of the moves, or Refused: not found, closed, frozen, suspended, amount, funds."""
        before = {move.user: self.purse(move.user) for move in moves}
        if self.strict and any(not purse.seq for purse in before.values()):
            raise Refused("unknown_user")
        for status in ("closed", "frozen"):
            if any(purse.status == status for purse in before.values()):
                raise Refused(f"account_{status}")
        for move in moves:
            debit = move.amount < 0 or move.held_change > 0
            if before[move.user].status == "suspended" and debit:
                raise Refused("account_suspended")
        after = {move.user: self._moved(move, counts, recharge) for move in moves}
        if any(abs(move.amount) > LARGEST for move in moves):
            raise Refused("invalid_amount")
        for purse in after.values():
            numbers = (purse.balance, purse.available, purse.total_in, purse.total_out)
            if any(abs(number) > LARGEST for number in numbers):
                raise Refused("invalid_amount")
        for user, purse in after.items():
            falls = purse.available < before[user].available
            if purse.floor is not None and falls and purse.available < purse.floor:
                raise Refused("insufficient_funds")
        self.alerts = [
            user
            for user, purse in after.items()
            if purse.alert_below is not None
            and before[user].available >= purse.alert_below > purse.available
        ]
        self.purses.update(after)

    def _moved(self, move: Move, counts: bool, recharge: bool) -> Purse:
        old = self.purse(move.user)
        new = replace(
            old,
            balance=old.balance + move.amount,
            held=old.held + move.held_change,
            seq=old.seq + 1,
        )
        if counts and move.amount > 0:
            new = replace(new, total_in=old.total_in + move.amount)
        if counts and move.amount < 0:
            new = replace(new, total_out=old.total_out - move.amount)
        limit = old.suspend_below
        if old.status == "active" and limit is not None and old.available >= limit > new.available:
            new = replace(new, status="suspended")
        healthy = limit is None or new.available >= limit
        if old.status == "suspended" and recharge and healthy:
            new = replace(new, status="active")
        return new

    def settle(self, user: str, settings: dict[str, object]) -> None:
        """New settings of an account, which must be there."""
        old = self.purse(user)
        if not old.seq:
            raise Refused("not_found")
        if old.status == "closed" and "status" not in settings:
            raise Refused("account_closed")
        if settings.get("status") == "closed" and (old.balance or old.held):
            raise Refused("conflict")
        self.purses[user] = replace(old, **settings, seq=old.seq + 1)  # type: ignore[arg-type]
