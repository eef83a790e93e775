"""SQL behind the ledger's back, on a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from tallywire.ledger.database import normalise_url

Row = dict[str, Any]


async def rows(url: str, sql: str) -> list[Row]:
    """The rows of one query, each by column name."""
    engine = create_async_engine(normalise_url(url))
    try:
        async with engine.connect() as connection:
            return [dict(row._mapping) for row in await connection.execute(text(sql))]
    finally:
        await engine.dispose()


async def execute(url: str, *statements: str) -> None:
    """Run `statements` in one transaction."""
    engine = create_async_engine(normalise_url(url))
    try:
        async with engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


async def count(url: str, table: str) -> int:
    """How many rows `table` has."""
    return int((await rows(url, f"SELECT count(*) AS n FROM {table}"))[0]["n"])


@asynccontextmanager
async def held(url: str, statement: str) -> AsyncIterator[None]:
    """While it lasts, a session that ran `statement` keeps its transaction open."""
    engine = create_async_engine(normalise_url(url))
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql(statement)
            yield
            await connection.commit()
    finally:
        await engine.dispose()


@asynccontextmanager
async def holding_the_clock(url: str) -> AsyncIterator[None]:
    """While it lasts, no other session can commit a batch: this one holds the clock's lock."""
    sqlite = url.startswith("sqlite")
    async with held(url, "BEGIN IMMEDIATE" if sqlite else "SELECT id FROM clock FOR UPDATE"):
        yield


async def waiting_for_locks(url: str, sessions: int) -> None:
    """Return once `sessions` sessions of this PostgreSQL database wait for a lock."""
    engine = create_async_engine(normalise_url(url), isolation_level="AUTOCOMMIT")
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    try:
        async with engine.connect() as connection, asyncio.timeout(10):
            while (await connection.execute(query)).scalar_one() < sessions:
                await asyncio.sleep(0.005)
    finally:
        await engine.dispose()
