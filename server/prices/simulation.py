"""The simulated market: in every process that works, and each step made by one of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from ..ledger.trading.pairs import Pair
from ..ledger.trading.prices import Price, parse_price
from ..ledger.trading.stamping import Prices
from ..repeating import repeat
from .walk import FIRST_PRICES, STEP_SECONDS, next_price


class Simulation:
    """Moves every pair's price, pushed ones too, a step a second."""

    def __init__(self, prices: Prices, seed: str) -> None:
        """seed: what the market's course depends on, the same in every process."""
        self._prices = prices
        self._seed = seed
        self._wait = 0.0

    async def step(self) -> None:
        """Make the steps that are due. Raises DatabaseUnavailable."""
        # Where it fails, the next is tried in its time.
        self._wait = STEP_SECONDS
        wait = await self._prices.step(self._next, timedelta(seconds=STEP_SECONDS))
        self._wait = wait.total_seconds()

    async def run(self) -> None:
        """Go on until cancelled."""
        await repeat("simulate prices", 0.0, self._step_when_due)

    async def _step_when_due(self) -> None:
        await asyncio.sleep(self._wait)
        await self.step()

    def _next(self, pair: Pair, newest: Price | None) -> int | None:
        if newest is not None:
            return next_price(self._seed, pair.pair, newest.number + 1, newest.price)
        first = FIRST_PRICES.get(pair.pair)
        return None if first is None else parse_price(first, pair.price_decimals)
