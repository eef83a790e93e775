"""
Trading a second time, in exact fractions.

Written from the contract alone, and it imports nothing of the ledger. Amounts are minor units,
prices count units of the pair's last decimal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil, floor
from typing import Any

from ...journeys.client import shown

LARGEST = 2**63 - 1
WHOLE = 10_000
"""What fees and payout rates are parts of."""

USER = "user"
Legs = dict[tuple[str, str], int]
"""What each owner gets of each asset; the user's owner is USER."""


class Refused(Exception):
    """By the contract's code."""


@dataclass(frozen=True)
class Pair:
    """Two assets and the terms on which they are traded; `rates` by duration."""

    base: str = "BTC"
    quote: str = "USDT"
    base_scale: int = 8
    quote_scale: int = 6
    price_decimals: int = 2
    minimum: int = 1
    fee_bps: int = 10
    rates: Mapping[int, int] = field(default_factory=lambda: {30: 8000, 60: 8500})
    maximum_stake: int = LARGEST
    exposure_limit: int = LARGEST
    stale_after_s: int = 15
    settlement_age_s: int = 60

    @property
    def name(self) -> str:
        return f"{self.base}-{self.quote}"

    def settings(self) -> dict[str, Any]:
        """As a superadmin writes them."""
        return {
            "price_decimals": self.price_decimals,
            "minimum": shown(self.minimum, self.base_scale),
            "fee_bps": self.fee_bps,
            "durations": [
                {"duration_s": seconds, "payout_rate": shown(rate, 4)}
                for seconds, rate in self.rates.items()
            ],
            "maximum_stake": shown(self.maximum_stake, self.quote_scale),
            "exposure_limit": shown(self.exposure_limit, self.quote_scale),
            "stale_after_s": self.stale_after_s,
            "settlement_age_s": self.settlement_age_s,
        }

    def worth(self, base: int, price: int) -> Fraction:
        """What `base` is worth in quote."""
        whole = Fraction(base, 10**self.base_scale) * Fraction(price, 10**self.price_decimals)
        return whole * Fraction(10**self.quote_scale)

    def buys(self, quote: int, price: int) -> int:
        """The most base that `quote` is enough for."""
        return floor(quote / self.worth(1, price))


@dataclass(frozen=True)
class Fill:
    """A spot order that was filled."""

    base: int
    quote: int
    fee: int
    legs: Legs


def fill(
    pair: Pair,
    side: str,
    price: int,
    *,
    base: int | None = None,
    quote: int | None = None,
    limit: int | None = None,
) -> Fill:
    """Fill an order of so much base, or for at most so much quote; raises Refused."""
    if limit is not None and (price > limit if side == "buy" else price < limit):
        raise Refused("limit_not_met")
    if base is None:
        assert quote is not None
        base = pair.buys(quote, price)
    worth = pair.worth(base, price)
    paid = ceil(worth) if side == "buy" else floor(worth)
    share = Fraction(paid * pair.fee_bps, WHOLE)
    fee = ceil(share)
    if base < pair.minimum or not paid or max(base, 2 * paid) > LARGEST:
        raise Refused("invalid_amount")
    if side == "buy":
        legs = {
            (pair.base, USER): base,
            (pair.base, "@house"): -base,
            (pair.quote, USER): -paid - fee,
            (pair.quote, "@house"): floor(worth),
        }
    else:
        legs = {
            (pair.base, USER): -base,
            (pair.base, "@house"): base,
            (pair.quote, USER): paid - fee,
            (pair.quote, "@house"): -ceil(worth),
        }
    legs[pair.quote, "@fees"] = floor(share)
    legs[pair.quote, "@rounding"] = ceil(worth) - floor(worth) + fee - floor(share)
    return Fill(base, paid, fee, legs)


def payout(stake: int, rate: int) -> int:
    """What a win pays besides the stake."""
    return floor(Fraction(stake * rate, WHOLE))


def outcome_at(direction: str, open_price: int, settle_price: int) -> str:
    """What becomes of an option whose price of expiry is `settle_price`."""
    if settle_price == open_price:
        return "tie"
    return "win" if (settle_price > open_price) == (direction == "up") else "lose"


def opening_legs(asset: str, stake: int) -> Legs:
    """The stake waits in escrow."""
    return {(asset, USER): -stake, (asset, "@escrow"): stake}


def ending_legs(asset: str, stake: int, rate: int, outcome: str | None) -> Legs:
    """What the stake becomes; None for a refund without an outcome."""
    if outcome == "lose":
        return {(asset, "@escrow"): -stake, (asset, "@house"): stake}
    if outcome != "win":
        return {(asset, "@escrow"): -stake, (asset, USER): stake}
    won = Fraction(stake * rate, WHOLE)
    return {
        (asset, "@escrow"): -stake,
        (asset, USER): stake + floor(won),
        (asset, "@house"): -ceil(won),
        (asset, "@rounding"): ceil(won) - floor(won),
    }


# Trades


@dataclass(frozen=True)
class Spot:
    """A spot order that was filled; `quote` is without the fee, `order` its client_order_id."""

    user: str
    book: str
    pair: Pair
    side: str
    price: int
    base: int
    quote: int
    fee: int
    at: datetime
    order: str | None
    status: str = "filled"

    def view(self, id_: str) -> dict[str, Any]:
        """The TRADE object."""
        pair = self.pair
        return {
            **_view(id_, "spot", self),
            "side": self.side,
            "price": shown(self.price, pair.price_decimals),
            "base_amount": shown(self.base, pair.base_scale),
            "quote_amount": shown(self.quote, pair.quote_scale),
            "fee": shown(self.fee, pair.quote_scale),
            "filled_at": moment(self.at),
        }


@dataclass(frozen=True)
class Option:
    """An option as its newest transaction left it; control: what was decided as it opened."""

    user: str
    book: str
    pair: Pair
    direction: str
    stake: int
    duration_s: int
    opened_at: datetime
    open_price: int
    order: str | None
    control: str | None = None
    forced: bool = False
    status: str = "open"
    outcome: str | None = None
    settle_price: int | None = None
    settled_at: datetime | None = None

    @property
    def rate(self) -> int:
        return self.pair.rates[self.duration_s]

    @property
    def payout(self) -> int:
        return payout(self.stake, self.rate)

    @property
    def expires_at(self) -> datetime:
        return self.opened_at + timedelta(seconds=self.duration_s)

    def ended(self, price: int | None, at: datetime, decided: str | None = None) -> Option:
        """The option after its end, by the price of its expiry, or as somebody decided."""
        outcome = None
        if price is not None:
            outcome = decided or self.control or outcome_at(self.direction, self.open_price, price)
        return replace(
            self,
            status="refunded" if outcome is None else "settled",
            forced=self.forced or decided is not None,
            outcome=outcome,
            settle_price=price,
            settled_at=at,
        )

    def view(self, id_: str) -> dict[str, Any]:
        """The TRADE object."""
        pair, settled = self.pair, self.settle_price
        told = {
            **_view(id_, "option", self),
            "direction": self.direction,
            "stake": shown(self.stake, pair.quote_scale),
            "duration_s": self.duration_s,
            "payout_rate": shown(self.rate, 4),
            "payout": shown(self.payout, pair.quote_scale),
            "opens_at": moment(self.opened_at),
            "expires_at": moment(self.expires_at),
            "open_price": shown(self.open_price, pair.price_decimals),
            "settlement_age_s": pair.settlement_age_s,
            "settle_source": None if settled is None else "pushed",
            "settle_price": None if settled is None else shown(settled, pair.price_decimals),
            "outcome": self.outcome,
            "forced": self.forced,
            "settled_at": None if self.settled_at is None else moment(self.settled_at),
            "reason": None,
        }
        if self.control is not None:
            told["control"] = self.control
        if self.status == "refunded":
            told["reason"] = f"no price within {pair.settlement_age_s} s before its expiry"
        return told


Trade = Spot | Option


def moment(at: datetime) -> str:
    """RFC 3339 with microseconds."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"


def _view(id_: str, kind: str, trade: Trade) -> dict[str, Any]:
    return {
        "id": id_,
        "kind": kind,
        "user_id": trade.user,
        "book": trade.book,
        "pair": trade.pair.name,
        "status": trade.status,
        "price_source": "pushed",
        "client_order_id": trade.order,
    }
