"""What an import makes of pairs and prices: checked as they come, and their tickers anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from . import schema
from .catalog import Asset, Catalog
from .errors import InvalidRequest
from .invariants import Discrepancy
from .journal_lines import Price
from .money import LARGEST_SCALE
from .proof.prices import PriceWalk, StoredPrice
from .trading.pairs import Pair, assets_of


class TradingLoad:
    """The trading of one import, inside the transaction of `connection`."""

    def __init__(self, connection: AsyncConnection, catalog: Catalog) -> None:
        self._connection = connection
        self._prices = PriceWalk(catalog)

    def price(self, line: Price) -> Iterator[Discrepancy]:
        """What is wrong with the next price."""
        return self._prices.price(
            StoredPrice(line.pair, line.number, line.price, line.source, line.stamped_at)
        )

    async def write_prices(self, lines: Sequence[Price]) -> None:
        """Keep prices as the file has them."""
        values = [msgspec.structs.asdict(line) for line in lines]
        await self._connection.execute(insert(schema.prices), values)

    async def write_tickers(self) -> None:
        """The tickers as the newest prices make them."""
        await self._connection.execute(schema.tickers.delete())
        tickers = [price._asdict() for price in self._prices.newest.values()]
        if tickers:
            await self._connection.execute(insert(schema.tickers), tickers)


def read_pairs(
    pairs: Sequence[Pair] | None, assets: Mapping[str, Asset], first: Catalog
) -> dict[str, Pair]:
    """
    The pairs of a file's header, by name. None, where it is from before there were any: those that
    every ledger has at `first`, as far as the file has their assets. Raises InvalidRequest.
    """
    if pairs is None:
        known = {code for code, asset in assets.items() if first.assets.get(code) == asset}
        return {name: pair for name, pair in first.pairs.items() if known.issuperset(_codes(pair))}
    for pair in pairs:
        whole = (pair.price_decimals, pair.exposure_limit, pair.maximum_stake, pair.stale_after_s)
        if (
            assets_of(pair.pair) != _codes(pair)
            or not assets.keys() >= {*_codes(pair)}
            or min(*whole, pair.settlement_age_s) < 0
            or pair.price_decimals > LARGEST_SCALE
        ):
            raise InvalidRequest(f"no pair: {pair.pair!r} of {pair.base!r} and {pair.quote!r}")
    return {pair.pair: pair for pair in pairs}


def _codes(pair: Pair) -> tuple[str, str]:
    return pair.base, pair.quote
