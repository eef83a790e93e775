"""
Prices in the database: their stamps only rise, though the clock goes back; what was traded by
stays what it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from tallywire.ledger.clock import SystemClock, rfc3339
from tallywire.ledger.database import Database
from tallywire.ledger.trading.price_rows import PriceRows, market_time
from tallywire.ledger.trading.prices import Price, Ticker

from .conftest import ManualClock

PAIR = "BTC-USDT"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the ledger's schema."""
    opened = Database(database_url)
    yield opened
    await opened.close()


async def append(database: Database, price: int, now: datetime, pair: str = PAIR) -> Price:
    """Make `price` the newest of `pair` at `now`."""
    rows = PriceRows(database.dialect)
    async with database.write() as connection:
        ticker = (await rows.lock(connection, [pair]))[pair]
        return await rows.append(
            connection, pair, ticker, price, source="pushed", actor="root", now=now
        )


async def read(database: Database, now: datetime, pair: str = PAIR) -> str:
    """Trade by the pair's market at `now`; the moment that it was traded by."""
    rows = PriceRows(database.dialect)
    async with database.write() as connection:
        ticker = (await rows.lock(connection, [pair]))[pair]
        moment = ticker.reading_time(now)
        await rows.mark_read(connection, {pair: moment})
        return moment


async def test_stamps_rise_though_the_clock_goes_back(database: Database) -> None:
    clock, rows = ManualClock(), PriceRows(database.dialect)
    first = await append(database, 100, clock.now())
    assert first == Price(PAIR, 1, 100, "pushed", "2100-03-01T12:00:00.000000Z")
    clock.move(hours=-1)
    second = await append(database, 101, clock.now())
    assert (second.number, second.time) == (2, "2100-03-01T12:00:00.000001Z")
    clock.move(hours=2)
    third = await append(database, 102, clock.now())
    assert third.time == "2100-03-01T13:00:00.000000Z"
    async with database.read() as connection:
        assert await rows.newest(connection) == [third]


async def test_no_price_appears_where_was_traded(database: Database) -> None:
    """Nor does a clock that was set back trade before what was traded, or before the price."""
    clock, rows = ManualClock(), PriceRows(database.dialect)
    first = await append(database, 100, clock.now())
    clock.move(seconds=5)
    moment = await read(database, clock.now())
    assert moment == rfc3339(clock.now())
    clock.move(seconds=-3)
    assert await read(database, clock.now()) == moment
    late = await append(database, 200, clock.now())
    assert late.time == "2100-03-01T12:00:05.000001Z"
    async with database.read() as connection:
        found = await rows.at_or_before(connection, [(PAIR, moment), (PAIR, late.time)])
    assert found == {(PAIR, moment): first, (PAIR, late.time): late}
    clock.move(days=-1)
    assert await read(database, clock.now()) == late.time


async def test_the_price_of_a_moment(database: Database) -> None:
    """The last that was stamped at or before it, of that pair."""
    clock, rows = ManualClock(), PriceRows(database.dialect)
    made = []
    for price in (100, 101, 102):
        made.append(await append(database, price, clock.now()))
        await append(database, price * 10, clock.now(), "ETH-USDT")
        clock.move(seconds=1)
    before = rfc3339(clock.now() - timedelta(seconds=3, microseconds=1))
    between = rfc3339(clock.now() - timedelta(seconds=1, microseconds=1))
    wanted = [(PAIR, made[1].time), (PAIR, between), (PAIR, before), ("A-B", between)]
    async with database.read() as connection:
        found = await rows.at_or_before(connection, wanted)
        assert await rows.at_or_before(connection, []) == {}
        newest = await rows.newest(connection, [PAIR])
    assert found == {(PAIR, made[1].time): made[1], (PAIR, between): made[1]}
    assert newest == made[-1:]


async def test_a_ticker_is_made_where_it_is_missing(database: Database) -> None:
    rows = PriceRows(database.dialect)
    async with database.write() as connection:
        found = await rows.lock(connection, ["ETH-USDT", PAIR])
        assert found == {PAIR: Ticker(), "ETH-USDT": Ticker()}
        assert await rows.newest(connection) == []


async def test_the_market_goes_by_the_databases_time(database: Database) -> None:
    """On PostgreSQL, that is; and everywhere by a clock that somebody injects."""
    manual = ManualClock()
    async with database.read() as connection:
        assert await market_time(connection, manual) == manual.now()
        real = await market_time(connection, SystemClock())
        again = await market_time(connection, SystemClock())
    assert real.tzinfo is not None and real < again
    assert abs(real - SystemClock().now()) < timedelta(minutes=1)
