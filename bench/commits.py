"""
Changes committed per second by one process, against one SQL transaction per change.

The peer does the least that any ledger must do for a change, by the same drivers: lock the
account, append a transaction and two postings, write the balance, COMMIT. Tallywire does
besides it idempotency, floors, digests, seals and encoded updates. Both flush to disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import asyncpg
from tallywire import open_ledger

from tests.services.postgres import PostgresServer

CALLERS = (64, 512)
ROUNDS = 3
TALLYWIRE_CHANGES = 16_384
PEER_CHANGES = 2_048
PEER_CONNECTIONS = 16

Change = Callable[[int], Awaitable[object]]

_TABLES = (
    "CREATE TABLE peer_accounts (id bigint PRIMARY KEY, balance bigint NOT NULL)",
    "CREATE TABLE peer_transactions (id INTEGER PRIMARY KEY {number}, description text NOT NULL)",
    "CREATE TABLE peer_postings (transaction_id bigint NOT NULL, account_id bigint NOT NULL,"
    " amount bigint NOT NULL, PRIMARY KEY (transaction_id, account_id))",
)


async def measure() -> None:
    """Measure on both databases and print a line each per number of callers."""
    print(
        f"{'database':12}{'callers':>8}{'accounts':>9}{'tallywire/s':>13}{'peer/s':>9}{'ratio':>7}"
    )
    with tempfile.TemporaryDirectory(prefix="tallywire-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        await _measure_on("sqlite", f"sqlite+aiosqlite:///{folder}/bench.db", folder)
        data = folder / "postgres"
        data.mkdir()
        server = PostgresServer(data, fsync=True)
        server.start()
        try:
            await _measure_on("postgresql", server.url(server.create_database()), folder)
        finally:
            server.stop()


async def _measure_on(database: str, url: str, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(open_ledger(url))
        if database == "sqlite":
            peer = _sqlite_peer(stack, folder / "peer.db")
        else:
            peer = await _postgres_peer(stack, url)

        async def change(caller: int) -> object:
            return await manager.update_balance(f"user-{caller}", "1", "deposit")

        await _per_second(change, 64, 1_024)
        for callers in CALLERS:
            for accounts in (callers, 1):
                ours, theirs = [], []
                for _ in range(ROUNDS):
                    ours.append(await _per_second(change, callers, TALLYWIRE_CHANGES, accounts))
                    theirs.append(await _per_second(peer, callers, PEER_CHANGES, accounts))
                ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
                print(
                    f"{database:12}{callers:8}{accounts:9}{median(ours):13,.0f}"
                    f"{median(theirs):9,.0f}{ratio:7.1f}",
                    flush=True,
                )


async def _per_second(change: Change, callers: int, changes: int, accounts: int = 64) -> float:
    async def call(caller: int) -> None:
        for _ in range(changes // callers):
            await change(caller % accounts)

    started = time.perf_counter()
    await asyncio.gather(*(call(caller) for caller in range(callers)))
    return changes // callers * callers / (time.perf_counter() - started)


async def _postgres_peer(stack: AsyncExitStack, url: str) -> Change:
    pool = await stack.enter_async_context(
        asyncpg.create_pool(url, min_size=PEER_CONNECTIONS, max_size=PEER_CONNECTIONS)
    )
    for table in _TABLES:
        await pool.execute(table.format(number="GENERATED ALWAYS AS IDENTITY"))
    await pool.execute("INSERT INTO peer_accounts SELECT n, 0 FROM generate_series(0, 600) n")

    async def change(caller: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.fetchval(
                "SELECT balance FROM peer_accounts WHERE id = $1 FOR UPDATE", caller
            )
            number = await connection.fetchval(
                "INSERT INTO peer_transactions (description) VALUES ('') RETURNING id"
            )
            await connection.execute(
                "INSERT INTO peer_postings VALUES ($1, $2, 1), ($1, -1, -1)", number, caller
            )
            await connection.execute(
                "UPDATE peer_accounts SET balance = balance + 1 WHERE id = $1", caller
            )

    return change


def _sqlite_peer(stack: AsyncExitStack, file: Path) -> Change:
    # One thread with one connection, as the driver has it: a change at a time, one hop each.
    thread = stack.enter_context(ThreadPoolExecutor(max_workers=1))
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    stack.callback(connection.close)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    for table in _TABLES:
        connection.execute(table.format(number="AUTOINCREMENT"))
    connection.executemany(
        "INSERT INTO peer_accounts VALUES (?, 0)", [(number,) for number in range(601)]
    )

    def in_one_transaction(caller: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT balance FROM peer_accounts WHERE id = ?", (caller,)).fetchone()
        number = connection.execute(
            "INSERT INTO peer_transactions (description) VALUES ('')"
        ).lastrowid
        connection.execute(
            "INSERT INTO peer_postings VALUES (?, ?, 1), (?, -1, -1)", (number, caller, number)
        )
        connection.execute("UPDATE peer_accounts SET balance = balance + 1 WHERE id = ?", (caller,))
        connection.execute("COMMIT")

    async def change(caller: int) -> None:
        await asyncio.get_running_loop().run_in_executor(thread, in_one_transaction, caller)

    return change
