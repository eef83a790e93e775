"""What callers ask for: made at random, turned into the ledger's changes, kept for the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from tallywire.ledger import BalanceManager, Change, Details, IdempotencyKey, changes

from ..journeys.client import shown

USERS = ("alice", "bob", "carol", "d/~é", "erin")
SCALES = {"USDT": 6, "COIN": 0}
DUES = "dues"
SIDES = {"main": "credit", DUES: "debit"}
OPERATOR = "operator"

Mode = Literal["one", "each", "atomic"]


@dataclass(frozen=True)
class Item:
    """One change: minor units, own sense. `settings`: as the contract names them, minor units."""

    reference: str
    kind: str
    user: str
    amount: int = 0
    book: str = "main"
    asset: str = "USDT"
    other: str = ""
    shares: tuple[tuple[str, int], ...] = ()
    settings: tuple[tuple[str, int | str | None], ...] = ()
    if_seq: int | None = None

    @property
    def type(self) -> str:
        """The transaction type that it becomes."""
        return "adjustment" if self.kind == "set_balance" else self.kind

    @property
    def users(self) -> tuple[str, ...]:
        """Whose accounts it touches."""
        if self.shares:
            return tuple(user for user, _ in self.shares)
        return (self.user, self.other) if self.other else (self.user,)


@dataclass(frozen=True)
class Asked:
    """One request: its items together or not at all (`atomic`), each by itself, or just one."""

    items: tuple[Item, ...]
    mode: Mode = "one"
    key: str | None = None

    def key_of(self, index: int) -> str | None:
        """The idempotency key of the item `index`."""
        return None if self.key is None else f"{self.key}/{index}"


def change_of(manager: BalanceManager, item: Item, key: str | None) -> Change:
    """The ledger's Change for `item`; raises what is wrong with it."""
    scale = SCALES[item.asset]
    amount = shown(item.amount, scale)
    kind = manager.types[item.type]
    place: dict[str, Any] = {
        "asset": item.asset,
        "book": item.book,
        "details": Details(
            description=item.kind,
            reference=item.reference,
            actor=OPERATOR,
            key=None if key is None else IdempotencyKey("request", OPERATOR, key),
        ),
    }
    catalog = manager.catalog
    if item.kind == "transfer":
        return changes.transfer(catalog, kind, item.user, item.other, amount, **place)
    if item.kind == "shared_charge":
        return changes.shared_charge(catalog, kind, amount, item.shares, **place)
    if item.kind == "set_balance":
        return changes.set_balance(catalog, kind, item.user, amount, if_seq=item.if_seq, **place)
    if item.kind == "adjustment":
        return changes.signed(catalog, kind, item.user, amount, **place)
    if item.kind in ("account_opened", "account_changed"):
        settings = {
            name: shown(value, scale) if isinstance(value, int) else value
            for name, value in item.settings
        }
        make = changes.open_account if item.kind == "account_opened" else changes.change_account
        return make(catalog, kind, item.user, settings=settings, **place)
    return changes.directed(catalog, kind, item.user, amount, **place)


class Requests:
    """Makes requests; each item's reference is unique."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._made = 0

    def next(self) -> Asked:
        """One more request, mostly a small one."""
        random = self._random
        mode: Mode = random.choices(("one", "each", "atomic"), (10, 1, 2))[0]
        count = 1 if mode == "one" else random.randint(2, 4)
        items = tuple(self._item() for _ in range(count))
        key = f"key {self._made}" if random.random() < 0.6 else None
        return Asked(items, mode, key)

    def deposit(self, user: str) -> Asked:
        """A deposit, to see that all is well."""
        return Asked((Item(self._reference(), "deposit", user, 5),))

    def _reference(self) -> str:
        self._made += 1
        return f"r{self._made}"

    def _item(self) -> Item:
        random, reference = self._random, self._reference()
        user = random.choice(USERS)
        asset = random.choice(("USDT", "USDT", "COIN"))
        most = 1000 * 10 ** SCALES[asset]
        kind = random.choices(
            (
                "deposit",
                "withdrawal",
                "charge",
                "recharge",
                "transfer",
                "adjustment",
                "set_balance",
                "account_changed",
                "account_opened",
                "shared_charge",
                "payment",
            ),
            (20, 20, 8, 6, 20, 4, 4, 5, 1, 3, 3),
        )[0]
        amount = random.randint(1, most)
        if kind in ("shared_charge", "payment"):
            if kind == "payment":
                return Item(reference, kind, user, amount, DUES, asset)
            shares = tuple((u, random.randint(1, 5)) for u in random.sample(USERS, 3))
            return Item(reference, kind, shares[0][0], amount, DUES, asset, shares=shares)
        if kind == "transfer":
            other = random.choice([u for u in USERS if u != user])
            return Item(reference, kind, user, amount, asset=asset, other=other)
        if kind == "adjustment":
            return Item(reference, kind, user, random.choice((1, -1)) * amount, asset=asset)
        if kind == "set_balance":
            if_seq = random.choice((None, random.randint(0, 20)))
            return Item(reference, kind, user, amount, asset=asset, if_seq=if_seq)
        if kind in ("account_changed", "account_opened"):
            settings = self._settings(most, with_status=kind == "account_changed")
            return Item(reference, kind, user, asset=asset, settings=settings)
        return Item(reference, kind, user, amount, asset=asset)

    def _settings(
        self, most: int, *, with_status: bool
    ) -> tuple[tuple[str, int | str | None], ...]:
        random = self._random
        choices: list[tuple[str, int | str | None]] = [
            ("floor", random.choice((None, 0, -most, most // 10))),
            ("suspend_below", random.choice((None, most // 4))),
            ("alert_below", random.choice((None, most // 2))),
        ]
        if with_status:
            choices += [("status", s) for s in ("active", "active", "active", "frozen", "closed")]
        return (random.choice(choices),)
