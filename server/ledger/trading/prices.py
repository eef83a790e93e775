"""
Prices: how they are written, what they make of amounts, and the order of the times they bear.
Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from ..clock import parse_rfc3339, rfc3339
from ..money import format_amount, parse_positive

PriceSource = Literal["simulated", "pushed"]

_TICK = timedelta(microseconds=1)


class Price(Struct, frozen=True):
    """
    What one unit of a pair's base is worth in its quote.

    number: which price of its pair it is, 1, 2, 3, …; price: positive, in units of
    10^-price_decimals of the pair; time: when it was stamped, RFC 3339.
    """

    pair: str
    number: int
    price: int
    source: PriceSource
    time: str


class Ticker(Struct, frozen=True):
    """
    Where a pair's market stands. price: the newest, None before the first; read_at: the latest
    moment that was traded or settled by, RFC 3339.
    """

    price: Price | None = None
    read_at: str | None = None

    def reading_time(self, now: datetime) -> str:
        """
        The moment to trade or settle by, RFC 3339: `now` (aware), but never before the newest
        price or an earlier reading, though the clock were set back meanwhile.
        """
        return max(rfc3339(now), self._newest_stamp(), self.read_at or "")

    def next_stamp(self, now: datetime) -> str:
        """
        The time of the next price, RFC 3339: `now` (aware), but after the newest price and after
        every reading, so that no price appears at or before a moment that was traded by.
        """
        latest = max(self._newest_stamp(), self.read_at or "")
        if not latest:
            return rfc3339(now)
        return max(rfc3339(now), rfc3339(parse_rfc3339(latest) + _TICK))

    def _newest_stamp(self) -> str:
        return "" if self.price is None else self.price.time


def parse_price(value: object, price_decimals: int) -> int:
    """
    The decimal string `value` in units of 10^-price_decimals. Raises InvalidAmount on what is not
    positive, or has more decimals than the pair's prices.
    """
    return parse_positive(value, price_decimals, pointer="/price")


def format_price(price: int, price_decimals: int) -> str:
    """The decimal string of `price`, with exactly `price_decimals` decimals."""
    return format_amount(price, price_decimals)


def quote_per_base(price: int, price_decimals: int, base_scale: int, quote_scale: int) -> Fraction:
    """
    How many minor units of quote one minor unit of base is worth, exactly: whoever multiplies
    amounts by it says which way it rounds (`math.floor`, `math.ceil`).

    price: in units of 10^-price_decimals; base_scale, quote_scale: the assets' decimals.
    """
    return Fraction(price * 10**quote_scale, 10 ** (price_decimals + base_scale))
