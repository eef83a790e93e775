"""`tallywire mirrors`, and a server that is killed."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tallywire import open_ledger
from tallywire.ledger import BalanceManager

from .conftest import RunTallywire, StartServer
from .ledger.oracle import examine
from .ledger.raw import execute, held, rows
from .ledger.test_mirrors import USERS


@pytest.fixture
async def users(database_url: str) -> str:
    await execute(
        database_url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, balance DECIMAL(12, 2) NOT NULL DEFAULT 0)",
        "INSERT INTO users (id) VALUES (1), (2)",
    )
    return database_url


async def cents(manager: BalanceManager, user: str) -> int:
    return int(await manager.get_balance(user, asset="USD") * 100)


async def test_check_and_sync(users: str, tallywire: RunTallywire) -> None:
    async with open_ledger(users) as ledger:
        await ledger.register_mirror("balance", **USERS)
        for user in ("1", "2", "3"):
            await ledger.update_balance(user, "5.00", "deposit", asset="USD")
    missing = "MISMATCH MIRROR=LEDGER main/3/USD - 5.00 -"
    await execute(users, "UPDATE users SET balance = 7.25 WHERE id = 2")
    check = await asyncio.to_thread(tallywire, "mirrors", "check", database_url=users)
    drift = "MISMATCH MIRROR=LEDGER main/2/USD 7.25 5.00 2.25"
    assert (check.returncode, check.stdout.splitlines()) == (1, [drift, missing])
    sync = await asyncio.to_thread(tallywire, "mirrors", "sync", database_url=users)
    assert (sync.returncode, sync.stdout.splitlines()) == (1, [missing])
    assert "put right 1" in sync.stderr
    await execute(users, "INSERT INTO users VALUES (3, 0)")
    for _ in range(2):
        sync = await asyncio.to_thread(tallywire, "mirrors", "sync", database_url=users)
        assert (sync.returncode, sync.stdout) == (0, "")
    check = await asyncio.to_thread(tallywire, "mirrors", "check", database_url=users)
    assert (check.returncode, check.stdout) == (0, "")
    wrong = await asyncio.to_thread(
        tallywire, "mirrors", "check", "--book", "nowhere", database_url=users
    )
    assert wrong.returncode == 2
    assert await examine(users) == 4


async def test_a_killed_server(users: str, server: StartServer) -> None:
    """COMMITTED_SURVIVES_FAULT: the ledger and its mirror end at the same change."""
    async with open_ledger(users) as ledger:
        await ledger.register_mirror("balance", **USERS)
    running = await server(database_url=users)
    accepted = 0

    async def work(client: httpx.AsyncClient) -> None:
        nonlocal accepted
        body = {"user_id": "1", "asset": "USD", "amount": "0.01"}
        headers = running.headers("root", "admin")
        while True:
            answer = await client.post("/v1/deposits", json=body, headers=headers)
            assert answer.status_code == 201
            accepted += 1

    async with httpx.AsyncClient(base_url=running.base_url) as client:
        tasks = [asyncio.create_task(work(client)) for _ in range(8)]
        async with asyncio.timeout(30):
            while accepted < 40:
                await asyncio.sleep(0.005)
        await running.kill9()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, httpx.TransportError)
    async with open_ledger(users) as ledger:
        assert [page async for page in ledger.mirrors.check() if page] == []
        (row,) = await rows(users, "SELECT balance FROM users WHERE id = 1")
        assert round(row["balance"] * 100) == await cents(ledger, "1") >= accepted
    assert await examine(users) >= accepted


async def test_a_busy_row_by_http(postgres_url: str, server: StartServer) -> None:
    """503 with Retry-After, for its own change alone."""
    await execute(
        postgres_url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, balance DECIMAL(12, 2) NOT NULL)",
        "INSERT INTO users VALUES (1, 0), (2, 0)",
    )
    async with open_ledger(postgres_url) as ledger:
        await ledger.register_mirror("balance", **USERS)
    running = await server(database_url=postgres_url)
    async with (
        httpx.AsyncClient(base_url=running.base_url) as client,
        held(postgres_url, "UPDATE users SET balance = 1 WHERE id = 1"),
    ):
        answers = await asyncio.gather(
            *(
                client.post(
                    "/v1/deposits",
                    json={"user_id": user, "asset": "USD", "amount": "1.00"},
                    headers=running.headers("root", "admin"),
                )
                for user in ("1", "2")
            )
        )
    assert [answer.status_code for answer in answers] == [503, 201]
    assert answers[0].json()["code"] == "mirror_busy"
    assert int(answers[0].headers["Retry-After"]) > 0
