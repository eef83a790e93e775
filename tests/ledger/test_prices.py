"""Prices: how they are written, what they make of amounts, and in which order they are stamped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallywire.ledger.errors import InvalidAmount
from tallywire.ledger.trading.prices import (
    Price,
    Ticker,
    format_price,
    parse_price,
    quote_per_base,
)

DECIMALS = st.integers(0, 12)
PRICES = st.integers(1, 2**63 - 1)


@given(PRICES, DECIMALS)
def test_a_price_is_written_as_it_is_read(price: int, decimals: int) -> None:
    assert parse_price(format_price(price, decimals), decimals) == price


@pytest.mark.parametrize("text", ["0", "-1", "1.001", "1e5", "", "NaN", 64000, None, "9" * 20])
def test_what_is_no_price(text: object) -> None:
    with pytest.raises(InvalidAmount) as refused:
        parse_price(text, 2)
    assert refused.value.pointer == "/price"


@given(st.integers(1, 10**12), PRICES, DECIMALS, DECIMALS, DECIMALS)
def test_an_amount_is_worth_what_its_decimals_say(
    base: int, price: int, price_decimals: int, base_scale: int, quote_scale: int
) -> None:
    worth = base * quote_per_base(price, price_decimals, base_scale, quote_scale)
    one, at = (
        Fraction(Decimal(base).scaleb(-base_scale)),
        Fraction(format_price(price, price_decimals)),
    )
    assert worth == one * at * 10**quote_scale


@given(st.lists(st.tuples(st.booleans(), st.integers(-(10**9), 10**9))))
def test_the_price_of_a_moment_stays_that_whatever_the_clock_does(
    events: list[tuple[bool, int]],
) -> None:
    """Stamps rise and come after every reading before them; a reading is not before the price."""
    ticker, stamps = Ticker(), [""]
    for is_price, microseconds in events:
        now = datetime(2026, 11, 21, tzinfo=UTC) + timedelta(microseconds=microseconds)
        if is_price:
            stamp = ticker.next_stamp(now)
            assert stamp > (ticker.read_at or "")
            stamps.append(stamp)
            ticker = Ticker(Price("A-B", len(stamps), 1, "pushed", stamp), ticker.read_at)
        else:
            moment = ticker.reading_time(now)
            assert moment >= max(stamps[-1], ticker.read_at or "")
            ticker = Ticker(ticker.price, moment)
    assert all(before < after for before, after in pairwise(stamps))
