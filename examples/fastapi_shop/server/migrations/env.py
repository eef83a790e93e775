"""How Alembic runs the shop's migrations."""

from __future__ import annotations

import asyncio

from alembic import context
from server.tables import database_url, metadata
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether Alembic may look at a table: to --autogenerate the ledger's would seem left over."""
    return kind != "table" or name in metadata.tables


def migrate(connection: Connection) -> None:
    """Run what is asked for on `connection`."""
    context.configure(connection, target_metadata=metadata, include_name=is_ours)
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    """Connect and migrate."""
    engine = create_async_engine(database_url())
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


asyncio.run(main())
