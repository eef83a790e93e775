"""An empty ledger, its schema made by the real migrations, once in a process."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

from tallywire.ledger import open_ledger


@cache
def _made() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.db"

        async def make() -> None:
            async with open_ledger(f"sqlite+aiosqlite:///{file}"):
                pass

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
