"""Connections, where whoever uses one is stopped."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from sqlalchemy import text
from tallywire.ledger.database import Database

# Some tenths of a second, where nothing stops it.
_LONG = (
    "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500000)"
    " SELECT count(*) FROM numbers"
)


async def test_a_read_that_is_cancelled_ends_as_cancelled(database_url: str) -> None:
    database = Database(database_url)
    for any_text in (False, True):
        begun = asyncio.Event()

        async def read(begun: asyncio.Event = begun, any_text: bool = any_text) -> None:
            async with database.read(any_text=any_text) as connection:
                begun.set()
                await connection.execute(text(_LONG))

        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        assert reading.cancelled()
    await database.close()


async def test_a_cancelled_write_leaves_no_lock_while_its_cursor_is_not_collected(
    sqlite_url: str,
) -> None:
    """Whoever is cancelled within a statement loses the connection, with a cursor open."""
    one, other = Database(sqlite_url), Database(sqlite_url)
    async with one.writer.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await connection.begin()
        unread = await driver.execute("UPDATE clock SET paused = 1 RETURNING id")
        await connection.invalidate()
        async with asyncio.timeout(2), other.write() as free:
            assert (await free.execute(text("SELECT paused FROM clock"))).scalar_one() == 0
        del unread
    await one.close()
    await other.close()
