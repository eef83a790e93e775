"""Spot orders of any scales, prices and fees, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tallywire.ledger.errors import InvalidAmount, LimitNotMet
from tallywire.ledger.trading.trades import SpotTrade

from .desk import Desk, legs_of
from .model import LARGEST, USER, WHOLE, Pair, Refused, fill

scales = st.integers(0, 12)
market = st.builds(
    Pair,
    base_scale=scales,
    quote_scale=scales,
    price_decimals=scales,
    minimum=st.just(1),
    fee_bps=st.one_of(st.sampled_from([0, 1, 10, WHOLE]), st.integers(0, WHOLE)),
)
# As the largest are seldom met by chance, each size is as likely as another.
sizes = st.integers(0, 63).flatmap(lambda bits: st.integers(1, max(1, 2**bits - 1)))
sides = st.sampled_from(["buy", "sell"])
amounts = st.sampled_from(["base", "quote"])

few = settings(max_examples=150, deadline=None, derandomize=True)


@few
@given(pair=market, side=sides, price=sizes, by=amounts, amount=sizes)
def test_a_fill_is_what_fractions_say(
    pair: Pair, side: str, price: int, by: str, amount: int
) -> None:
    """CONSERVATION; and @rounding has what rounding took, 0 or 1 each time."""
    desk = Desk(pair, price)
    try:
        wanted = fill(pair, side, price, **{by: amount})
    except Refused:
        with pytest.raises(InvalidAmount):
            desk.spot(side, **{by: amount})
        return
    decision = desk.spot(side, **{by: amount})
    trade = decision.trade
    assert isinstance(trade, SpotTrade)
    assert (trade.base_amount, trade.quote_amount, trade.fee) == (
        wanted.base,
        wanted.quote,
        wanted.fee,
    )
    legs = legs_of(decision)
    assert {at: n for at, n in legs.items() if n} == {at: n for at, n in wanted.legs.items() if n}
    assert 0 <= legs.get((pair.quote, "@rounding"), 0) <= 2
    assert not any(owner == "@rounding" for asset, owner in legs if asset == pair.base)
    assert all(abs(amount) <= LARGEST for amount in legs.values())


@few
@given(pair=market, side=sides, price=sizes, most=sizes)
def test_no_more_than_quote_amount_and_not_less_than_it_buys(
    pair: Pair, side: str, price: int, most: int
) -> None:
    desk = Desk(pair, price)
    try:
        legs = legs_of(desk.spot(side, quote=most))
    except InvalidAmount:
        assume(False)
    fee = abs(legs[pair.quote, USER]) - most
    moved = abs(legs[pair.base, USER])
    worth = Fraction(
        price * moved * 10**pair.quote_scale, 10 ** (pair.price_decimals + pair.base_scale)
    )
    assert worth <= most
    assert most < worth / moved * (moved + 1)
    assert fee <= Fraction(most * pair.fee_bps, WHOLE) + 1


@few
@given(pair=market, price=sizes, by=amounts, amount=sizes)
def test_to_buy_and_sell_at_one_price_gains_nothing(
    pair: Pair, price: int, by: str, amount: int
) -> None:
    desk = Desk(pair, price)
    try:
        bought = legs_of(desk.spot("buy", **{by: amount}))[pair.base, USER]
        desk.spot("sell", base=bought)
    except InvalidAmount:
        assume(False)
    assert desk.balances[pair.base, USER] == 0
    assert desk.balances[pair.quote, USER] <= 0
    # The house gives to @rounding no more than what rounding took of the two.
    others = desk.balances[pair.quote, "@house"], desk.balances[pair.quote, "@rounding"]
    assert others[0] >= -1 and sum(others) >= 0


@few
@given(pair=market, price=sizes, by=amounts, amount=sizes)
def test_to_sell_and_buy_back_gains_nothing(pair: Pair, price: int, by: str, amount: int) -> None:
    desk = Desk(pair, price)
    try:
        got = legs_of(desk.spot("sell", **{by: amount}))[pair.quote, USER]
        assume(got > 0)
        desk.spot("buy", quote=got)
    except InvalidAmount:
        assume(False)
    assert desk.balances[pair.base, USER] <= 0
    assert desk.balances[pair.quote, USER] <= 0 or desk.balances[pair.base, USER] < 0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    pair=market,
    side=sides,
    price=st.integers(2**62, LARGEST),
    by=amounts,
    amount=st.integers(2**60, LARGEST),
)
@example(Pair(fee_bps=WHOLE), "buy", 1, "quote", LARGEST)
@example(Pair(fee_bps=0), "sell", 1, "base", LARGEST)
def test_near_the_largest_it_is_refused_and_not_wrapped(
    pair: Pair, side: str, price: int, by: str, amount: int
) -> None:
    desk = Desk(pair, price)
    try:
        legs = legs_of(desk.spot(side, **{by: amount}))
    except InvalidAmount:
        assert not desk.balances
        return
    assert all(abs(amount) <= LARGEST for amount in legs.values())
    assert all(abs(account.balance) <= LARGEST for account in desk.accounts.values())


@few
@given(side=sides, price=sizes, limit=sizes)
def test_a_limit_is_met_or_nothing_happens(side: str, price: int, limit: int) -> None:
    desk = Desk(Pair(base_scale=0, price_decimals=0, quote_scale=0), price)
    worse = price > limit if side == "buy" else price < limit
    try:
        desk.spot(side, limit, base=1)
    except LimitNotMet:
        assert worse
    except InvalidAmount:
        assert not worse and 2 * price > LARGEST
    else:
        assert not worse
