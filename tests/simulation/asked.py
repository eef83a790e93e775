"""What callers ask for: made at random, turned into the ledger's changes, kept for the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from tallywire.ledger import (
    BalanceManager,
    Change,
    Details,
    IdempotencyKey,
    LedgerError,
    Receipt,
    changes,
    holds,
)
from tallywire.ledger.holds import Hold
from tallywire.ledger.reversals import reverse

from ..journeys.client import shown
from .trading import BOOKS, DEMO, PAIRS, PRICES, Order, order_of

USERS = ("alice", "bob", "carol", "d/~é", "erin")
# Few, so that they have something to trade with soon.
TRADERS = USERS[:2]
SCALES = {"USDT": 6, "COIN": 0, "USD": 2}
DUES = "dues"
SIDES = {"main": "credit", DEMO: "credit", DUES: "debit"}
OPERATOR = "operator"

# How many holds and transactions a program has in mind: few, so that callers meet on them.
REMEMBERED = 4

Mode = Literal["one", "each", "atomic"]
Told = Receipt | LedgerError


@dataclass(frozen=True)
class Item:
    """
    One change: minor units, own sense. `settings`: as the contract names them, minor units.

    of: the id of the hold, option or transaction that it is about; then an amount of 0 is all that
    remains. released: the remainder of a hold; forced: past the floors; order: what is asked of the
    market, whose amount is in `asset`, but for a spot order by base.
    """

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
    of: str = ""
    expires_in_s: int | None = None
    released: bool = False
    forced: bool = False
    actor: str = OPERATOR
    order: Order | None = None

    @property
    def type(self) -> str:
        """The transaction type that it becomes."""
        return {"set_balance": "adjustment", "force": "option_settled"}.get(self.kind, self.kind)

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """The books and assets of the accounts that it touches."""
        if self.kind == "trading_control":
            return ()
        if self.kind in ("spot_buy", "spot_sell"):
            assert self.order is not None
            return ((self.book, self.order.terms.base), (self.book, self.asset))
        return ((self.book, self.asset),)

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


async def change_of(manager: BalanceManager, item: Item, key: str | None) -> Change:
    """The ledger's Change for `item`; raises what is wrong with it."""
    catalog, kind = manager.catalog, manager.types[item.type]
    amount = shown(item.amount, SCALES[item.asset])
    details = Details(
        description=item.kind,
        reference=item.reference,
        actor=item.actor,
        key=None if key is None else IdempotencyKey("request", OPERATOR, key),
    )
    if item.order is not None:
        return await order_of(manager, item, details)
    if item.kind == "reversal":
        original = await manager.read_original(item.of)
        return reverse(catalog, manager.types, original, forced=item.forced, details=details)
    if item.kind == "hold_confirmed":
        return holds.confirm_hold(
            catalog,
            kind,
            await manager.read_hold(item.of),
            amount if item.amount else None,
            release_remainder=item.released,
            to_user=item.other or None,
            details=details,
        )
    if item.kind == "hold_voided":
        hold = await manager.read_hold(item.of)
        return holds.end_hold(catalog, kind, hold, "voided", details=details)
    place: dict[str, Any] = {"asset": item.asset, "book": item.book, "details": details}
    if item.kind == "hold_placed":
        return holds.place_hold(
            catalog, kind, item.user, amount, expires_in_s=item.expires_in_s, **place
        )
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
            name: shown(value, SCALES[item.asset]) if isinstance(value, int) else value
            for name, value in item.settings
        }
        make = changes.open_account if item.kind == "account_opened" else changes.change_account
        return make(catalog, kind, item.user, settings=settings, **place)
    return changes.directed(catalog, kind, item.user, amount, **place)


class Requests:
    """
    Makes requests; each item's reference is unique.

    What one caller learns of holds and transactions, by receipt or by reading, all callers know.
    """

    def __init__(self, random: Random, *, trading: bool) -> None:
        self._random = random
        self._trading = trading
        self._made = 0
        # By id: the item that it came from; of a hold as far as the reader knows it.
        self._holds: dict[str, Item] = {}
        self._done: dict[str, Item] = {}
        self._options: dict[str, Item] = {}

    def next(self) -> Asked:
        """One more request, mostly a small one."""
        random = self._random
        mode: Mode = random.choices(("one", "each", "atomic"), (10, 1, 2))[0]
        count = 1 if mode == "one" else random.randint(2, 4)
        items = tuple(self._item() for _ in range(count))
        key = f"key {self._made}" if random.random() < 0.6 else None
        return Asked(items, mode, key)

    def opening(self, user: str, asset: str, *, is_there: bool) -> Asked:
        """What makes sure that the account is there and neither frozen nor closed."""
        if is_there:
            settings = (("status", "active"),)
            item = Item(self._reference(), "account_changed", user, asset=asset, settings=settings)
        else:
            item = Item(self._reference(), "deposit", user, 5, asset=asset)
        return Asked((item,))

    def learn(self, asked: Asked, told: Sequence[Told]) -> None:
        """A caller was answered: receipts name the transactions, and the holds."""
        for item, outcome in zip(asked.items, told, strict=True):
            if not isinstance(outcome, Receipt):
                continue
            _remember(self._done, outcome.transaction_id, item)
            if item.kind == "hold_placed" and outcome.hold is not None:
                _remember(self._holds, outcome.hold["id"], item)
            if item.kind == "option_opened":
                _remember(self._options, outcome.transaction_id, item)

    def read(self, found: Iterable[Hold]) -> None:
        """A caller has read these holds."""
        for hold in found:
            item = Item(
                "", "hold_placed", hold.key.owner, hold.amount, hold.key.book, hold.key.asset
            )
            _remember(self._holds, hold.id, item)

    def _reference(self) -> str:
        self._made += 1
        return f"r{self._made}"

    def _item(self) -> Item:
        random, reference = self._random, self._reference()
        if self._trading and random.random() < 0.6:
            return self._on_the_market(reference)
        if self._holds and random.random() < 0.12:
            return self._about_a_hold(reference)
        if self._done and random.random() < 0.08:
            return self._reversal(reference)
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
                "hold_placed",
            ),
            (20, 20, 8, 6, 20, 4, 4, 5, 1, 3, 3, 12),
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
        if kind == "hold_placed":
            return Item(
                reference,
                kind,
                user,
                random.randint(1, most // 2),
                asset=asset,
                expires_in_s=random.choice((None, 1, 2, 4, 8, 3600)),
                actor=random.choice((OPERATOR, user)),
            )
        if kind == "adjustment":
            return Item(reference, kind, user, random.choice((1, -1)) * amount, asset=asset)
        if kind == "set_balance":
            if_seq = random.choice((None, random.randint(0, 20)))
            return Item(reference, kind, user, amount, asset=asset, if_seq=if_seq)
        if kind in ("account_changed", "account_opened"):
            settings = self._settings(most, with_status=kind == "account_changed")
            return Item(reference, kind, user, asset=asset, settings=settings)
        return Item(reference, kind, user, amount, asset=asset)

    def _about_a_hold(self, reference: str) -> Item:
        random = self._random
        id_, placed = random.choice(list(self._holds.items()))
        about = Item(
            reference, "hold_voided", placed.user, book=placed.book, asset=placed.asset, of=id_
        )
        if random.random() < 0.25:
            return about
        return replace(
            about,
            kind="hold_confirmed",
            amount=random.choice((0, random.randint(1, 1 + placed.amount))),
            other=random.choice(("", random.choice([u for u in USERS if u != placed.user]))),
            released=random.random() < 0.25,
        )

    def _on_the_market(self, reference: str) -> Item:
        random = self._random
        pair, book, user = random.choice(list(PAIRS)), random.choice(BOOKS), random.choice(TRADERS)
        quote, scale = PAIRS[pair].quote, PAIRS[pair].quote_scale
        kinds = ("deposit", "spot", "option", "force", "trading_control")
        deposits = 20 if self._made < 40 else 3
        kind = random.choices(kinds, (deposits, 6, 12, 3 if self._options else 0, 2))[0]
        # Few, so that they are used again.
        client_order_id = random.choice((None, None, f"order {random.randint(1, 9)}"))
        if kind == "deposit":
            asset = random.choice((PAIRS[pair].base, quote, quote))
            most = 3000 * 10 ** SCALES[asset]
            return Item(reference, kind, user, random.randint(most // 2, most), book, asset)
        if kind == "option":
            stake = random.randint(1, PAIRS[pair].maximum_stake * random.choice((1, 7, 21)) // 20)
            duration_s = random.choice(list(PAIRS[pair].rates))
            side = random.choice(("up", "down"))
            order = Order(pair, side, duration_s=duration_s, client_order_id=client_order_id)
            return Item(reference, "option_opened", user, stake, book, quote, order=order)
        if kind == "spot":
            side, by = random.choice(("buy", "sell")), random.choice(("base", "quote"))
            amount = random.randint(1, 300 * (1 if by == "base" else 10**scale))
            limit = random.choice((None, None, *PRICES))
            order = Order(pair, side, by, limit, client_order_id=client_order_id)
            return Item(reference, f"spot_{side}", user, amount, book, quote, order=order)
        if kind == "force":
            id_, opened = random.choice(list(self._options.items()))
            assert opened.order is not None
            order = Order(opened.order.pair, random.choice(("win", "lose", "tie")))
            return replace(opened, reference=reference, kind="force", of=id_, order=order)
        order = Order(pair, random.choice(("win", "normal", "lose")))
        return Item(reference, kind, user, 0, random.choice((DEMO, DEMO, book)), order=order)

    def _reversal(self, reference: str) -> Item:
        random = self._random
        id_, item = random.choice(list(self._done.items()))
        forced = random.random() < 0.3
        return replace(
            item, reference=reference, kind="reversal", of=id_, forced=forced, order=None
        )

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


def _remember(known: dict[str, Item], id_: str, item: Item) -> None:
    known[id_] = item
    while len(known) > REMEMBERED:
        del known[next(iter(known))]
