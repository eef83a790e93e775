"""The simulated market's walk: the same again for the same seed, positive, and a fair one."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist, fmean, pstdev

from hypothesis import given
from hypothesis import strategies as st
from tallywire.prices.walk import next_price

STEPS = 4_000
# A yearly volatility of 0.8 in one second.
DEVIATION = 0.8 / math.sqrt(365.25 * 86_400)


def course(seed: str, first: int, steps: int = STEPS, pair: str = "BTC-USDT") -> list[int]:
    """The first price and those that come after it."""
    prices = [first]
    for number in range(2, steps + 2):
        prices.append(next_price(seed, pair, number, prices[-1]))
    return prices


@given(st.text(), st.sampled_from(["BTC-USDT", "A-B"]), st.integers(1, 2**62), st.integers(1))
def test_a_price_is_positive_and_depends_on_nothing_else(
    seed: str, pair: str, number: int, price: int
) -> None:
    price = price % (2**63 - 1) + 1
    new = next_price(seed, pair, number, price)
    assert 1 <= new <= 2**63 - 1
    assert new == next_price(seed, pair, number, price)
    # Nine deviations: never in the life of a market.
    assert abs(new - price) <= price * 9 * DEVIATION + 1


def test_seeds_pairs_and_numbers_have_courses_of_their_own() -> None:
    whole = course("seed", 6_400_000, 100)
    assert whole == course("seed", 6_400_000, 100)
    others = [
        course("other", 6_400_000, 100),
        course("seed", 6_400_000, 100, "ETH-USDT"),
        [6_400_000, *(next_price("seed", "BTC-USDT", n + 1, whole[n - 2]) for n in range(2, 102))],
    ]
    for other in others:
        assert not {*whole[1:]} & {*other[1:]}, "the same price again"


def test_its_returns_are_normal_and_independent() -> None:
    """Of a seeded course: mean, deviation, quantiles and the correlation of neighbours."""
    prices = course("a seed of the tests", 6_400_000_000)
    returns = [math.log(after / before) / DEVIATION for before, after in pairwise(prices)]
    error = 1 / math.sqrt(STEPS)
    assert abs(fmean(returns)) < 4 * error
    assert abs(pstdev(returns) - 1) < 4 * error
    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        below = sum(each < NormalDist().inv_cdf(share) for each in returns) / STEPS
        assert abs(below - share) < 4 * math.sqrt(share * (1 - share)) * error
    assert abs(fmean(a * b for a, b in pairwise(returns))) < 4 * error


def test_a_price_of_few_units_moves_and_has_its_mean() -> None:
    """Rounding to the nearest would leave it where it is for good."""
    new = [next_price("a seed of the tests", "A-B", number, 1_000) for number in range(40_000)]
    assert set(new) == {999, 1_000, 1_001}
    assert abs(fmean(new) - 1_000) < 4 * pstdev(new) / math.sqrt(len(new))


def test_a_price_stays_within_what_a_price_can_be() -> None:
    # The first number at which this seed would round the least price down to nothing.
    assert next_price("a seed of the tests", "A-B", 19_668, 1) == 1
    largest = 2**63 - 1
    assert largest in {next_price("a seed of the tests", "A-B", n, largest) for n in range(10)}
