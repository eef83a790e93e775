"""
Trading a second time, on the ledger's model: every price, trade and control, in dictionaries.

A place is a book with an asset, and a user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ..ledger.trading.model import (
    USER,
    Legs,
    Option,
    Pair,
    Spot,
    ending_legs,
    fill,
    opening_legs,
    payout,
)
from ..ledger.trading.model import Refused as RefusedByRule
from .model import Effect, Malformed, Model, Move, Place, Refused, Terms

TICK = timedelta(microseconds=1)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


class DemoOnly(Malformed):
    """It cannot be asked of another book, under whatever key."""

    def __init__(self) -> None:
        super().__init__()
        self.code = "demo_only"


@dataclass(frozen=True)
class Price:
    """A price and when it was stamped."""

    price: int
    stamped_at: datetime


@dataclass
class TradingModel(Model):
    """Everything that the ledger should know, of one pair."""

    pair: Pair = field(default_factory=Pair)
    start: datetime = LONG_AGO
    prices: tuple[Price, ...] = ()
    # The newest moment by which anything was traded.
    read_at: datetime = LONG_AGO
    trades: dict[str, Spot | Option] = field(default_factory=dict)
    controls: dict[tuple[str, str], str] = field(default_factory=dict)
    # What the transaction that comes next does to a trade, which it opens where the id is None.
    coming: tuple[str | None, Spot | Option] | None = None
    # By transaction, the id of the trade that it belongs to.
    trades_of: dict[str, str] = field(default_factory=dict)

    def commit(self, transaction: str, terms: Terms, effect: Effect) -> None:
        super().commit(transaction, terms, effect)
        if self.coming is not None:
            id_, trade = self.coming
            self.trades_of[transaction] = id_ or transaction
            self.trades[id_ or transaction] = trade
            self.coming = None

    # Prices

    def push(self, price: int) -> Price:
        """Each is stamped after the one before, and after what was traded by it."""
        pushed = Price(price, max(self._clock, self._latest + TICK))
        self.prices = (*self.prices, pushed)
        return pushed

    @property
    def _clock(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    @property
    def _latest(self) -> datetime:
        return max(self.prices[-1].stamped_at if self.prices else LONG_AGO, self.read_at)

    @property
    def now(self) -> datetime:
        """The market's time: not before anything that was traded or stamped."""
        return max(self._clock, self._latest)

    def _fresh(self) -> Price:
        if self.prices:
            newest = self.prices[-1]
            if self.now - newest.stamped_at <= timedelta(seconds=self.pair.stale_after_s):
                return newest
        raise Refused("stale_price")

    def price_of_expiry(self, moment: datetime) -> int | None:
        """The last that was stamped at or before, where it is not too old."""
        before = [price for price in self.prices if price.stamped_at <= moment]
        oldest = moment - timedelta(seconds=self.pair.settlement_age_s)
        return before[-1].price if before and before[-1].stamped_at >= oldest else None

    # Trades

    def spot(
        self,
        place: tuple[str, str],
        side: str,
        amounts: Mapping[str, int],
        limit: int | None,
        order: str | None,
        terms: Terms,
    ) -> Effect:
        """An order of so much `base` or `quote`."""
        book, user = place
        base, quote = self._of(book, user, self.pair.base), self._of(book, user, self.pair.quote)
        self._begin(terms, [base, quote], passes=False, money=True)
        self._refuse_repeated(user, order)
        refusal, filled = None, None
        sign = 1 if side == "buy" else -1
        moves = [Move(base, sign), Move(quote, -sign)]
        try:
            if min(*amounts.values(), 1 if limit is None else limit) <= 0:
                raise Refused("invalid_amount")
            price = self._fresh().price
            filled = fill(self.pair, side, price, limit=limit, **amounts)
        except (Refused, RefusedByRule) as refused:
            refusal = str(refused)
        else:
            legs = filled.legs
            moves = [
                Move(base, legs[self.pair.base, USER]),
                Move(quote, legs[self.pair.quote, USER]),
            ]
        effect = self._post(moves, Effect(()), refusal=refusal)
        assert filled is not None
        self._book_others(book, filled.legs)
        self.read_at = self.now
        moved = (filled.base, filled.quote, filled.fee)
        at, order_price = self.read_at, self.prices[-1].price
        self.coming = None, Spot(user, book, self.pair, side, order_price, *moved, at, order)
        return effect

    def open_option(
        self,
        place: tuple[str, str],
        direction: str,
        stake: int,
        duration_s: int,
        order: str | None,
        terms: Terms,
    ) -> Effect:
        """A stake on where the price goes."""
        book, user = place
        if duration_s not in self.pair.rates:
            raise Malformed
        account = self._of(book, user, self.pair.quote)
        self._begin(terms, [account], passes=False, money=True)
        self._refuse_repeated(user, order)
        refusal, option = None, None
        try:
            if stake <= 0:
                raise Refused("invalid_amount")
            price = self._fresh().price
            rate = self.pair.rates[duration_s]
            if stake > self.pair.maximum_stake:
                raise Refused("invalid_amount")
            if self.exposure(book) + payout(stake, rate) > self.pair.exposure_limit:
                raise Refused("exposure_limit")
            option = Option(
                user, book, self.pair, direction, stake, duration_s, self.now, price, order
            )
        except Refused as refused:
            refusal = str(refused)
        effect = self._post([Move(account, -max(stake, 1))], Effect(()), refusal=refusal)
        assert option is not None
        self._book_others(book, opening_legs(self.pair.quote, stake))
        self.read_at = self.now
        mode = self.controls.get((book, user), "normal")
        if mode != "normal":
            option = replace(option, control=mode, forced=True)
        self.coming = None, option
        return effect

    def force(self, id_: str, outcome: str, terms: Terms) -> Effect:
        """An open option of the demo book ends now."""
        option = self.option(id_)
        if option.book != "demo":
            raise DemoOnly
        self._begin(terms, [], passes=True, money=True)
        if option.status != "open":
            raise Refused("conflict")
        return self._end(option, id_, self.prices[-1].price, outcome)

    def settle(self, id_: str) -> Effect:
        """An option that has expired ends, by the price of then."""
        option = self.option(id_)
        assert option.status == "open", f"{id_} is settled twice"
        assert self.now > option.expires_at, f"{id_} is settled before it expired"
        return self._end(option, id_, self.price_of_expiry(option.expires_at))

    def due(self) -> list[str]:
        """The open options whose time is over."""
        return [id_ for id_, option in self.open_options() if option.expires_at < self._clock]

    def options(self) -> list[str]:
        """The ids of all options, the oldest first."""
        return [id_ for id_, trade in self.trades.items() if isinstance(trade, Option)]

    def open_options(self) -> list[tuple[str, Option]]:
        return [
            (id_, trade)
            for id_, trade in self.trades.items()
            if isinstance(trade, Option) and trade.status == "open"
        ]

    def exposure(self, book: str) -> int:
        """What the open options of a book may pay out."""
        return sum(option.payout for _, option in self.open_options() if option.book == book)

    def control(self, book: str, user: str, mode: str, terms: Terms) -> Effect:
        """How the options that a user opens from now on end."""
        if book != "demo":
            raise DemoOnly
        self._begin(terms, [], passes=False, money=False)
        self.controls[book, user] = mode
        return Effect(())

    def change_account(self, place: Place, settings: dict[str, Any], terms: Terms) -> Effect:
        effect = super().change_account(place, settings, terms)
        book, user = place
        staked = any(
            self._of(option.book, option.user, self.pair.quote) == (book, user)
            for _, option in self.open_options()
        )
        if settings.get("status") == "closed" and staked:
            raise Refused("conflict")
        return effect

    # Inside

    def _of(self, book: str, user: str, asset: str) -> Place:
        return f"{book}/{asset}", user

    def option(self, id_: str) -> Option:
        """The option of that id."""
        option = self.trades[id_]
        assert isinstance(option, Option)
        return option

    def _refuse_repeated(self, user: str, order: str | None) -> None:
        known = [trade.order for trade in self.trades.values() if trade.user == user]
        if order is not None and order in known:
            raise Refused("conflict")

    def _end(
        self, option: Option, id_: str, price: int | None, decided: str | None = None
    ) -> Effect:
        ended = option.ended(price, self.now, decided)
        legs = ending_legs(self.pair.quote, option.stake, option.rate, ended.outcome)
        place = self._of(option.book, option.user, self.pair.quote)
        paid = legs.get((self.pair.quote, USER))
        moves = [] if paid is None else [Move(place, paid)]
        effect = self._post(moves, Effect(()), passes=True)
        self._book_others(option.book, legs)
        self.read_at = self.now
        self.coming = id_, ended
        return effect

    def _book_others(self, book: str, legs: Legs) -> None:
        for (asset, owner), amount in legs.items():
            if owner != USER:
                self.system[f"{book}/{asset}", owner] += amount
