"""Options of any stake and rate, against exact fractions; and what is open at any moment."""

from __future__ import annotations

from contextlib import nullcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tallywire.ledger.errors import (
    Conflict,
    DemoOnly,
    ExposureLimit,
    InvalidAmount,
    StalePrice,
)

from .desk import Desk, legs_of, option_of
from .model import LARGEST, USER, WHOLE, Pair, ending_legs, opening_legs, outcome_at, payout

directions = st.sampled_from(["up", "down"])
sizes = st.integers(0, 63).flatmap(lambda bits: st.integers(1, max(1, 2**bits - 1)))
rates = st.one_of(st.sampled_from([1, 3333, 8000, WHOLE]), st.integers(1, 100 * WHOLE))
moves = st.sampled_from([-1, 0, 0, 1, 5])

few = settings(max_examples=120, deadline=None, derandomize=True)


@few
@given(
    direction=directions,
    stake=sizes,
    rate=rates,
    price=st.integers(10, 10**9),
    moved=moves,
)
def test_an_option_ends_as_its_price_moved(
    direction: str, stake: int, rate: int, price: int, moved: int
) -> None:
    """CONSERVATION; and nothing is left in escrow, whatever becomes of it."""
    desk = Desk(Pair(rates={30: rate}), price)
    try:
        option = desk.open_option(direction, stake, 30)
    except (InvalidAmount, ExposureLimit):
        # What a win would give back cannot be more than an account may have.
        assert stake + payout(stake, rate) > LARGEST
        return
    asset = desk.pair.quote
    assert desk.balances == opening_legs(asset, stake)
    assert desk.exposure == option.payout == payout(stake, rate)
    outcome = outcome_at(direction, price, price + moved)
    desk.expires(option, price + moved)
    decision = desk.settle(option)
    ended = option_of(decision)
    assert (ended.status, ended.outcome, ended.settle_price) == ("settled", outcome, price + moved)
    wanted = ending_legs(asset, stake, rate, outcome)
    assert {at: n for at, n in legs_of(decision).items() if n} == {
        at: n for at, n in wanted.items() if n
    }
    assert desk.balances[asset, "@escrow"] == desk.exposure == 0
    assert desk.balances[asset, "@rounding"] in (0, 1)
    if outcome == "win":
        assert desk.balances[asset, USER] <= Fraction(stake * rate, WHOLE)


@few
@given(stake=sizes, age_s=st.integers(0, 61), price=st.one_of(st.none(), st.just(100)))
def test_an_expiry_without_a_price_returns_the_stake(
    stake: int, age_s: int, price: int | None
) -> None:
    desk = Desk(Pair(rates={30: 1}, settlement_age_s=30), 100)
    if stake + payout(stake, 1) > LARGEST:
        return
    option = desk.open_option("up", stake, 30)
    desk.expires(option, price, age_s=age_s)
    decision = desk.settle(option)
    ended = option_of(decision)
    known = price is not None and age_s <= 30
    assert decision.change.type.name == ("option_settled" if known else "option_refunded")
    assert (ended.status, ended.outcome) == (("settled", "tie") if known else ("refunded", None))
    assert bool(ended.reason) is not known
    assert not any(desk.balances.values())
    assert desk.exposure == 0


def test_it_ends_once_and_not_before_its_time() -> None:
    desk = Desk(Pair(), 100)
    option = desk.open_option("up", 1000, 30)
    with pytest.raises(Conflict):
        desk.settle(option)
    # At the very moment a price may still be stamped.
    desk.market = desk.market._replace(now=option.expires_at)
    with pytest.raises(Conflict):
        desk.settle(option)
    desk.expires(option, 101)
    desk.settle(option)
    with pytest.raises(Conflict):
        desk.settle(option)
    with pytest.raises(Conflict):
        desk.force(option, "win")
    assert desk.balances[desk.pair.quote, "@escrow"] == 0


@pytest.mark.parametrize("age_s", [15, 16])
def test_a_stale_price_is_not_traded_by(age_s: int) -> None:
    desk = Desk(Pair(stale_after_s=15), None)
    desk.quote(100_00, age_s=age_s)
    with nullcontext() if age_s == 15 else pytest.raises(StalePrice):
        desk.open_option("up", 1000, 30)
    with nullcontext() if age_s == 15 else pytest.raises(StalePrice):
        desk.spot("buy", base=100_000_000)


@pytest.mark.parametrize("book", ["main", "demo"])
def test_nobody_decides_outside_of_demo(book: str) -> None:
    """Neither what is asked for nor a control that stands in the market decides elsewhere."""
    desk = Desk(Pair(), 100, book=book)
    option = desk.open_option("up", 1000, 30)
    with nullcontext() if book == "demo" else pytest.raises(DemoOnly):
        desk.control("win")
    with nullcontext() if book == "demo" else pytest.raises(DemoOnly):
        desk.force(option, "win")
    if book == "main":
        desk.market = desk.market.with_control("main", "alice", "win")
        with pytest.raises(DemoOnly):
            desk.open_option("up", 1000, 30)


@given(
    direction=directions,
    mode=st.sampled_from(["win", "normal", "lose"]),
    later=st.sampled_from(["win", "normal", "lose"]),
    moved=moves,
)
@few
def test_a_control_is_copied_as_an_option_opens(
    direction: str, mode: str, later: str, moved: int
) -> None:
    desk = Desk(Pair(), 100)
    desk.control(mode)
    option = desk.open_option(direction, 1000, 30)
    assert (option.forced, option.control) == (mode != "normal", None if mode == "normal" else mode)
    desk.control(later)
    desk.expires(option, 100 + moved)
    ended = option_of(desk.settle(option))
    assert ended.outcome == (outcome_at(direction, 100, 100 + moved) if mode == "normal" else mode)
    assert ended.forced is option.forced
    assert ended.settle_price == 100 + moved


class Options(RuleBasedStateMachine):
    """EXPOSURE: the sum of what all open options may pay out, never above the limit."""

    LIMIT = 1000

    def __init__(self) -> None:
        super().__init__()
        pair = Pair(rates={30: 3333, 60: 20_000}, exposure_limit=self.LIMIT, maximum_stake=900)
        self.desk = Desk(pair, 100)
        self.open: list[object] = []

    @rule(stake=st.integers(1, 1000), duration_s=st.sampled_from([30, 60]))
    def opens(self, stake: int, duration_s: int) -> None:
        desk = self.desk
        might = desk.exposure + payout(stake, desk.pair.rates[duration_s])
        try:
            self.open.append(desk.open_option("up", stake, duration_s))
        except ExposureLimit:
            assert might > self.LIMIT and stake <= 900
        except InvalidAmount:
            assert stake > 900
        else:
            assert might <= self.LIMIT and stake <= 900

    @precondition(lambda self: self.open)
    @rule(at=st.integers(0, 9), outcome=st.sampled_from(["win", "lose", "tie"]))
    def ends(self, at: int, outcome: str) -> None:
        self.desk.force(self.open.pop(at % len(self.open)), outcome)  # type: ignore[arg-type]

    @invariant()
    def what_is_open_is_in_escrow(self) -> None:
        desk = self.desk
        still = [o for o in desk.market.options.values() if o.status == "open"]
        assert desk.balances[desk.pair.quote, "@escrow"] == sum(o.stake for o in still)
        assert desk.exposure == sum(payout(o.stake, o.payout_rate) for o in still) <= self.LIMIT


TestOptions = Options.TestCase
TestOptions.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, derandomize=True
)
