"""
A simulated market: geometric Brownian motion without drift, a step a second. Pure.

What comes next depends on seed, pair, and the newest price with its number alone, so any process
can go on where another stopped.
"""

from __future__ import annotations

import math
from fractions import Fraction
from hashlib import sha256
from statistics import NormalDist

from ..ledger.money import LARGEST

STEP_SECONDS = 1.0

# Where the pairs of the first start begin; others are simulated once a price of them was pushed.
FIRST_PRICES = {"BTC-USDT": "64000", "ETH-USDT": "3200"}

_YEAR_SECONDS = 365.25 * 86_400
_YEARLY_VOLATILITY = 0.8
_DEVIATION = _YEARLY_VOLATILITY * math.sqrt(STEP_SECONDS / _YEAR_SECONDS)
_NORMAL = NormalDist()


def next_price(seed: str, pair: str, number: int, price: int) -> int:
    """
    The price of that `number` after `price`, in the same units; positive.

    Its logarithm moves by a normal draw, so that its mean is `price`. It is rounded at random, up
    as often as its fraction says, which keeps that mean, and lets small prices move at all.
    """
    draws = sha256(f"{seed}/{pair}/{number}".encode()).digest()
    # Floats make the draw alone: nobody books it, and the price that comes of it is whole.
    uniform = ((int.from_bytes(draws[:8]) >> 12) + 0.5) / 2**52
    step = _DEVIATION * _NORMAL.inv_cdf(uniform) - _DEVIATION**2 / 2
    rounding = Fraction(int.from_bytes(draws[8:16]), 2**64)
    moved = math.floor(price * Fraction(math.exp(step)) + rounding)
    return min(max(moved, 1), LARGEST)
