"""
The rules a second time, as plainly as they can be said: one dictionary of users, own sense.

Written from the contract alone (sections 1, 2 and 3); the tests hold the ledger's rules to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Purse:
    """One user's account: minor units, own sense."""

    balance: int = 0
    held: int = 0
    total_in: int = 0
    total_out: int = 0
    total_earned: int | None = None
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


@dataclass(frozen=True)
class Hold:
    """Funds of one user that are reserved, and what of them remains."""

    user: str
    amount: int
    remaining: int
    expires_at: datetime | None = None
    status: str = "open"

    def open_at(self, now: datetime) -> bool:
        return self.status == "open" and (self.expires_at is None or now < self.expires_at)


class Refused(Exception):
    """By the contract's code."""


class Model:
    """Every purse, on a book of one side."""

    def __init__(self, side: str, *, strict: bool = False, floor: int | None = 0) -> None:
        self.debit = side == "debit"
        self.strict = strict
        self.floor = None if self.debit else floor
        self.purses: dict[str, Purse] = {}
        self.holds: dict[str, Hold] = {}
        # The ids of the transactions that are reversed.
        self.undone: set[str] = set()
        self.alerts: list[str] = []

    def purse(self, user: str) -> Purse:
        return self.purses.get(user, Purse(floor=self.floor))

    def post(
        self,
        moves: Sequence[Move],
        *,
        counts: bool = False,
        earns: bool = False,
        recharge: bool = False,
        settles: bool = False,
        forced: bool = False,
        undoes: bool = False,
    ) -> None:
        """
        All of the moves, or Refused: not found, closed, frozen, suspended, amount, funds.

        settles: passes suspension and freeze; forced: passes the floor; undoes: takes back what
        counted; earns: is earned, or takes back what was.
        """
        before = {move.user: self.purse(move.user) for move in moves}
        if self.strict and any(not purse.seq for purse in before.values()):
            raise Refused("unknown_user")
        for status in ("closed",) if settles else ("closed", "frozen"):
            if any(purse.status == status for purse in before.values()):
                raise Refused(f"account_{status}")
        for move in moves:
            debit = move.amount < 0 or move.held_change > 0
            if before[move.user].status == "suspended" and debit and not settles:
                raise Refused("account_suspended")
        after = {move.user: self._moved(move, counts, recharge, undoes, earns) for move in moves}
        if any(abs(move.amount) > LARGEST for move in moves):
            raise Refused("invalid_amount")
        for purse in after.values():
            totals = (purse.total_in, purse.total_out, purse.total_earned or 0)
            numbers = (purse.balance, purse.available, *totals)
            if any(abs(number) > LARGEST for number in numbers):
                raise Refused("invalid_amount")
        for user, purse in after.items():
            falls = purse.available < before[user].available
            short = purse.floor is not None and purse.available < purse.floor
            if short and falls and not forced:
                raise Refused("insufficient_funds")
        self.alerts = [
            user
            for user, purse in after.items()
            if purse.alert_below is not None
            and before[user].available >= purse.alert_below > purse.available
        ]
        self.purses.update(after)

    def place(self, id_: str, user: str, amount: int, expires_at: datetime | None) -> None:
        """A hold is placed."""
        self.post([Move(user, 0, amount)])
        self.holds[id_] = Hold(user, amount, amount, expires_at)

    def confirm(
        self, id_: str, amount: int | None, to: str | None, now: datetime, *, release: bool
    ) -> None:
        """An amount of a hold, or all that remains, moves `to` another user or out."""
        hold = self._hold(id_)
        if to is not None and self.purse(to).status == "frozen":
            raise Refused("account_frozen")
        if not hold.open_at(now):
            raise Refused("hold_not_open")
        if to is not None and self.purse(to).status == "closed":
            raise Refused("account_closed")
        moved = hold.remaining if amount is None else amount
        if moved > hold.remaining:
            raise Refused("hold_exceeded")
        remaining = 0 if release else hold.remaining - moved
        moves = [Move(hold.user, -moved, remaining - hold.remaining)]
        if to is not None:
            moves.append(Move(to, moved))
        self.post(moves, settles=True)
        status = "open" if remaining else "confirmed"
        self.holds[id_] = replace(hold, remaining=remaining, status=status)

    def end(self, id_: str, status: str, now: datetime) -> None:
        """What remains of a hold is released: it is voided, or it expired."""
        hold = self._hold(id_)
        if hold.status != "open" or (status == "expired" and hold.open_at(now)):
            raise Refused("hold_not_open")
        self.post([Move(hold.user, 0, -hold.remaining)], settles=True)
        self.holds[id_] = replace(hold, remaining=0, status=status)

    def reverse(self, id_: str, moves: Sequence[Move], *, counted: bool, forced: bool) -> None:
        """The transaction `id_`, which made the `moves`, is undone."""
        if id_ in self.undone:
            raise Refused("already_reversed")
        back = [Move(move.user, -move.amount) for move in moves]
        self.post(back, undoes=counted, forced=forced)
        self.undone.add(id_)

    def _hold(self, id_: str) -> Hold:
        if id_ not in self.holds:
            raise Refused("not_found")
        return self.holds[id_]

    def _moved(self, move: Move, counts: bool, recharge: bool, undoes: bool, earns: bool) -> Purse:
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
        if earns:
            new = replace(new, total_earned=(old.total_earned or 0) + move.amount)
        if undoes and move.amount < 0:
            new = replace(new, total_in=old.total_in + move.amount)
        if undoes and move.amount > 0:
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
