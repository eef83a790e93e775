"""New prices: pushed by somebody, or the next step of a simulation; each stamped as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta

from ..catalog import Catalog
from ..clock import Clock, parse_rfc3339, rfc3339
from ..database import Database
from ..errors import InvalidRequest, UnknownPair
from .pairs import Pair
from .price_rows import PriceRows, market_time
from .prices import Price, parse_price

SIMULATOR = "simulator"

# The next price of a pair after its newest (None before the first), or None where there is none.
NextPrice = Callable[[Pair, Price | None], int | None]


class Prices:
    """The prices of an open ledger, in whichever process they are made."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        catalog: Callable[[], Catalog],
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        """catalog: as this process last read it; refresh: reads it again."""
        self._database = database
        self._clock = clock
        self._catalog = catalog
        self._refresh = refresh
        self._rows = PriceRows(database.dialect)
        self._callbacks: list[Callable[[Sequence[Price]], None]] = []

    def on_stamped(self, callback: Callable[[Sequence[Price]], None]) -> None:
        """Call `callback` with the prices that this process stamped, once they are committed."""
        self._callbacks.append(callback)

    async def push(self, pair: str, price: object, *, actor: str, time: str | None = None) -> Price:
        """
        Make `price`, a decimal string, the newest of `pair`; it is stamped now.

        time: when its source had it (RFC 3339), which is kept and decides nothing. Raises
        UnknownPair, InvalidAmount, InvalidRequest, DatabaseUnavailable.
        """
        known = await self.pair(pair)
        new = parse_price(price, known.price_decimals)
        told_at = None if time is None else _told_at(time)
        async with self._database.write() as connection:
            ticker = (await self._rows.lock(connection, [pair]))[pair]
            stamped = await self._rows.append(
                connection,
                pair,
                ticker,
                new,
                source="pushed",
                actor=actor,
                now=await market_time(connection, self._clock),
                told_at=told_at,
            )
        self._tell([stamped])
        return stamped

    async def newest(self) -> list[Price]:
        """The newest price of each pair that has one, by pair. Raises DatabaseUnavailable."""
        async with self._database.read() as connection:
            return await self._rows.newest(connection)

    async def ages(self) -> dict[str, float]:
        """How old the newest price of each pair is, in seconds. Raises DatabaseUnavailable."""
        async with self._database.read() as connection:
            now = await market_time(connection, self._clock)
            newest = await self._rows.newest(connection)
        return {price.pair: _age(price, now).total_seconds() for price in newest}

    async def pair(self, name: str) -> Pair:
        """The pair `name`, which another process may have made; raises UnknownPair."""
        try:
            return self._catalog().pair(name)
        except UnknownPair:
            await self._refresh()
            return self._catalog().pair(name)

    async def step(self, next_price: NextPrice, every: timedelta) -> timedelta:
        """
        Make the next simulated price of each pair whose newest is at least `every` old, or which
        has none; any number of processes may do so at once, and one of them makes it.

        The result is how long it is until the next is due. Raises DatabaseUnavailable.
        """
        async with self._database.read() as connection:
            now = await market_time(connection, self._clock)
            newest = {price.pair: price for price in await self._rows.newest(connection)}
        if newest.keys() - self._catalog().pairs.keys():
            # Made by another process.
            await self._refresh()
        pairs = self._catalog().pairs
        due = [
            pair
            for name, pair in pairs.items()
            if _is_due(newest.get(name), now, every)
            and next_price(pair, newest.get(name)) is not None
        ]
        if due:
            self._tell(await self._step(due, next_price, every))
        later = newest.keys() & pairs.keys() - {pair.pair for pair in due}
        return min([every, *(every - _age(newest[name], now) for name in later)])

    async def _step(
        self, pairs: Sequence[Pair], next_price: NextPrice, every: timedelta
    ) -> list[Price]:
        stamped = []
        rows, names = self._rows, [pair.pair for pair in pairs]
        async with self._database.write() as connection:
            tickers = await rows.lock(connection, names)
            now = await market_time(connection, self._clock)
            for pair in pairs:
                ticker = tickers[pair.pair]
                new = next_price(pair, ticker.price)
                # Another process may have been first.
                if new is not None and _is_due(ticker.price, now, every):
                    stamped.append(
                        await rows.append(
                            connection,
                            pair.pair,
                            ticker,
                            new,
                            source="simulated",
                            actor=SIMULATOR,
                            now=now,
                        )
                    )
        return stamped

    def _tell(self, stamped: Collection[Price]) -> None:
        if stamped:
            for callback in self._callbacks:
                callback(list(stamped))


def _is_due(newest: Price | None, now: datetime, every: timedelta) -> bool:
    return newest is None or _age(newest, now) >= every


def _age(price: Price, now: datetime) -> timedelta:
    return now - parse_rfc3339(price.time)


def _told_at(time: str) -> str:
    try:
        return rfc3339(parse_rfc3339(time))
    except ValueError as error:
        raise InvalidRequest(str(error), pointer="/time") from None
