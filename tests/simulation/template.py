"""An empty ledger with two mirrors and the pairs, made by the real migrations once in a process."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

from tallywire.ledger import open_ledger

from .asked import USERS
from .legacy import ABORTING, TABLES
from .trading import PAIRS


@cache
def _made() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.db"

        async def make() -> None:
            async with open_ledger(f"sqlite+aiosqlite:///{file}") as manager:
                for asset, table in TABLES.items():
                    await manager.register_mirror(
                        asset,
                        table=table,
                        column="balance",
                        kind="integer",
                        key={"id": "{owner}"},
                        asset=asset,
                        on_failure="abort" if asset == ABORTING else "defer",
                    )
                for pair, terms in PAIRS.items():
                    await manager.administration.put_pair(pair, terms.settings(), actor="root")

        source = sqlite3.connect(file)
        for table in TABLES.values():
            source.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, balance BIGINT NOT NULL)")
            source.executemany(f"INSERT INTO {table} VALUES (?, 0)", [(user,) for user in USERS])
        source.commit()
        source.close()
        asyncio.run(make())
        source = sqlite3.connect(file)
        source.execute("PRAGMA journal_mode=DELETE")
        image = source.serialize()
        source.close()
        return image


def template() -> sqlite3.Connection:
    """A fresh empty ledger in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(_made())
    return connection
