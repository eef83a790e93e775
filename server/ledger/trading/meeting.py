"""What a batch locks and reads of the market before it decides, and what it writes there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from ..catalog import Catalog
from ..changes import Change
from ..clock import Clock
from ..intents import (
    ChangeAccount,
    ForceOption,
    OpenOption,
    RepairTrading,
    SetControl,
    SettleOption,
    SpotOrder,
    TradeIntent,
)
from .market import Market
from .price_rows import PriceRows, market_time
from .rebuilding import Rebuilding
from .trade_rows import TradeRows
from .trades import DEMO_BOOK, Option, Trade

_Ending = SettleOption | ForceOption
_Meeting = TradeIntent | SetControl | ChangeAccount | RepairTrading


class MarketMeeting:
    """The market of one batch, on its connection: its locks are held until the batch ends."""

    def __init__(self, connection: AsyncConnection, catalog: Catalog, clock: Clock) -> None:
        self._connection = connection
        self._catalog = catalog
        self._clock = clock
        dialect = connection.dialect.name
        self._trades, self._prices = TradeRows(dialect), PriceRows(dialect)

    async def meet(self, changes: Sequence[Change]) -> Market | None:
        """
        What `changes` are decided by, locked: controls, exposures, then tickers. None where none
        of them has to do with trades; their user accounts are locked already.
        """
        intents = [change.intent for change in changes if isinstance(change.intent, _Meeting)]
        if not intents:
            return None
        repairs = [i for i in intents if isinstance(i, RepairTrading)]
        await Rebuilding(self._connection, self._catalog).repair(repairs)
        orders = [i for i in intents if isinstance(i, (SpotOrder, OpenOption))]
        opening = [i for i in intents if isinstance(i, OpenOption)]
        ending = [i for i in intents if isinstance(i, _Ending)]
        setting = [i for i in intents if isinstance(i, SetControl)]
        closing = [
            i.key.owner
            for i in intents
            if isinstance(i, ChangeAccount) and i.settings.get("status") == "closed"
        ]
        controlled = {(i.key.book, i.key.owner) for i in opening} | {
            (i.book, i.user) for i in setting
        }
        demo = [(book, user) for book, user in controlled if book == DEMO_BOOK]
        places = {(i.key.book, i.pair) for i in (*opening, *ending)}
        named = {
            (i.user if isinstance(i, SpotOrder) else i.key.owner, i.client_order_id)
            for i in orders
            if i.client_order_id is not None
        }
        connection, rows, catalog = self._connection, self._trades, self._catalog
        ended = [i.option_id for i in ending]
        market = Market(
            now="",
            controls=await rows.lock_controls(connection, demo),
            exposures=await rows.lock_exposures(connection, list(places)),
            options={
                trade.id: trade
                for trade in (
                    *await rows.open_options(connection, closing, catalog),
                    # Their rows decide nothing: those could have been changed by hand.
                    *await rows.in_journal(connection, ended, catalog),
                )
                if isinstance(trade, Option)
            },
            client_orders=await rows.client_orders(connection, list(named)),
        )
        return await self._at_prices(market, {i.pair for i in (*orders, *ending)})

    async def _at_prices(self, market: Market, pairs: set[str]) -> Market:
        if not pairs:
            return market
        tickers = await self._prices.lock(self._connection, sorted(pairs))
        now = await market_time(self._connection, self._clock)
        expiries = [
            (option.pair, option.expires_at)
            for option in market.options.values()
            if option.pair in pairs and option.status == "open"
        ]
        return market._replace(
            now=max(ticker.reading_time(now) for ticker in tickers.values()),
            newest={name: t.price for name, t in tickers.items() if t.price is not None},
            expiries=await self._prices.at_or_before(self._connection, expiries),
        )

    async def write(
        self, market: Market, trades: Iterable[Trade], controls: Iterable[tuple[SetControl, int]]
    ) -> None:
        """
        Write `market` after the batch: its `trades`, each as its newest transaction left it, and
        its `controls` with the positions that set them, the newest last.
        """
        newest = {trade.id: trade for trade in trades}
        await self._trades.write_trades(self._connection, list(newest.values()), self._catalog)
        places = {(t.book, t.pair) for t in newest.values() if isinstance(t, Option)}
        exposures = {place: market.exposures[place] for place in places}
        await self._trades.write_exposures(self._connection, exposures)
        modes = {(set_.book, set_.user): (set_.mode, position) for set_, position in controls}
        await self._trades.write_controls(self._connection, modes)
        pairs = {trade.pair for trade in newest.values()}
        if pairs:
            moments = dict.fromkeys(sorted(pairs), market.now)
            await self._prices.mark_read(self._connection, moments)
