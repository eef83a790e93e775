"""`total_earned`: what the types that are marked as earnings moved, and nothing else."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text
from tallywire.ledger import BalanceManager, TransactionType, import_journal, open_ledger
from tallywire.ledger.database import Database
from tallywire.ledger.errors import NotReversible
from tallywire.ledger.migrations import upgrade

from .oracle import examine
from .raw import execute, rows

REWARD = TransactionType(name="task_reward", direction="up", counter="@house", earning=True)
CLAWBACK = TransactionType(name="clawback", direction="down", counter="@house", earning=True)
GIFT = TransactionType(name="gift", direction="up", counter="@house", counts=True)
VERSION_5 = Path(__file__).with_name("version_5.json")


@pytest.fixture
def earner(ledger: BalanceManager) -> BalanceManager:
    """An open ledger of an application with types of its own."""
    for kind in (REWARD, CLAWBACK, GIFT):
        ledger.register_type(kind)
    return ledger


async def earned(manager: BalanceManager, user: str = "alice") -> str | None:
    """`total_earned` as the user's newest update shows it."""
    (update,) = await manager.history(user, limit=1)
    (change,) = update["changes"]
    shown: str | None = change.get("total_earned")
    return shown


async def test_only_marked_types_count(earner: BalanceManager) -> None:
    await earner.update_balance("alice", "50", "deposit", asset="COIN")
    await earner.update_balance("alice", "5", "gift", asset="COIN")
    assert await earned(earner) is None
    await earner.add_to_balance("alice", "100", "task_reward", asset="COIN")
    assert await earned(earner) == "100"
    await earner.update_balance("alice", "-30", "clawback", asset="COIN")
    await earner.update_balance("alice", "-80", "withdrawal", asset="COIN")
    await earner.place_hold("alice", "5", asset="COIN")
    assert await earned(earner) == "70"
    (account,) = await earner.balances("alice")
    shown = (account["account"], account["available"], account["total_earned"])
    assert shown == ("main/alice/COIN", "40", "70")
    assert await earner.balances("bob") == []
    assert (await earner.verify()).errors == 0


async def test_a_reversal_takes_back_what_was_earned(earner: BalanceManager) -> None:
    bought = await earner.update_balance("alice", "7", "deposit")
    reward = await earner.update_balance("alice", "100", "task_reward")
    fine = await earner.update_balance("alice", "-30", "clawback")
    await earner.reverse(bought.transaction_id)
    assert await earned(earner) == "70.000000"
    await earner.reverse(fine.transaction_id)
    assert await earned(earner) == "100.000000"
    await earner.reverse(reward.transaction_id)
    assert await earned(earner) == "0.000000"
    assert (await earner.verify()).errors == 0


async def test_a_type_that_is_marked_later_counts_from_then_on(
    ledger: BalanceManager, database_url: str
) -> None:
    ledger.register_type(replace(REWARD, earning=False))
    before = await ledger.update_balance("alice", "5", "task_reward", asset="COIN")
    assert await earned(ledger) is None
    async with open_ledger(database_url) as later:
        later.register_type(REWARD)
        since = await later.update_balance("alice", "7", "task_reward", asset="COIN")
        between = await later.update_balance("alice", "1", "deposit", asset="COIN")
        for undone, left in ((before, "7"), (between, "7"), (since, "0")):
            await later.reverse(undone.transaction_id)
            assert await earned(later) == left
        assert (await later.verify()).errors == 0


async def test_a_process_that_does_not_know_the_types(
    earner: BalanceManager, database_url: str
) -> None:
    """An operator's: it verifies, repairs rows and mirrors, but does not undo by unknown rules."""
    await execute(
        database_url,
        "CREATE TABLE profiles (id text PRIMARY KEY, earned numeric(12, 2) NOT NULL)",
        "INSERT INTO profiles VALUES ('alice', 0), ('bob', 0)",
    )
    await earner.register_mirror(
        "earned",
        table="profiles",
        column="earned",
        key={"id": "{owner}"},
        asset="USD",
        value="total_earned",
        on_drift="overwrite",
    )
    reward = await earner.update_balance("alice", "100.50", "task_reward", asset="USD")
    await earner.update_balance("alice", "1", "gift", asset="USD")
    await earner.update_balance("bob", "3", "deposit", asset="USD")
    await execute(
        database_url,
        "UPDATE accounts SET total_earned = 3 WHERE owner = 'alice'",
        "UPDATE accounts SET total_earned = 0 WHERE owner = 'bob'",
        "UPDATE profiles SET earned = 7",
    )
    async with open_ledger(database_url, default_asset="USD") as operator:
        found = {(each.account, each.what) for each in (await operator.verify()).details}
        assert found == {
            (f"main/{user}/USD", what)
            for user in ("alice", "bob")
            for what in ("cached total_earned", "mirror earned")
        }
        report = await operator.verify(fix=True)
        assert (report.fixed, report.errors) == (2, 0)
        assert (await operator.verify()).details == []
        with pytest.raises(NotReversible, match="not known"):
            await operator.reverse(reward.transaction_id)
    said = await rows(database_url, "SELECT id, earned FROM profiles ORDER BY id")
    assert [(row["id"], float(row["earned"])) for row in said] == [("alice", 100.5), ("bob", 0)]
    assert await earned(earner) == "100.50"


async def test_an_entry_that_earned_neither_all_nor_nothing(
    database_url: str,
) -> None:
    """Of a type that is not known here; the row agrees with it."""
    async with open_ledger(database_url) as manager:
        manager.register_type(REWARD)
        await manager.update_balance("alice", "100", "task_reward", asset="COIN")
    postgres = database_url.startswith("postgresql")
    off = (
        "ALTER TABLE postings DISABLE TRIGGER ALL"
        if postgres
        else "DROP TRIGGER postings_no_update"
    )
    user = "(SELECT id FROM accounts WHERE owner = 'alice')"
    await execute(
        database_url,
        off,
        f"UPDATE postings SET total_earned = 50 WHERE account_id = {user}",
        "UPDATE accounts SET total_earned = 50 WHERE owner = 'alice'",
    )
    async with open_ledger(database_url) as manager:
        found = {(e.invariant, e.what, e.stored) for e in (await manager.verify()).details}
    assert ("SNAPSHOT=REPLAY", "total_earned", "50") in found
    assert ("SCREEN=LEDGER", "told: total_earned", "100") in found
    assert "content hash" in {what for _, what, _ in found}


async def test_it_goes_into_a_backup_and_back(
    earner: BalanceManager, empty_sqlite_url: str
) -> None:
    await earner.update_balance("alice", "7", "deposit")
    await earner.update_balance("alice", "2", "task_reward")
    file = io.BytesIO()
    await earner.export_journal(file.write)
    assert file.getvalue().count(b"total_earned") == 2
    file.seek(0)
    await import_journal(empty_sqlite_url, file)
    async with open_ledger(empty_sqlite_url) as copy:
        assert (await copy.verify()).errors == 0
        assert await earned(copy) == "2.000000"
    await examine(empty_sqlite_url)


async def test_a_journal_from_before_keeps_its_hashes_and_seals(empty_database_url: str) -> None:
    """A database as version 5 of the schema left it; a key from then is still that request's."""
    before = json.loads(VERSION_5.read_text())
    database = Database(empty_database_url)
    try:
        async with database.write() as connection:
            await connection.run_sync(_make_version_5, before)
    finally:
        await database.close()
    async with open_ledger(empty_database_url, upgrade=True) as manager:
        report = await manager.verify(logged_seals=[f"4:{before['clock'][0]['seal']}"])
        assert report.details == []
        charged = before["transactions"][1]["id"]
        undone = await manager.reverse(charged, "Oops", actor="root", idempotency_key="undo")
        assert (undone.replayed, undone.position) == (True, 3)
        manager.register_type(REWARD)
        await manager.update_balance("alice", "5", "task_reward")
        assert await earned(manager) == "5.000000"
        assert (await manager.verify()).details == []
    assert await examine(empty_database_url) == 5


def _make_version_5(connection: Connection, tables: dict[str, list[dict[str, Any]]]) -> None:
    upgrade(connection, "0005")
    connection.execute(text("DELETE FROM tallywire_version"))
    for table, found in tables.items():
        for row in found:
            marks = ", ".join(f":{name}" for name in row)
            insert = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
            connection.execute(text(insert), row)
