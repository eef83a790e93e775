"""What is asked of the market, and turned into the ledger's changes; and who tells its prices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallywire.ledger import BalanceManager, Change, Details, LedgerError
from tallywire.ledger.trading import controls, options, spot

from ..journeys.client import shown
from ..ledger.trading.model import Pair
from .faults import Faults
from .loop import Process, SimulatedLoop

if TYPE_CHECKING:
    from .asked import Item
    from .server import Server

DEMO = "demo"
BOOKS = ("main", DEMO)

# Short, as all times are here; prices, fees and rates that leave something to round.
TERMS: dict[str, Any] = {
    "base": "COIN",
    "base_scale": 0,
    "price_decimals": 4,
    "minimum": 2,
    "fee_bps": 33,
    "rates": {1: 8050, 2: 3333, 4: 9000},
    "stale_after_s": 3,
    "settlement_age_s": 2,
}
PAIRS = {
    "COIN-USDT": Pair(
        **TERMS,
        quote="USDT",
        quote_scale=6,
        maximum_stake=400_000_000,
        exposure_limit=400_000_000,
    ),
    "COIN-USD": Pair(
        **TERMS, quote="USD", quote_scale=2, maximum_stake=40_000, exposure_limit=40_000
    ),
}
# Few, so that an option's price is often the same when it expires.
PRICES = (10_000, 12_345, 12_346, 17_777)


@dataclass(frozen=True)
class Order:
    """
    What is asked of the market: `side` buys or sells, goes up or down, or is the outcome or the
    mode that is decided on; by: whether a spot order's amount is of ``base`` or of ``quote``.
    """

    pair: str
    side: Any
    by: str = "quote"
    limit: int | None = None
    duration_s: int = 0
    client_order_id: str | None = None

    @property
    def terms(self) -> Pair:
        """Those of its pair."""
        return PAIRS[self.pair]


async def order_of(manager: BalanceManager, item: Item, details: Details) -> Change:
    """The ledger's Change for an `item` with an order; raises what is wrong with it."""
    order, catalog, kind = item.order, manager.catalog, manager.types[item.type]
    assert order is not None
    pair = order.terms
    if item.kind == "trading_control":
        return controls.set_control(
            catalog, kind, item.user, order.side, book=item.book, details=details
        )
    if item.kind == "force":
        option = await manager.trading.read_option(item.of)
        return options.force_option(catalog, kind, option, order.side, details=details)
    rest: dict[str, Any] = {
        "client_order_id": order.client_order_id,
        "book": item.book,
        "details": details,
    }
    if item.kind == "option_opened":
        stake = shown(item.amount, pair.quote_scale)
        return options.open_option(
            catalog, kind, item.user, order.pair, order.side, stake, order.duration_s, **rest
        )
    scale = pair.base_scale if order.by == "base" else pair.quote_scale
    rest[f"{order.by}_amount"] = shown(item.amount, scale)
    if order.limit is not None:
        rest["limit_price"] = shown(order.limit, pair.price_decimals)
    return spot.spot_order(catalog, kind, item.user, order.pair, order.side, **rest)


class Feed:
    """Somebody who tells prices, to whichever server, and at times nothing for a while."""

    def __init__(
        self,
        loop: SimulatedLoop,
        pick: Callable[[], Server | None],
        faults: Faults,
        until: float,
    ) -> None:
        self.process = Process(loop, "feed")
        self._pick = pick
        self._faults = faults
        self._until = until
        self.task = self.process.start(self._run())

    async def _run(self) -> None:
        random = self._faults.random
        while asyncio.get_running_loop().time() < self._until:
            await asyncio.sleep(random.choice((0.1, 0.2, 0.2, 0.2, 0.5, 3.0)) * random.random())
            server = self._pick()
            if server is not None:
                pair, price = random.choice(list(PAIRS)), random.choice(PRICES)
                with suppress(LedgerError, TimeoutError, ConnectionError):
                    async with asyncio.timeout(5.0):
                        await server.push(
                            pair, shown(price, PAIRS[pair].price_decimals), self.process
                        )
