"""
Every SQL statement about prices: the newest of each pair (`tickers`), and all of them (`prices`),
of which none is ever changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ..clock import Clock, SystemClock
from ..dialects import Sets
from .prices import Price, PriceSource, Ticker

_TICKER = "SELECT pair, number, price, source, stamped_at, read_at FROM tickers"


class PriceRows:
    """The statements on one dialect, ``sqlite`` or ``postgresql``."""

    def __init__(self, dialect: str) -> None:
        self._sqlite = dialect == "sqlite"
        self._sets = Sets(dialect)
        self._any, self._set = self._sets.among, self._sets.parameter

    async def lock(self, connection: AsyncConnection, pairs: Collection[str]) -> dict[str, Ticker]:
        """
        The tickers of `pairs`, locked in the pairs' order until the transaction ends; those that
        are missing are made.
        """
        rows = await self._locked(connection, pairs)
        missing = sorted({*pairs} - {row.pair for row in rows})
        if missing:
            for pair in missing:
                await connection.execute(
                    text(
                        "INSERT INTO tickers (pair, number) VALUES (:pair, 0)"
                        " ON CONFLICT (pair) DO NOTHING"
                    ),
                    {"pair": pair},
                )
            rows = await self._locked(connection, pairs)
        return {row.pair: Ticker(_newest(row), row.read_at) for row in rows}

    async def _locked(
        self, connection: AsyncConnection, pairs: Collection[str]
    ) -> Sequence[Row[Any]]:
        rows = await connection.execute(
            text(
                f"{_TICKER} WHERE pair {self._any('pairs', 'text')}"
                f" ORDER BY pair{'' if self._sqlite else ' FOR UPDATE'}"
            ),
            {"pairs": self._set(pairs)},
        )
        return rows.all()

    async def at_or_before(
        self, connection: AsyncConnection, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Price]:
        """
        The price that was the newest at each of the `wanted` pairs and moments (RFC 3339), that
        moment included, by the same two; those are absent before which there was none.

        While a pair's ticker is locked, and from `mark_read` on, no other can appear there.
        """
        if not wanted:
            return {}
        source, parameters = self._sets.pairs(wanted)
        rows = await connection.execute(
            text(
                f"WITH wanted(pair, moment) AS ({source})"
                " SELECT wanted.moment, p.pair, p.number, p.price, p.source, p.stamped_at"
                " FROM wanted JOIN prices p ON p.pair = wanted.pair AND p.stamped_at ="
                " (SELECT max(stamped_at) FROM prices"
                " WHERE pair = wanted.pair AND stamped_at <= wanted.moment)"
            ),
            parameters,
        )
        return {(row.pair, row.moment): _price(row) for row in rows}

    async def mark_read(self, connection: AsyncConnection, moments: Mapping[str, str]) -> None:
        """Keep for each pair, which is locked, the moment (RFC 3339) that was traded by."""
        for pair, moment in sorted(moments.items()):
            await connection.execute(
                text("UPDATE tickers SET read_at = :moment WHERE pair = :pair"),
                {"pair": pair, "moment": moment},
            )

    async def restore(self, connection: AsyncConnection, pair: str, read_at: str | None) -> None:
        """
        Make the ticker of `pair`, which is locked, its newest price; it was read when it says, or
        at `read_at` (RFC 3339, None: never) where that is later.
        """
        found = await connection.execute(
            text(
                "SELECT number, price, source, stamped_at FROM prices"
                " WHERE pair = :pair ORDER BY number DESC LIMIT 1"
            ),
            {"pair": pair},
        )
        newest = found.one_or_none()
        values = (0, None, None, None) if newest is None else tuple(newest)
        await connection.execute(
            text(
                "UPDATE tickers SET number = :number, price = :price, source = :source,"
                " stamped_at = :stamped_at, read_at = CASE"
                " WHEN read_at >= COALESCE(:read_at, read_at) THEN read_at ELSE :read_at END"
                " WHERE pair = :pair"
            ),
            {
                **dict(zip(("number", "price", "source", "stamped_at"), values, strict=True)),
                "read_at": read_at,
                "pair": pair,
            },
        )

    async def append(
        self,
        connection: AsyncConnection,
        pair: str,
        ticker: Ticker,
        price: int,
        *,
        source: PriceSource,
        actor: str,
        now: datetime,
        told_at: str | None = None,
    ) -> Price:
        """
        Make `price` the newest of `pair`, whose `ticker` is locked as it is given.

        price: in units of 10^-price_decimals; now: the market's time; told_at: the time that its
        source named, RFC 3339, which is kept and decides nothing.
        """
        number = 1 if ticker.price is None else ticker.price.number + 1
        made = Price(pair, number, price, source, ticker.next_stamp(now))
        values = {
            "pair": pair,
            "number": number,
            "price": price,
            "source": source,
            "actor": actor,
            "told_at": told_at,
            "stamped_at": made.time,
        }
        await connection.execute(
            text(
                "INSERT INTO prices (pair, number, price, source, actor, told_at, stamped_at)"
                " VALUES (:pair, :number, :price, :source, :actor, :told_at, :stamped_at)"
            ),
            values,
        )
        await connection.execute(
            text(
                "UPDATE tickers SET number = :number, price = :price, source = :source,"
                " stamped_at = :stamped_at WHERE pair = :pair"
            ),
            {name: values[name] for name in ("pair", "number", "price", "source", "stamped_at")},
        )
        return made

    async def newest(
        self, connection: AsyncConnection, pairs: Collection[str] | None = None
    ) -> list[Price]:
        """The newest prices by pair, those of `pairs` or all; nothing is locked."""
        if pairs is None:
            rows = await connection.execute(text(f"{_TICKER} ORDER BY pair"))
        else:
            rows = await connection.execute(
                text(f"{_TICKER} WHERE pair {self._any('pairs', 'text')} ORDER BY pair"),
                {"pairs": self._set(pairs)},
            )
        return [_price(row) for row in rows if row.number]


async def market_time(connection: AsyncConnection, clock: Clock) -> datetime:
    """
    The time that a market goes by, aware: the database's own, one for all processes, where it has
    one and nobody injected another; else `clock`'s.
    """
    if connection.dialect.name == "postgresql" and isinstance(clock, SystemClock):
        row = await connection.execute(text("SELECT clock_timestamp()"))
        now: datetime = row.scalar_one()
        return now
    return clock.now()


def _newest(row: Row[Any]) -> Price | None:
    return _price(row) if row.number else None


def _price(row: Row[Any]) -> Price:
    return Price(row.pair, row.number, row.price, row.source, row.stamped_at)
