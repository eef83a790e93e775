"""Prices: the newest of each pair, and new ones pushed; how the market stands, for /metrics."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from .. import metrics
from ..ledger.views import price_view
from .answers import answer, listing
from .bodies import PricePush
from .calls import Call
from .queries import NamesQuery, names_page
from .services import Services


async def list_prices(call: Call, query: NamesQuery) -> Response:
    """The newest prices, by pair; a pair that never had one is not among them."""
    prices = call.services.manager.prices
    views = {
        price.pair: price_view(price, await prices.pair(price.pair))
        for price in await prices.newest()
    }
    page, next_cursor = names_page("prices", views, query)
    return listing([msgspec.json.encode(views[name]) for name in page], next_cursor)


async def push_price(call: Call, pushed: PricePush) -> Response:
    """Make it the pair's newest price, stamped at its arrival."""
    prices, pair = call.services.manager.prices, call.path["pair"]
    price = await prices.push(pair, pushed.price, actor=call.principal.user_id, time=pushed.time)
    return answer(price_view(price, await prices.pair(pair)))


async def measure_market(services: Services) -> None:
    """Show on /metrics how old prices are, and what waits to be settled; raises LedgerError."""
    ages = await services.manager.prices.ages()
    overdue = await services.manager.trading.overdue_seconds()
    metrics.OPTIONS_OVERDUE.set(overdue)
    metrics.PRICE_AGE.clear()
    for pair, seconds in ages.items():
        metrics.PRICE_AGE.labels(pair).set(seconds)
