"""
The market a second time: what is open, and by which price anything was and should be traded.

Follows the prices commit by commit, as `oracle` does the journal, and remembers every state.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..ledger.model import Model, Move, Refused
from ..ledger.trading.model import (
    USER,
    Legs,
    Option,
    Pair,
    Spot,
    Trade,
    ending_legs,
    fill,
    opening_legs,
    payout,
)
from ..ledger.trading.model import Refused as RefusedByRule
from .asked import Item
from .clocks import Readings
from .database import SimulatedPostgres
from .trace import Violation
from .trading import DEMO, PAIRS

Place = tuple[str, str]


@dataclass(frozen=True)
class Stamped:
    """A price that was committed at `seen`, in the loop's time."""

    price: int
    at: datetime
    seen: float


@dataclass(frozen=True)
class Quote:
    """The newest price, None before the first; the time; and whether the price is stale then."""

    newest: int | None
    now: datetime
    stale: bool = False

    @property
    def price(self) -> int | None:
        """What may be traded by."""
        return None if self.stale else self.newest


@dataclass(frozen=True)
class State:
    """What was traded, and how options end that are opened next, by user."""

    trades: Mapping[str, Trade] = field(default_factory=dict)
    orders: frozenset[tuple[str, str]] = frozenset()
    controls: Mapping[str, str] = field(default_factory=dict)

    def exposure(self, book: str, pair: Pair) -> int:
        """What open options may pay out."""
        return sum(
            trade.payout
            for trade in self.trades.values()
            if isinstance(trade, Option)
            and (trade.status, trade.book, trade.pair) == ("open", book, pair)
        )

    def has_open_option(self, book: str, user: str, asset: str) -> bool:
        """Whether something is staked of that account."""
        return any(
            isinstance(trade, Option)
            and (trade.status, trade.book, trade.user, trade.pair.quote)
            == ("open", book, user, asset)
            for trade in self.trades.values()
        )

    def after(self, id_: str, trade: Trade) -> State:
        """The state after a transaction of `trade`."""
        used = set() if trade.order is None else {(trade.user, trade.order)}
        return replace(self, trades={**self.trades, id_: trade}, orders=self.orders | used)


class Market:
    """Every price that is committed, and the state after every position."""

    def __init__(self, database: SimulatedPostgres) -> None:
        self._database = database
        self._prices: dict[str, list[Stamped]] = {pair: [] for pair in PAIRS}
        self._read_at: dict[str, datetime] = {}
        self._states: list[tuple[int, State]] = [(0, State())]
        # The options that nobody ended before they expired.
        self._expired: list[str] = []

    @property
    def state(self) -> State:
        """As it is now."""
        return self._states[-1][1]

    def at(self, position: int) -> State:
        """As it was at `position`."""
        index = bisect_right(self._states, position, key=lambda state: state[0])
        return self._states[index - 1][1]

    def learn(self, position: int, state: State) -> None:
        """The transaction at `position` left `state`."""
        self._states.append((position, state))

    # Prices

    def learn_prices(self) -> None:
        """Take in what is committed; raises Violation where a price is of the past."""
        known = sum(map(len, self._prices.values()))
        for row in self._database.rows(
            "SELECT * FROM prices WHERE rowid > ? ORDER BY rowid", known
        ):
            at, pair = datetime.fromisoformat(row["stamped_at"]), row["pair"]
            before = [price.at for price in self._prices[pair][-1:]]
            if any(at <= moment for moment in (*before, *self._read(pair))):
                raise Violation(f"a price of {pair} appears at {at}, after {before} was traded by")
            seen = asyncio.get_running_loop().time()
            self._prices[pair].append(Stamped(row["price"], at, seen))

    def _read(self, pair: str) -> list[datetime]:
        return [self._read_at[pair]] if pair in self._read_at else []

    def traded(
        self, where: str, pair: str, now: datetime, clock: Readings, *, fresh: bool
    ) -> Quote:
        """By what a transaction was decided that was traded at `now`; raises Violation."""
        every = [price.at for prices in self._prices.values() for price in prices[-1:]]
        latest = max([clock.latest, *every, *self._read_at.values()])
        newest = self._prices[pair][-1] if self._prices[pair] else None
        earliest = max([clock.earliest, *self._read(pair), *([newest.at] if newest else [])])
        if not earliest <= now <= latest:
            raise Violation(f"{where} was traded at {now}, not between {earliest} and {latest}")
        self._read_at[pair] = now
        if newest is None:
            raise Violation(f"{where} was traded at {now} without any price")
        stale = now - newest.at > _seconds(PAIRS[pair].stale_after_s)
        if stale and fresh:
            raise Violation(f"{where} was traded at {now} by the stale price {newest}")
        return Quote(newest.price, now, stale)

    def price_of_expiry(self, option: Option) -> int | None:
        """The last that was stamped at or before, where it is not too old."""
        prices = self._prices[option.pair.name]
        before = [price for price in prices if price.at <= option.expires_at]
        oldest = option.expires_at - _seconds(option.pair.settlement_age_s)
        return before[-1].price if before and before[-1].at >= oldest else None

    def quotes(self, pair: str, since: float, clock: Readings) -> Iterator[Quote]:
        """By what something may have been decided since that time of the loop."""
        prices, stale_after = self._prices[pair], _seconds(PAIRS[pair].stale_after_s)
        before = [price for price in prices if price.seen <= since][-1:]
        every = [price.at for prices in self._prices.values() for price in prices[-1:]]
        latest = max([clock.latest, *every, *self._read_at.values()])
        if not before:
            yield Quote(None, clock.earliest)
        for price in (*before, *(price for price in prices if price.seen > since)):
            earliest = max(clock.earliest, price.at)
            if earliest - price.at <= stale_after:
                yield Quote(price.price, earliest)
            if latest - price.at > stale_after:
                yield Quote(price.price, latest, stale=True)

    # Decisions

    def decide(
        self, models: Mapping[Place, Model], state: State, item: Item, id_: str, quote: Quote
    ) -> tuple[State, Legs]:
        """Do `item` as the transaction `id_`; raises Refused."""
        order, user, book = item.order, item.user, item.book
        assert order is not None
        if item.kind == "trading_control":
            if book != DEMO:
                raise Refused("demo_only")
            return replace(state, controls={**state.controls, user: order.side}), {}
        if item.kind == "force":
            return self._force(models, state, item, quote)
        if order.client_order_id is not None and (user, order.client_order_id) in state.orders:
            raise Refused("conflict")
        pair = order.terms
        if item.kind == "option_opened":
            return self._open(models, state, item, id_, quote)
        refusal, filled, sign = None, None, 1 if order.side == "buy" else -1
        legs: Legs = {(pair.base, USER): sign, (pair.quote, USER): -sign}
        try:
            if quote.price is None:
                raise Refused("stale_price")
            amount = {order.by: item.amount}
            filled = fill(pair, order.side, quote.price, limit=order.limit, **amount)
            legs = filled.legs
        except (Refused, RefusedByRule) as refused:
            refusal = str(refused)
        _post(models, item, legs, refusal)
        assert filled is not None and quote.price is not None
        moved = (filled.base, filled.quote, filled.fee, quote.now, order.client_order_id)
        return state.after(id_, Spot(user, book, pair, order.side, quote.price, *moved)), legs

    def _open(
        self, models: Mapping[Place, Model], state: State, item: Item, id_: str, quote: Quote
    ) -> tuple[State, Legs]:
        order = item.order
        assert order is not None
        pair, refusal = order.terms, None
        if quote.price is None:
            refusal = "stale_price"
        elif item.amount > pair.maximum_stake:
            refusal = "invalid_amount"
        else:
            more = payout(item.amount, pair.rates[order.duration_s])
            if state.exposure(item.book, pair) + more > pair.exposure_limit:
                refusal = "exposure_limit"
        legs = opening_legs(pair.quote, item.amount)
        _post(models, item, legs, refusal)
        assert quote.price is not None
        mode = state.controls.get(item.user, "normal") if item.book == DEMO else "normal"
        option = Option(
            item.user,
            item.book,
            pair,
            order.side,
            item.amount,
            order.duration_s,
            quote.now,
            quote.price,
            order.client_order_id,
            control=None if mode == "normal" else mode,
            forced=mode != "normal",
        )
        return state.after(id_, option), legs

    def _force(
        self, models: Mapping[Place, Model], state: State, item: Item, quote: Quote
    ) -> tuple[State, Legs]:
        if item.book != DEMO:
            raise Refused("demo_only")
        option = state.trades.get(item.of)
        if not isinstance(option, Option):
            raise Refused("not_found")
        if option.status != "open":
            raise Refused("conflict")
        if quote.newest is None:
            raise Refused("stale_price")
        assert item.order is not None
        ended = option.ended(quote.newest, quote.now, item.order.side)
        return self._end(models, state, item, ended)

    def settle(
        self, models: Mapping[Place, Model], state: State, item: Item, now: datetime
    ) -> tuple[State, Legs]:
        """The end of an option that has expired, by the price of then; raises Violation."""
        option = state.trades[item.of]
        assert isinstance(option, Option)
        if option.status != "open" or now <= option.expires_at:
            raise Violation(f"{item.of} is settled at {now}, though it is {option}")
        self._expired.append(item.of)
        return self._end(models, state, item, option.ended(self.price_of_expiry(option), now))

    def _end(
        self, models: Mapping[Place, Model], state: State, item: Item, option: Option
    ) -> tuple[State, Legs]:
        legs = ending_legs(option.pair.quote, option.stake, option.rate, option.outcome)
        _post(models, item, legs, None, settles=True)
        return state.after(item.of, option), legs

    # The end

    def check(self) -> None:
        """What is stored agrees, nothing is open, and every end is by the price of its expiry."""
        state = self.state
        rows = self._database.rows("SELECT * FROM trades")
        if {row["id"] for row in rows} != set(state.trades):
            raise Violation(f"trades: {rows}, not {state.trades}")
        for row in rows:
            trade = state.trades[row["id"]]
            if (row["status"], row["book"]) != (trade.status, trade.book):
                raise Violation(f"{row}, not {trade}")
            if trade.status == "open":
                raise Violation(f"{row['id']} is open for ever: {trade}")
            if isinstance(trade, Option) and trade.forced and trade.book != DEMO:
                raise Violation(f"{row['id']} was decided in {trade.book}: {trade}")
        for id_ in self._expired:
            option = state.trades[id_]
            assert isinstance(option, Option)
            if option.settle_price != (price := self.price_of_expiry(option)):
                raise Violation(f"{id_} is settled by another price than {price}: {option}")
        open_sums = self._database.rows("SELECT * FROM exposures WHERE amount <> 0")
        escrow = self._database.rows(
            "SELECT * FROM accounts WHERE owner = '@escrow' AND balance <> 0"
        )
        if open_sums or escrow:
            raise Violation(f"nothing is open, yet {open_sums}, {escrow}")
        if self._database.rows("SELECT 1 FROM trading_controls WHERE book <> 'demo'"):
            raise Violation("a control outside of demo")


def _post(
    models: Mapping[Place, Model],
    item: Item,
    legs: Legs,
    refusal: str | None,
    *,
    settles: bool = False,
) -> None:
    """All of the user's legs, or Refused: closed, frozen, suspended, amount, funds."""
    parts = [
        (models[item.book, asset], Move(item.user, amount))
        for (asset, owner), amount in legs.items()
        if owner == USER
    ]
    statuses = [(model.purse(move.user).status, move) for model, move in parts]
    for status in ("closed",) if settles else ("closed", "frozen"):
        if any(status == each for each, _ in statuses):
            raise Refused(f"account_{status}")
    if not settles and any(s == "suspended" and move.amount < 0 for s, move in statuses):
        raise Refused("account_suspended")
    if refusal is not None:
        raise Refused(refusal)
    for model, move in parts:
        model.post([move], settles=settles)


def _seconds(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


def moment_of(view: Mapping[str, Any]) -> datetime:
    """When the transaction was traded that tells the TRADE `view`."""
    told = view.get("filled_at") or view.get("settled_at") or view["opens_at"]
    return datetime.fromisoformat(told)
