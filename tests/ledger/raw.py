"""SQL behind the ledger's back, on a connection of its own."""

from __future__ import annotations

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
