"""
The whole ledger a second time, as plainly as it can be said: dictionaries of minor units.

Written from the contract alone, and it imports nothing of the ledger: amounts are in the account's
own sense, one asset, books by name. Every operation gives its Effect, or is Refused by its code
and leaves everything as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Self

Place = tuple[str, str]
"""A book and a user."""


@dataclass(frozen=True)
class Account:
    """One user's account as its last entry left it."""

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
class Book:
    """What a book is; days are numbers, and nothing is effective on or before `closed_through`."""

    debit: bool = False
    strict: bool = False
    floor: int | None = 0
    closed_through: int | None = None


@dataclass(frozen=True)
class Kind:
    """A type: its own-sense sign on a credit and on a debit book, 0 where it takes either."""

    credit: int | None
    debit: int | None
    counter: str
    counts: bool = True
    earns: bool = False
    lifts: bool = False


KINDS = {
    "deposit": Kind(1, None, "@world"),
    "recharge": Kind(1, None, "@world", lifts=True),
    "withdrawal": Kind(-1, None, "@world"),
    "charge": Kind(-1, 1, "@house"),
    "shared_charge": Kind(None, 1, "@house"),
    "payment": Kind(None, -1, "@world"),
    "adjustment": Kind(0, 0, "@house", counts=False),
    "reward": Kind(1, -1, "@house", counts=False, earns=True),
}


@dataclass(frozen=True)
class Mirror:
    """A column of a host's table, whose row is the user's, and what of an account it follows."""

    book: str
    value: str
    adopts: bool = False


MIRRORS = {
    "coins": Mirror("main", "balance", adopts=True),
    "shadow": Mirror("main", "available"),
    "credit": Mirror("line", "balance"),
}
Cell = tuple[str, str]
"""A mirror's column and a user."""


@dataclass(frozen=True)
class Move:
    """What a transaction does to one user."""

    place: Place
    amount: int
    held_change: int = 0


@dataclass(frozen=True)
class Hold:
    """A hold; `expires_at` in seconds."""

    place: Place
    remaining: int
    status: str
    expires_at: int | None


@dataclass(frozen=True)
class Effect:
    """One transaction: what it did to each user, who was alerted, what it did to the ledger's."""

    moves: tuple[Move, ...]
    alerts: frozenset[Place] = frozenset()
    counter: str | None = None
    counts: bool = False
    earns: bool = False
    reversible: bool = False
    repairs: bool = False


@dataclass(frozen=True)
class Terms:
    """How a change is asked for: its key, if any, its day (0 is today), and the whole request."""

    request: tuple[Any, ...]
    key: tuple[str, str] | None = None
    day: int = 0


class Refused(Exception):
    """By the contract's code; `item` in a batch."""

    def __init__(self, code: str, item: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.item = item


class Malformed(Refused):
    """It cannot be asked like this at all, so not even its key is looked up."""

    def __init__(self) -> None:
        super().__init__("invalid_request")


@dataclass
class Model:
    """Everything that the ledger should know."""

    books: dict[str, Book]
    today: int
    seconds: int = 0
    paused: bool = False
    accounts: dict[Place, Account] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    effects: dict[str, Effect] = field(default_factory=dict)
    reversed: frozenset[str] = frozenset()
    keys: dict[tuple[str, str], tuple[tuple[Any, ...], str]] = field(default_factory=dict)
    system: Counter[tuple[str, str]] = field(default_factory=Counter)
    dated: list[tuple[int, Place, int]] = field(default_factory=list)
    # What the host's rows say; what the ledger last wrote there, None where it found no row.
    cells: dict[Cell, int] = field(default_factory=dict)
    written: dict[Cell, int | None] = field(default_factory=dict)
    # By type, what the ledger did of itself, and has no id here yet.
    unasked: list[tuple[str, Effect]] = field(default_factory=list)

    def account(self, place: Place) -> Account:
        book = self.books[place[0]]
        return self.accounts.get(place, Account(floor=None if book.debit else book.floor))

    def fork(self) -> Self:
        """A copy to try something on."""
        copied = copy(self)
        for name, value in vars(self).items():
            setattr(copied, name, copy(value))
        return copied

    # What comes before every operation

    def replayed(self, terms: Terms) -> str | None:
        """The transaction that an earlier request with the key made."""
        if terms.key is None or terms.key not in self.keys:
            return None
        request, transaction = self.keys[terms.key]
        if request != terms.request:
            raise Refused("idempotency_key_reused")
        return transaction

    def commit(self, transaction: str, terms: Terms, effect: Effect) -> None:
        """What the operation that gave `effect` has as its id."""
        self.effects[transaction] = effect
        if terms.key is not None:
            self.keys[terms.key] = (terms.request, transaction)
        for move in effect.moves:
            self.dated.append((self.today + terms.day, move.place, move.amount))
            if effect.repairs:
                self.meet([move.place])
            self._write(move.place)

    def _begin(self, terms: Terms, places: Sequence[Place], *, passes: bool, money: bool) -> None:
        if self.paused and not passes:
            raise Refused("paused")
        if terms.key not in self.keys:
            self.meet(places)
        if terms.day > 0:
            raise Refused("invalid_request")
        if money or terms.day:
            for book, _ in places:
                closed = self.books[book].closed_through
                if closed is not None and self.today + terms.day <= closed:
                    raise Refused("invalid_request")

    # Mirrors

    def meet(self, places: Sequence[Place]) -> None:
        """Book what others wrote to the rows of accounts, whatever becomes of the change."""
        for place in places:
            for cell, mirror in _mirrors(place):
                drift = self._drift(cell)
                if not mirror.adopts or not drift:
                    continue
                booking = Effect((), counter="@house", reversible=True)
                try:
                    effect = self._post([Move(place, drift)], booking, passes=True, forced=True)
                except Refused:
                    # A closed account takes no money: the row keeps what it says.
                    continue
                self.unasked.append(("adoption", effect))
                self.written[cell] = self.cells[cell]
                self._write(place)

    def sync(self, place: Place) -> None:
        """Put the rows of an account right: booked where a mirror adopts, else written over."""
        if not any(self._lacks(cell, place) for cell, _ in _mirrors(place)):
            return
        drifted = any(self._drift(cell) for cell, _ in _mirrors(place))
        if drifted and not any(mirror.adopts for _, mirror in _mirrors(place)):
            self.repair_unasked(place)
        else:
            self.meet([place])
            self._write(place)

    def wrong(self) -> list[tuple[str, Place, int | None, int]]:
        """Where a row is missing or says something else: column, account, said, and what not."""
        return [
            (cell[0], place, self.cells.get(cell), getattr(account, mirror.value))
            for place, account in self.accounts.items()
            for cell, mirror in _mirrors(place)
            if self.cells.get(cell) != getattr(account, mirror.value)
        ]

    def repair_unasked(self, place: Place) -> None:
        """An account made to say what its entries say, then its rows what it says."""
        self.unasked.append(("repair", self.repair(place)))
        self.meet([place])
        self._write(place)

    def _drift(self, cell: Cell) -> int:
        """What others made of the row since the ledger wrote it; a new row has no say."""
        before = self.written.get(cell, 0)
        return 0 if cell not in self.cells or before is None else self.cells[cell] - before

    def _lacks(self, cell: Cell, place: Place) -> bool:
        """Whether there is something to be done about the row."""
        if self.written.get(cell, 0) is None:
            return cell in self.cells
        right: int = getattr(self.accounts[place], MIRRORS[cell[0]].value)
        return self.cells.get(cell) != right

    def _write(self, place: Place) -> None:
        for cell, mirror in _mirrors(place):
            if cell not in self.cells:
                self.written[cell] = None
            elif not mirror.adopts or not self._drift(cell):
                value: int = getattr(self.accounts[place], mirror.value)
                self.cells[cell] = self.written[cell] = value

    # Money

    def move(self, kind: str, place: Place, amount: int, terms: Terms) -> Effect:
        """One user's change, by an amount that is more than zero; an adjustment's has its sign."""
        rule, book = KINDS[kind], self.books[place[0]]
        sign = rule.debit if book.debit else rule.credit
        if sign is None:
            raise Malformed
        self._begin(terms, [place], passes=False, money=True)
        wrong = amount == 0 or (sign != 0 and amount < 0)
        # An amount that is wrong still has the direction that was asked for.
        moved = (sign or 1) * (1 if wrong else amount)
        return self._post(
            [Move(place, moved)],
            Effect((), counter=rule.counter, counts=rule.counts, earns=rule.earns, reversible=True),
            refusal="invalid_amount" if wrong else None,
            lifts=rule.lifts,
        )

    def set_balance(self, place: Place, balance: int, if_seq: int | None, terms: Terms) -> Effect:
        self._begin(terms, [place], passes=False, money=True)
        account = self._found(place)
        if if_seq is not None and if_seq != account.seq:
            raise Refused("conflict")
        return self._post(
            [Move(place, balance - account.balance)],
            Effect((), counter="@house", reversible=True),
        )

    def transfer(self, source: Place, target: Place, amount: int, terms: Terms) -> Effect:
        if self.books[source[0]].debit or source == target:
            raise Malformed
        self._begin(terms, [source, target], passes=False, money=True)
        return self._post(
            [Move(source, -max(amount, 1)), Move(target, max(amount, 1))],
            Effect((), reversible=True),
            refusal="invalid_amount" if amount <= 0 else None,
        )

    def shared_charge(
        self, book: str, amount: int, shares: Sequence[tuple[str, int]], terms: Terms
    ) -> Effect:
        """Largest remainder, ties to the earlier share."""
        if not self.books[book].debit:
            raise Malformed
        self._begin(terms, [(book, user) for user, _ in shares], passes=False, money=True)
        whole = sum(weight for _, weight in shares)
        parts = [amount * weight // whole for _, weight in shares]
        lost = [amount * weight % whole for _, weight in shares]
        for _ in range(amount - sum(parts)):
            largest = lost.index(max(lost))
            parts[largest] += 1
            lost[largest] = -1
        return self._post(
            [Move((book, user), part) for (user, _), part in zip(shares, parts, strict=True)],
            Effect((), counter="@house", counts=True, reversible=True),
            refusal="invalid_amount" if amount <= 0 else None,
        )

    def reverse(self, transaction: str, forced: bool, terms: Terms) -> Effect:
        original = self.effects[transaction]
        self._begin(terms, [move.place for move in original.moves], passes=False, money=True)
        if transaction in self.reversed:
            raise Refused("already_reversed")
        effect = self._post(
            [Move(move.place, -move.amount) for move in original.moves],
            Effect((), counter=original.counter, earns=original.earns),
            forced=forced,
            undoes=original.counts,
        )
        self.reversed |= {transaction}
        return effect

    # Holds

    def place_hold(
        self, place: Place, amount: int, seconds: int | None, terms: Terms
    ) -> tuple[Effect, Hold]:
        if self.books[place[0]].debit:
            raise Malformed
        self._begin(terms, [place], passes=False, money=False)
        effect = self._post(
            [Move(place, 0, max(amount, 1))],
            Effect(()),
            refusal="invalid_amount" if amount <= 0 else None,
        )
        expires = None if seconds is None else self.seconds + seconds
        return effect, Hold(place, amount, "open", expires)

    def confirm_hold(
        self, id_: str, amount: int | None, release: bool, to: str | None, terms: Terms
    ) -> Effect:
        hold = self.holds[id_]
        if to == hold.place[1]:
            raise Malformed
        target = None if to is None else (hold.place[0], to)
        touched = [hold.place] if target is None else [hold.place, target]
        self._begin(terms, touched, passes=True, money=True)
        if target is not None and self.account(target).status == "frozen":
            raise Refused("account_frozen")
        if hold.status != "open" or self._is_over(hold):
            raise Refused("hold_not_open")
        moved = hold.remaining if amount is None else amount
        refusal = "invalid_amount" if moved <= 0 else None
        if moved > hold.remaining:
            refusal = "hold_exceeded"
        left = 0 if release else max(hold.remaining - moved, 0)
        moves = [Move(hold.place, -moved, left - hold.remaining)]
        if target is not None:
            moves.append(Move(target, moved))
        effect = self._post(
            moves,
            Effect((), counter="@world" if target is None else None),
            refusal=refusal,
            passes=True,
        )
        self.holds[id_] = replace(hold, remaining=left, status="open" if left else "confirmed")
        return effect

    def void_hold(self, id_: str, terms: Terms) -> Effect:
        hold = self.holds[id_]
        self._begin(terms, [hold.place], passes=True, money=False)
        if hold.status != "open":
            raise Refused("hold_not_open")
        return self._release(id_, "voided")

    def over(self) -> list[str]:
        """The holds whose time is over, the newest first."""
        return [id_ for id_, hold in reversed(self.holds.items()) if self._is_over(hold)]

    def expire_hold(self, id_: str) -> Effect:
        return self._release(id_, "expired")

    def _release(self, id_: str, status: str) -> Effect:
        hold = self.holds[id_]
        effect = self._post([Move(hold.place, 0, -hold.remaining)], Effect(()), passes=True)
        self.holds[id_] = replace(hold, remaining=0, status=status)
        return effect

    def _is_over(self, hold: Hold) -> bool:
        due = hold.expires_at is not None and hold.expires_at <= self.seconds
        return hold.status == "open" and due

    # Accounts

    def open_account(self, place: Place, settings: dict[str, Any], terms: Terms) -> Effect:
        self._check_settings(place, settings)
        self._begin(terms, [place], passes=False, money=False)
        if place in self.accounts:
            raise Refused("conflict")
        return self._set(place, self.account(place), settings)

    def change_account(self, place: Place, settings: dict[str, Any], terms: Terms) -> Effect:
        self._check_settings(place, settings)
        self._begin(terms, [place], passes=False, money=False)
        if place not in self.accounts:
            raise Refused("not_found")
        account = self.accounts[place]
        if account.status == "closed" and "status" not in settings:
            raise Refused("account_closed")
        if settings.get("status") == "closed" and (account.balance or account.held):
            raise Refused("conflict")
        return self._set(place, account, settings)

    def repair(self, place: Place) -> Effect:
        return replace(self._set(place, self.accounts[place], {}), repairs=True)

    def _set(self, place: Place, account: Account, settings: dict[str, Any]) -> Effect:
        self.accounts[place] = replace(account, **settings, seq=account.seq + 1)
        return Effect((Move(place, 0),))

    def _check_settings(self, place: Place, settings: dict[str, Any]) -> None:
        if self.books[place[0]].debit:
            for name in ("floor", "suspend_below"):
                if settings.get(name) is not None:
                    raise Malformed

    # The rules of every movement

    def _found(self, place: Place) -> Account:
        if self.books[place[0]].strict and place not in self.accounts:
            raise Refused("unknown_user")
        return self.account(place)

    def _post(
        self,
        moves: Sequence[Move],
        effect: Effect,
        *,
        refusal: str | None = None,
        lifts: bool = False,
        passes: bool = False,
        forced: bool = False,
        undoes: bool = False,
    ) -> Effect:
        """All of the moves, or none: not found, closed, frozen, suspended, amount, funds."""
        before = {move.place: self._found(move.place) for move in moves}
        for move in moves:
            if before[move.place].status == "closed":
                raise Refused("account_closed")
        for move in moves:
            if before[move.place].status == "frozen" and not passes:
                raise Refused("account_frozen")
        for move in moves:
            debit = move.amount < 0 or move.held_change > 0
            if before[move.place].status == "suspended" and debit and not passes:
                raise Refused("account_suspended")
        if refusal is not None:
            raise Refused(refusal)
        after = {
            move.place: _after(before[move.place], move, effect, undoes, lifts) for move in moves
        }
        for place, account in after.items():
            falls = account.available < before[place].available
            below = account.floor is not None and account.available < account.floor
            if falls and below and not forced:
                raise Refused("insufficient_funds")
        alerts = frozenset(
            place
            for place, account in after.items()
            if _crosses(account.alert_below, before[place].available, account.available)
        )
        self.accounts.update(after)
        if effect.counter is not None:
            for move in moves:
                self.system[move.place[0], effect.counter] -= move.amount
        return replace(effect, moves=tuple(moves), alerts=alerts)


def _mirrors(place: Place) -> list[tuple[Cell, Mirror]]:
    """The cells of an account's row that follow it."""
    return [
        ((column, place[1]), mirror)
        for column, mirror in MIRRORS.items()
        if mirror.book == place[0]
    ]


def _after(old: Account, move: Move, effect: Effect, undoes: bool, lifts: bool) -> Account:
    new = replace(
        old,
        balance=old.balance + move.amount,
        held=old.held + move.held_change,
        seq=old.seq + 1,
    )
    if effect.earns:
        new = replace(new, total_earned=(old.total_earned or 0) + move.amount)
    if effect.counts:
        new = replace(
            new,
            total_in=old.total_in + max(move.amount, 0),
            total_out=old.total_out + max(-move.amount, 0),
        )
    if undoes:
        new = replace(
            new,
            total_in=old.total_in - max(-move.amount, 0),
            total_out=old.total_out - max(move.amount, 0),
        )
    if old.status == "active" and _crosses(old.suspend_below, old.available, new.available):
        new = replace(new, status="suspended")
    cured = old.suspend_below is None or new.available >= old.suspend_below
    if old.status == "suspended" and lifts and cured:
        new = replace(new, status="active")
    return new


def _crosses(threshold: int | None, before: int, after: int) -> bool:
    return threshold is not None and before >= threshold > after
