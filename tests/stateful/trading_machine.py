"""Random sequences of trading, each step held to the model: amounts, TRADEs, exposures, screens."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import hypothesis.strategies as st
import msgspec
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tallywire.ledger import (
    BalanceManager,
    Change,
    Details,
    IdempotencyKey,
    LedgerError,
    Receipt,
    changes,
    open_ledger,
)
from tallywire.ledger.trading import controls, options, spot

from ..journeys.client import Accounts, account_name, balance_of, shown
from ..ledger.conftest import ManualClock
from ..ledger.oracle import examine
from ..ledger.raw import rows
from ..ledger.trading.model import Pair, moment
from .model import Book, Effect, Malformed, Place, Refused, Terms
from .trading_model import TradingModel

T = TypeVar("T")

# Scales, prices, fees and rates that leave something to round nearly every time.
PAIR = Pair(
    base="COIN",
    quote="USD",
    base_scale=0,
    quote_scale=2,
    price_decimals=4,
    minimum=2,
    fee_bps=33,
    rates={5: 8050, 10: 3333},
    maximum_stake=500,
    exposure_limit=600,
    stale_after_s=6,
    settlement_age_s=4,
)
SCALES = {PAIR.base: PAIR.base_scale, PAIR.quote: PAIR.quote_scale}
BOOKS = ("main", "demo")
USERS = ("alice", "bob")
PLACES = [(f"{book}/{asset}", user) for book in BOOKS for asset in SCALES for user in USERS]
FUNDS = {PAIR.base: 50, PAIR.quote: 1000}

owners = st.tuples(st.sampled_from(BOOKS), st.sampled_from(USERS))
places = st.sampled_from(PLACES)
# Few, so that prices meet again: in ties, and in limits that are just met.
prices = st.sampled_from([10_000, 12_345, 12_345, 12_346, 20_001])
amounts = st.one_of(st.integers(1, 300), st.integers(1, 20), st.sampled_from([0, -1, 500, 501]))
keys = st.one_of(
    st.none(), st.none(), st.tuples(st.sampled_from(["root", "ada"]), st.sampled_from("kl"))
)
orders = st.one_of(st.none(), st.none(), st.sampled_from(["o", "p"]))
sides = st.sampled_from(["buy", "sell"])
directions = st.sampled_from(["up", "down"])
outcomes = st.sampled_from(["win", "lose", "tie"])
durations = st.sampled_from([5, 5, 5, 10, 10, 7])


@dataclass(frozen=True)
class Ask:
    """One change: what is asked for, which begins with its kind, and under which key."""

    request: tuple[Any, ...]
    key: tuple[str, str] | None = None

    @property
    def terms(self) -> Terms:
        return Terms(self.request, self.key)


def _asks(kind: st.SearchStrategy[str], *what: st.SearchStrategy[Any]) -> st.SearchStrategy[Ask]:
    return st.builds(Ask, st.tuples(kind, *what), keys)


money = _asks(st.sampled_from(["deposit", "withdrawal", "recharge"]), places, amounts)
spots = _asks(
    st.just("spot"),
    owners,
    sides,
    st.sampled_from(["base", "quote"]),
    amounts,
    st.one_of(st.none(), st.none(), prices, st.just(0)),
    orders,
)
openings = _asks(st.just("option"), owners, directions, amounts, durations, orders)
modes = _asks(
    st.just("control"),
    st.tuples(st.sampled_from(["demo", "demo", "demo", "main"]), st.sampled_from(USERS)),
    st.sampled_from(["win", "normal", "lose"]),
)
# Also in one batch: a control and the option that is opened under it.
asks = st.one_of(money, spots, openings, openings, modes)


class TradingMachine(RuleBasedStateMachine):
    """Two processes on one fresh ledger, whose address `fresh_url` gives; at the end: examined."""

    fresh_url: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.url = type(self).fresh_url()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.clock = ManualClock()
        books = {f"{book}/{asset}": Book() for book in BOOKS for asset in SCALES}
        self.model = TradingModel(books, today=0, pair=PAIR, start=self.clock.now())
        self.managers: list[BalanceManager] = []
        self.screens = {user: Accounts() for user in USERS}
        self.verified = -1

    @initialize(price=prices, order=st.permutations(PLACES))
    def open(self, price: int, order: Sequence[Place]) -> None:
        """Everybody has something, and there is a price."""
        self.managers = self.run(self._open())
        self.push(price)
        for book, user in order:
            self.ask(Ask(("deposit", (book, user), FUNDS[book.split("/")[1]])))

    async def _open(self) -> list[BalanceManager]:
        first = await self._process()
        await first.administration.put_pair(PAIR.name, PAIR.settings(), actor="root")
        return [first, await self._process()]

    async def _process(self) -> BalanceManager:
        ledger = open_ledger(self.url, clock=self.clock, default_asset=PAIR.quote)
        return await self.stack.enter_async_context(ledger)

    def teardown(self) -> None:
        try:
            self.run(self._close())
        finally:
            self.runner.close()

    async def _close(self) -> None:
        await self.stack.aclose()
        # What is left half done by a failure would hide the failure itself.
        if sys.exc_info()[0] is None:
            assert await examine(self.url) == len(self.model.effects)

    # Asking both, and comparing

    @property
    def manager(self) -> BalanceManager:
        """One of the two processes, now this, now that."""
        return self.managers[len(self.model.effects) % 2]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def ask(self, ask: Ask) -> str | None:
        """Ask the ledger and the model: one receipt, replay or refusal. The id where it is new."""
        return self.compare(self.run(self._outcome(ask)), self.expected(ask), ask)

    async def _outcome(self, ask: Ask) -> Receipt | LedgerError:
        try:
            return await self.manager.post(await self._prepared(ask))
        except LedgerError as refusal:
            return refusal

    async def _prepared(self, ask: Ask) -> Change:
        manager, kind = self.manager, ask.request[0]
        option = await manager.trading.read_option(ask.request[1]) if kind == "force" else None
        key = None if ask.key is None else IdempotencyKey("request", *ask.key)
        details = Details(actor=(ask.key or ("root",))[0], key=key)
        catalog, types = manager.catalog, manager.types
        match ask.request:
            case ("spot", (book, user), side, by, amount, limit, order):
                scale = SCALES[PAIR.base if by == "base" else PAIR.quote]
                given: dict[str, Any] = {f"{by}_amount": shown(amount, scale)}
                if limit is not None:
                    given["limit_price"] = shown(limit, PAIR.price_decimals)
                type_ = types[f"spot_{side}"]
                return spot.spot_order(
                    catalog,
                    type_,
                    user,
                    PAIR.name,
                    side,
                    **given,
                    client_order_id=order,
                    book=book,
                    details=details,
                )
            case ("option", (book, user), direction, stake, duration_s, order):
                return options.open_option(
                    catalog,
                    types["option_opened"],
                    user,
                    PAIR.name,
                    direction,
                    shown(stake, PAIR.quote_scale),
                    duration_s,
                    client_order_id=order,
                    book=book,
                    details=details,
                )
            case ("force", _, outcome):
                assert option is not None
                settled = types["option_settled"]
                return options.force_option(catalog, settled, option, outcome, details=details)
            case ("control", (book, user), mode):
                control = types["trading_control"]
                return controls.set_control(
                    catalog, control, user, mode, book=book, details=details
                )
            case ("account", (place, user), settings):
                book, asset = place.split("/")
                texts = {
                    name: shown(value, SCALES[asset]) if isinstance(value, int) else value
                    for name, value in settings
                }
                return changes.change_account(
                    catalog,
                    types["account_changed"],
                    user,
                    asset=asset,
                    book=book,
                    settings=texts,
                    details=details,
                )
        type_, (place, user), amount = ask.request
        book, asset = place.split("/")
        text = shown(amount, SCALES[asset])
        return changes.directed(
            catalog, types[type_], user, text, asset=asset, book=book, details=details
        )

    def expected(self, ask: Ask) -> tuple[TradingModel, Effect | str | Refused]:
        """What the model says: itself afterwards with an effect, a refusal or what is replayed."""
        model = self.model.fork()
        answer: Effect | Refused
        try:
            answer = decide(model, ask)
        except Malformed as refusal:
            return self.model, refusal
        except Refused as refusal:
            answer = refusal
        try:
            replayed = self.model.replayed(ask.terms)
        except Refused as refusal:
            return self.model, refusal
        if replayed is not None or isinstance(answer, Refused):
            return self.model, answer if replayed is None else replayed
        return model, answer

    def compare(
        self,
        outcome: Receipt | LedgerError,
        expected: tuple[TradingModel, Effect | str | Refused],
        ask: Ask,
    ) -> str | None:
        self.model, effect = expected
        if isinstance(effect, Refused):
            assert isinstance(outcome, LedgerError), f"accepted, not {effect.code}"
            assert outcome.code == effect.code, (outcome, effect.code)
            return None
        assert isinstance(outcome, Receipt), f"refused: {outcome!r}"
        if isinstance(effect, str):
            assert outcome.replayed, "made twice"
            assert outcome.transaction_id == effect, "another's answer"
            return None
        assert not outcome.replayed
        self.take_in(outcome.transaction_id, ask.terms, effect)
        trade = self.model.trades_of.get(outcome.transaction_id)
        assert outcome.trade == (None if trade is None else self.view(trade))
        return outcome.transaction_id

    def take_in(self, transaction: str, terms: Terms, effect: Effect) -> None:
        """The next transaction of the journal is this one, and tells what the model says."""
        position = len(self.model.effects) + 1
        self.model.commit(transaction, terms, effect)
        batch = self.run(self.manager.read_journal(position - 1, limit=1))
        assert batch is not None and batch.last == position
        updates = batch.updates()
        assert {update["transaction_id"] for update in updates} == {transaction}
        assert told(updates) == foretold(effect)
        trade = self.model.trades_of.get(transaction)
        users = {user for _, user in (move.place for move in effect.moves)}
        if trade is not None:
            users.add(self.model.trades[trade].user)
        if terms.request[0] == "control":
            users.add(terms.request[1][1])
        assert [update["user_id"] for update in updates] == sorted(users)
        for update in updates:
            assert update.get("trade") == (None if trade is None else self.view(trade))
            self.screens[update["user_id"]].follow(update, complete=True)

    def view(self, id_: str) -> dict[str, Any]:
        return self.model.trades[id_].view(id_)

    # What is done

    @rule(ask=asks)
    def one_change(self, ask: Ask) -> None:
        self.ask(ask)

    @rule(ask=openings)
    def option(self, ask: Ask) -> None:
        self.ask(ask)

    @rule(ask=spots)
    def order(self, ask: Ask) -> None:
        self.ask(ask)

    @rule(group=st.lists(asks, min_size=2, max_size=4), atomic=st.booleans())
    def batch(self, group: list[Ask], atomic: bool) -> None:
        """Those that cannot be prepared at all are left out: a batch is of prepared changes."""
        made: list[tuple[Ask, Change]] = []
        for ask in group:
            try:
                made.append((ask, self.run(self._prepared(ask))))
            except LedgerError as refusal:
                assert refusal.code in ("invalid_request", "demo_only")
        if atomic and made:
            self.atomic_batch(made)
            return
        outcomes = self.run(self.manager.post_many([change for _, change in made]))
        self.compare_each([ask for ask, _ in made], outcomes)

    def atomic_batch(self, made: Sequence[tuple[Ask, Change]]) -> None:
        before, first = self.model, None
        for number, (ask, _) in enumerate(made):
            model, effect = self.expected(ask)
            if isinstance(effect, Refused):
                first = Refused(effect.code, number)
                break
            if isinstance(effect, Effect):
                model.commit(f"item {number}", ask.terms, effect)
            self.model = model
        self.model = before
        work = self.manager.post_many([change for _, change in made], atomic=True)
        try:
            outcomes = self.run(work)
        except LedgerError as refusal:
            assert first is not None, f"refused: {refusal!r}"
            assert (refusal.code, refusal.extra["item"]) == (first.code, first.item)
            return
        assert first is None, f"accepted, not {first}"
        self.compare_each([ask for ask, _ in made], outcomes)

    def compare_each(self, asked: Sequence[Ask], outcomes: Sequence[Receipt | LedgerError]) -> None:
        """All were decided at one moment: that of the first that was accepted."""
        for ask, outcome in zip(asked, outcomes, strict=True):
            self.compare(outcome, self.expected(ask), ask)

    @rule(price=prices)
    def push(self, price: int) -> None:
        text = shown(price, PAIR.price_decimals)
        pushed = self.run(self.manager.prices.push(PAIR.name, text, actor="root"))
        wanted = self.model.push(price)
        assert (pushed.price, pushed.time) == (price, moment(wanted.stamped_at))

    @rule(seconds=st.sampled_from([1, 3, 5, 5, 10]))
    def time_passes(self, seconds: int) -> None:
        self.clock.move(seconds=seconds)
        self.model.seconds += seconds

    @rule(callers=st.integers(1, 3))
    def settle(self, callers: int) -> None:
        """All that is due ends, once, however many see to it at the same time."""
        due = set(self.model.due())

        async def work() -> list[int]:
            managers = [self.managers[number % 2] for number in range(callers)]
            return await asyncio.gather(*(each.trading.settle_due() for each in managers))

        assert sum(self.run(work())) == len(due)
        while due:
            batch = self.run(self.manager.read_journal(len(self.model.effects), limit=1))
            assert batch is not None, f"{due} are not settled"
            (update,) = batch.updates()
            id_ = update["trade"]["id"]
            due.remove(id_)
            effect = self.model.settle(id_)
            assert self.model.coming is not None
            status = self.model.coming[1].status
            assert update["change_type"] == f"option_{status}"
            self.take_in(update["transaction_id"], Terms(("settled", id_)), effect)

    @rule(ask=openings, price=prices, callers=st.integers(1, 3))
    def an_option_runs_out(self, ask: Ask, price: int, callers: int) -> None:
        """The last price before its expiry is 3 or 8 seconds old then."""
        self.push(price)
        self.ask(ask)
        self.time_passes(2)
        self.push(price)
        self.time_passes(9)
        self.settle(callers)

    @precondition(lambda self: self.model.options())
    @rule(at=st.integers(0, 2), outcome=outcomes, key=keys)
    def force(self, at: int, outcome: str, key: Any) -> None:
        ids = self.model.options()
        self.ask(Ask(("force", ids[-1 - at % len(ids)], outcome), key))

    @rule(
        place=places,
        settings=st.sampled_from(
            [
                (("status", "frozen"),),
                (("status", "active"),),
                (("status", "active"),),
                (("status", "closed"),),
                (("suspend_below", 900),),
                (("floor", -200),),
            ]
        ),
    )
    def set_account(self, place: Place, settings: Any) -> None:
        self.ask(Ask(("account", place, settings)))

    @rule(owner=owners, direction=directions)
    def all_is_staked(self, owner: tuple[str, str], direction: str) -> None:
        """An account with nothing left is not closed over its owner's open option."""
        place = (f"{owner[0]}/{PAIR.quote}", owner[1])
        rest = self.model.account(place).balance - 100
        if rest > 0:
            self.ask(Ask(("withdrawal", place, rest)))
        self.ask(Ask(("option", owner, direction, 100, 5, None)))
        self.ask(Ask(("account", place, (("status", "closed"),))))

    @rule(ask=asks)
    def pause(self, ask: Ask) -> None:
        """Nothing is opened until it is over; what is due is settled."""
        self.run(self.manager.administration.pause("root"))
        self.model.paused = True
        self.ask(ask)
        self.settle(1)
        self.run(self.manager.administration.resume("root"))
        self.model.paused = False

    # What holds after each step

    @invariant()
    def all_is_well(self) -> None:
        if self.managers and self.verified != len(self.model.effects):
            self.verified = len(self.model.effects)
            self.the_ledger_is_as_the_model()
            self.the_other_side_is_where_it_should_be()
            self.the_caches_say_what_is_open()
            assert self.run(self.manager.verify()).details == []

    def the_ledger_is_as_the_model(self) -> None:
        snapshot = self.run(self.manager.reader.snapshot(USERS))
        assert snapshot.position == len(self.model.effects)
        for user in USERS:
            stored = {
                view["account"]: view for view in map(msgspec.json.decode, snapshot.balances[user])
            }
            shown_now = self.screens[user].shown
            assert {name: balance_of(view) for name, view in stored.items()} == shown_now
            for (place, owner), account in self.model.accounts.items():
                if owner == user:
                    book, asset = place.split("/")
                    view = stored[account_name(book, user, asset)]
                    assert view["balance"] == shown(account.balance, SCALES[asset])
                    assert (view["status"], view["seq"]) == (account.status, account.seq)

    def the_other_side_is_where_it_should_be(self) -> None:
        """Stakes lie in escrow, and nothing else does."""
        balance = self.run(self.manager.reader.trial_balance())
        stored = {
            (f"{row['book']}/{row['asset']}", row["owner_kind"]): row["balance"]
            for row in balance["rows"]
            if row["owner_kind"] != "user" and float(row["balance"])
        }
        assert stored == {
            (place, owner): shown(n, SCALES[place.split("/")[1]])
            for (place, owner), n in self.model.system.items()
            if n
        }
        for book in BOOKS:
            staked = sum(o.stake for _, o in self.model.open_options() if o.book == book)
            assert self.model.system[f"{book}/{PAIR.quote}", "@escrow"] == staked

    def the_caches_say_what_is_open(self) -> None:
        stored = self.run(rows(self.url, "SELECT id, status, forced, told FROM trades"))
        assert {row["id"]: msgspec.json.decode(row["told"]) for row in stored} == {
            id_: self.view(id_) for id_ in self.model.trades
        }
        assert all(self.model.trades[row["id"]].status == row["status"] for row in stored)
        exposures = self.run(rows(self.url, "SELECT * FROM exposures"))
        assert {row["book"]: row["amount"] for row in exposures if row["amount"]} == {
            book: exposure for book in BOOKS if (exposure := self.model.exposure(book))
        }
        kept = self.run(rows(self.url, "SELECT * FROM trading_controls"))
        assert {
            (row["book"], row["user_id"]): row["mode"] for row in kept if row["mode"] != "normal"
        } == {owner: mode for owner, mode in self.model.controls.items() if mode != "normal"}


def decide(model: TradingModel, ask: Ask) -> Effect:
    match ask.request:
        case ("spot", owner, side, by, amount, limit, order):
            return model.spot(owner, side, {by: amount}, limit, order, ask.terms)
        case ("option", owner, direction, stake, duration_s, order):
            return model.open_option(owner, direction, stake, duration_s, order, ask.terms)
        case ("force", id_, outcome):
            return model.force(id_, outcome, ask.terms)
        case ("control", (book, user), mode):
            return model.control(book, user, mode, ask.terms)
        case ("account", place, settings):
            return model.change_account(place, dict(settings), ask.terms)
    kind, place, amount = ask.request
    return model.move(kind, place, amount, ask.terms)


def told(updates: Sequence[dict[str, Any]]) -> list[tuple[Place, str]]:
    return sorted(
        ((f"{change['book']}/{change['asset']}", update["user_id"]), change["amount"])
        for update in updates
        for change in update["changes"]
    )


def foretold(effect: Effect) -> list[tuple[Place, str]]:
    return sorted(
        (move.place, shown(move.amount, SCALES[move.place[0].split("/")[1]]))
        for move in effect.moves
    )
