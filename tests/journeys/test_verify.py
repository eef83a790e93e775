"""The ledger proves itself: quiet while money moves, and loud where somebody changed a number."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ..conftest import RunTallywire, StartServer
from ..services.postgres import PostgresServer
from ..services.server import RunningServer
from .client import accepted, refused
from .conftest import FAST, Outside

Go = Callable[[RunningServer], Awaitable[Outside]]
Execute = Callable[[str], None]


@pytest.fixture
def execute(request: pytest.FixtureRequest, database_url: str) -> Execute:
    """Somebody with the database's password: runs one statement behind the ledger's back."""
    if database_url.startswith("sqlite"):
        file = Path(database_url.partition("///")[2])

        def by_hand(sql: str) -> None:
            with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
                connection.execute(sql)

        return by_hand
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    return lambda sql: _ignore(postgres.execute(sql, urlsplit(database_url).path[1:]))


def _ignore(result: str) -> None:
    """What a statement printed is not asked for."""


async def test_verify_finds_nothing_wrong_while_money_moves(
    server: StartServer, go_outside: Go, database_url: str, tallywire: RunTallywire
) -> None:
    outside = await go_outside(await server(database_url=database_url, env=FAST))
    building = await outside.new_book("building", side="debit", accounts="open")
    money = {"asset": "EUR", "book": building, "user_id": "flat"}
    stopping = False

    async def write(number: int) -> None:
        while not stopping:
            user = f"user-{number}"
            accepted(await outside.admin.deposit(user, "3"))
            accepted(await outside.admin.transfer(user, f"user-{(number + 1) % 8}", "1"))
            refused(await outside.admin.withdraw(user, "999999"), 422, "insufficient_funds")
            accepted(await outside.admin.post("/v1/charges", {**money, "amount": "5"}))
            path = f"/v1/admin/accounts/main/{user}/USDT"
            accepted(await outside.root.patch(path, {"alert_below": "2"}))

    writers = [asyncio.create_task(write(number)) for number in range(8)]
    done = await asyncio.to_thread(tallywire, "verify", database_url=database_url)
    assert done.returncode == 0, done.stdout + done.stderr
    stopping = True
    await asyncio.gather(*writers)
    done = await asyncio.to_thread(tallywire, "verify", "--json", database_url=database_url)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["checked"] > 0 and report["errors"] == 0 and report["details"] == []


async def test_a_balance_changed_by_hand_is_found_and_not_laundered(
    server: StartServer,
    go_outside: Go,
    database_url: str,
    tallywire: RunTallywire,
    execute: Execute,
) -> None:
    outside = await go_outside(await server(database_url=database_url, env=FAST))
    accepted(await outside.admin.deposit("alice", "10"))
    accepted(await outside.admin.deposit("bob", "10"))
    execute("UPDATE accounts SET balance = balance + 5000000 WHERE name = 'main/alice/USDT'")

    head = await outside.admin.head()
    refused(await outside.admin.withdraw("alice", "12"), 409, "account_inconsistent")
    refused(await outside.admin.deposit("alice", "1"), 409, "account_inconsistent")
    refused(await outside.admin.transfer("bob", "alice", "1"), 409, "account_inconsistent")
    items = [
        {"operation": "deposit", "user_id": user, "asset": "USDT", "amount": "1"}
        for user in ("bob", "alice", "bob")
    ]
    results = (await outside.admin.batch(items)).json()["results"]
    assert [result["status"] for result in results] == [201, 409, 201]
    assert await outside.admin.head() == head + 2

    done = await asyncio.to_thread(tallywire, "verify", database_url=database_url)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("MISMATCH")]
    found = {(line[1], line[2]) for line in lines}
    assert ("SNAPSHOT=REPLAY", "main/alice/USDT") in found
    assert not any(account == "main/bob/USDT" for _, account in found)

    other = await asyncio.to_thread(
        tallywire, "verify", "--user-id", "bob", database_url=database_url
    )
    assert other.returncode == 0, other.stdout + other.stderr


async def test_a_repair_reaches_screens_live_and_on_resume(
    server: StartServer, go_outside: Go, database_url: str, execute: Execute
) -> None:
    outside = await go_outside(await server(database_url=database_url, env=FAST))
    accepted(await outside.admin.deposit("alice", "10"))
    shown = (await outside.admin.balances("alice"))["main/alice/USDT"]["balance"]
    async with outside.screen("alice") as screen:
        for live in (True, False):
            if not live:
                await screen.leave()
            execute("UPDATE accounts SET balance = 7, total_in = 1 WHERE name = 'main/alice/USDT'")
            begun = await outside.root.post("/v1/admin/verifications", {"fix": True})
            assert begun.status_code == 202, begun.text
            path = f"/v1/admin/verifications/{begun.json()['id']}"
            async with asyncio.timeout(20):
                while (found := (await outside.root.get(path)).json())["status"] == "running":
                    await asyncio.sleep(0.02)
            assert (found["report"]["fixed"], found["report"]["errors"]) == (1, 0)
            head = await outside.admin.head()
            if not live:
                await screen.come_back()
            await screen.until_position(head)
            assert screen.init is not None and screen.init["reason"] == "repair"
            balance = screen.balances["main/alice/USDT"]
            assert balance["balance"] == shown
            assert screen.balances == await outside.admin.balances("alice")
    accepted(await outside.admin.deposit("alice", "1"))


HISTORY = [
    "UPDATE transactions SET description = 'another' WHERE position = 1",
    "UPDATE postings SET amount = amount + 1 WHERE position = 1",
    "DELETE FROM postings WHERE position = 1",
    "DELETE FROM transactions WHERE position = 1",
    "UPDATE seals SET seal = 'x'",
    "DELETE FROM seals",
]


async def test_history_cannot_be_rewritten(
    server: StartServer, go_outside: Go, database_url: str, execute: Execute
) -> None:
    outside = await go_outside(await server(database_url=database_url, env=FAST))
    accepted(await outside.admin.deposit("alice", "10", description="one"))
    (item,) = [item async for item in outside.auditor.listed("/v1/admin/transactions")]
    for statement in HISTORY:
        with pytest.raises((sqlite3.Error, RuntimeError)):
            execute(statement)
    assert [i async for i in outside.auditor.listed("/v1/admin/transactions")] == [item]


async def test_verify_says_when_it_could_not_run(tallywire: RunTallywire, tmp_path: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    done = await asyncio.to_thread(tallywire, "verify", database_url=nowhere)
    assert done.returncode == 2, done.stdout + done.stderr
    empty = f"sqlite+aiosqlite:///{tmp_path / 'missing' / 'none.db'}"
    done = await asyncio.to_thread(tallywire, "verify", database_url=empty)
    assert done.returncode in (0, 2), done.stdout + done.stderr
