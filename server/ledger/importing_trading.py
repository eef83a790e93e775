"""What an import makes of trading: prices as they come; trades, controls and the rest anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from . import schema
from .catalog import Asset, Catalog
from .errors import InvalidRequest
from .invariants import Discrepancy
from .journal_lines import Price, Transaction
from .money import LARGEST_SCALE
from .proof.prices import PriceWalk, StoredPrice
from .proof.trades import CONTROL, moments
from .trading.pairs import Pair, assets_of
from .trading.price_rows import PriceRows
from .trading.rebuilding import Rebuilding
from .trading.trade_rows import TradeRows
from .trading.trades import DEMO_BOOK


class TradingLoad:
    """The trading of one import, inside the transaction of `connection`."""

    def __init__(self, connection: AsyncConnection, catalog: Catalog) -> None:
        self._connection = connection
        self._prices = PriceWalk(catalog)
        self._rebuilding = Rebuilding(connection, catalog)
        self._rows = TradeRows(connection.dialect.name)
        self._traded_at: dict[str, str] = {}

    def price(self, line: Price) -> Iterator[Discrepancy]:
        """What is wrong with the next price."""
        return self._prices.price(
            StoredPrice(line.pair, line.number, line.price, line.source, line.stamped_at)
        )

    async def write_prices(self, lines: Sequence[Price]) -> None:
        """Keep prices as the file has them."""
        values = [msgspec.structs.asdict(line) for line in lines]
        await self._connection.execute(insert(schema.prices), values)

    async def write_rows(self, transactions: Iterable[Transaction]) -> None:
        """The rows of trades and controls as these transactions, which are written, leave them."""
        trades: dict[str, None] = {}
        users: dict[str, None] = {}
        for line in transactions:
            if line.trade is not None:
                trades[line.trade] = None
                for pair, moment in moments(line.record(), traded_at=True):
                    self._traded_at[pair] = max(moment, self._traded_at.get(pair, ""))
            elif line.type == CONTROL and line.subject is not None:
                users[line.subject] = None
        await self._rebuilding.trades(list(trades))
        if users:
            controls = [(DEMO_BOOK, user) for user in users]
            await self._rows.lock_controls(self._connection, controls)
            await self._rebuilding.controls(list(users))

    async def finish(self) -> None:
        """The exposures of what is open, and the tickers."""
        await self._rebuilding.all_exposures()
        pairs = sorted({*self._prices.newest, *self._traded_at})
        rows = PriceRows(self._connection.dialect.name)
        await rows.lock(self._connection, pairs)
        for pair in pairs:
            await rows.restore(self._connection, pair, self._traded_at.get(pair))


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
