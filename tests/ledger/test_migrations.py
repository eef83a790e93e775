"""Ledgers of earlier schemas are brought up to date with what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text
from tallywire.ledger import database as database_module
from tallywire.ledger import migrations, open_ledger
from tallywire.ledger.clock import SystemClock
from tallywire.ledger.database import Database
from tallywire.ledger.errors import SchemaMismatch
from tallywire.ledger.opening import upgrade_database

from .oracle import examine

# What each later migration made, the newest first.
UNDO = (
    "DROP INDEX transactions_by_trade",
    "ALTER TABLE transactions DROP COLUMN trade",
    "DROP TABLE trading_controls",
    "DROP TABLE exposures",
    "DROP TABLE trades",
    "DROP TABLE prices",
    "DROP TABLE tickers",
    "DROP TABLE pairs",
    "DROP TABLE webhooks",
    "ALTER TABLE accounts DROP COLUMN total_earned",
    "ALTER TABLE postings DROP COLUMN total_earned",
    "DROP TABLE verifications",
    "DROP TABLE mirror_states",
    "DROP TABLE mirrors",
    "DROP INDEX transactions_by_hold",
    "ALTER TABLE transactions DROP COLUMN hold",
    "DROP TABLE holds",
    "DROP TABLE leases",
    "UPDATE tallywire_version SET version_num = '0001'",
)


async def test_a_ledger_of_the_first_schema_is_upgraded(database_url: str) -> None:
    async with open_ledger(database_url) as manager:
        await manager.update_balance("alice", "1", "deposit")
        pairs = dict(manager.catalog.pairs)
    await run(database_url, *UNDO)
    async with open_ledger(database_url, upgrade=True) as manager:
        assert manager.catalog.pairs == pairs
        assert await manager.leases.take("work", "a", 15)
        await manager.place_hold("alice", "0.40")
        assert await manager.get_balance("alice") == 1
        assert (await manager.verify()).errors == 0
    await examine(database_url)


async def test_an_upgrade_that_would_meet_tables_of_others_is_refused_and_leaves_all_as_it_was(
    database_url: str,
) -> None:
    before_trading = (*UNDO[:8], "UPDATE tallywire_version SET version_num = '0008'")
    await run(
        database_url,
        *before_trading,
        "CREATE TABLE trades (id integer)",
        "CREATE VIEW prices AS SELECT 1 AS one",
    )
    with pytest.raises(SchemaMismatch, match="not the ledger's: prices, trades; rename them"):
        async with open_ledger(database_url, upgrade=True):
            pass
    # The view and the table are as they were, the version too, and nothing was made.
    await run(database_url, "SELECT one FROM prices", "DROP TABLE trades", "DROP VIEW prices")
    async with open_ledger(database_url, upgrade=True) as manager:
        assert (await manager.verify()).errors == 0


async def test_an_upgrade_takes_longer_than_a_change_may(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database_module._POSTGRES_WRITER, "statement_timeout", "1")
    database = Database(empty_postgres_url)
    await upgrade_database(database, SystemClock())
    await database.close()
    await examine(empty_postgres_url)


async def run(database_url: str, *statements: str) -> None:
    database = Database(database_url)
    async with database.write() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await database.close()


def test_the_names_of_the_files_are_the_revisions() -> None:
    """By which a process knows the newest without reading them all."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    newest_first = [script.revision for script in scripts.walk_revisions()]
    assert migrations.revisions() == newest_first[::-1]
