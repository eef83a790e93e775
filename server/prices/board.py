"""The newest prices, as this process knows and tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from ..ledger import objects
from ..ledger.catalog import Catalog
from ..ledger.trading.prices import Price
from ..ledger.views import price_view
from ..repeating import repeat

# A pair is told of at most 4 times a second (contract, section 5).
EVERY_SECONDS = 0.25

Callback = Callable[[Sequence[objects.Price]], None]


class Source(Protocol):
    """Where prices come from."""

    async def newest(self) -> list[Price]:
        """The newest price of each pair that has one."""

    def on_stamped(self, callback: Callable[[Sequence[Price]], None]) -> None:
        """Call `callback` with the prices that this process stamps."""


class Board:
    """
    The newest price of each pair, told to subscribers as it changes: at once where this process
    stamped it, else as it is found in the database, which is looked at while somebody subscribes.
    """

    def __init__(self, prices: Source, catalog: Callable[[], Catalog]) -> None:
        """catalog: as this process last read it."""
        self._prices = prices
        self._catalog = catalog
        self._told: dict[str, tuple[Price, float]] = {}
        self._callbacks: list[Callback] = []
        self._watched = asyncio.Event()
        prices.on_stamped(lambda stamped: self._take(stamped, _now()))

    def current(self) -> list[objects.Price]:
        """The prices that subscribers were told of last, by pair."""
        return self._views([price for price, _ in self._told.values()])

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """
        Call `callback` with those prices that change from `current` on, each once, and of each pair
        at most 4 a second, the newest. The result ends that.
        """
        self._callbacks.append(callback)
        self._watched.set()

        def unsubscribe() -> None:
            self._callbacks.remove(callback)
            if not self._callbacks:
                self._watched.clear()

        return unsubscribe

    async def look(self) -> None:
        """Learn from the database what is the newest now. Raises DatabaseUnavailable."""
        began = _now()
        self._take(await self._prices.newest(), began)

    async def run(self) -> None:
        """Look while somebody subscribes, until cancelled."""
        await repeat("read prices", EVERY_SECONDS, self._look_while_watched)

    async def _look_while_watched(self) -> None:
        await self._watched.wait()
        await self.look()

    def _take(self, newest: Sequence[Price], as_of: float) -> None:
        """Tell what has changed of `newest`, as it was at `as_of`, in the loop's time."""
        pairs = self._catalog().pairs
        changed = []
        for price in newest:
            told, at = self._told.get(price.pair, (None, -EVERY_SECONDS))
            # Soon after another it waits; and a look that began before is behind what was told.
            if price != told and as_of - at >= EVERY_SECONDS and price.pair in pairs:
                self._told[price.pair] = (price, _now())
                changed.append(price)
        if changed:
            views = self._views(changed)
            for callback in list(self._callbacks):
                callback(views)

    def _views(self, prices: Sequence[Price]) -> list[objects.Price]:
        pairs = self._catalog().pairs
        by_pair = sorted(prices, key=lambda price: price.pair)
        return [price_view(price, pairs[price.pair]) for price in by_pair]


def _now() -> float:
    return asyncio.get_running_loop().time()
