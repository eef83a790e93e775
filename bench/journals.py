"""
Transactions exported and imported per second, every line verified, and the peak memory.

Each is a process of its own, its start included; the imports go to the other kind of database.
The memory at an empty journal is what the program itself takes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tallywire import open_ledger
from tallywire.ledger import Details, changes

from tests.services.postgres import PostgresServer

TRANSACTIONS = 100_000
USERS = 10_000
BATCH = 500


async def measure() -> None:
    """Measure both ways and print a line for each command."""
    print(f"{'command':8}{'database':12}{'transactions':>13}{'a second':>10}{'peak MiB':>10}")
    with tempfile.TemporaryDirectory(prefix="tallywire-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with _postgres(folder) as server:
            for count in (0, TRANSACTIONS):
                urls = {
                    "sqlite": f"sqlite+aiosqlite:///{folder}/from-{count}.db",
                    "postgresql": server.url(server.create_database()),
                }
                to = {
                    "postgresql": server.url(server.create_database()),
                    "sqlite": f"sqlite+aiosqlite:///{folder}/to-{count}.db",
                }
                for (kind, url), (other, copy) in zip(urls.items(), to.items(), strict=True):
                    await _fill(url, count)
                    file = f"{folder}/{kind}.jsonl"
                    _run("upgrade", url=copy)
                    _report("export", kind, count, _run("export", file, url=url))
                    _report("import", other, count, _run("import", file, url=copy))


@contextmanager
def _postgres(folder: Path) -> Iterator[PostgresServer]:
    data = folder / "postgres"
    data.mkdir()
    server = PostgresServer(data, fsync=True)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def _fill(url: str, count: int) -> None:
    """A journal of `count` transfers and deposits among USERS users."""
    async with open_ledger(url) as manager:
        deposit = manager.types["deposit"]
        place: Any = {"asset": "USDT", "book": "main", "details": Details(description="Bench")}
        for first in range(0, count, BATCH):
            prepared = [
                changes.directed(
                    manager.catalog, deposit, f"user-{number % USERS}", "12.50", **place
                )
                for number in range(first, first + BATCH)
            ]
            await manager.post_many(prepared)


def _run(*arguments: str, url: str) -> tuple[float, float]:
    """The seconds that a command takes, and the most memory that it had, in MiB."""
    started = time.perf_counter()
    with Path(os.devnull).open("wb") as silence:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "tallywire", *arguments],
            {**os.environ, "DATABASE_URL": url},
            file_actions=[(os.POSIX_SPAWN_DUP2, silence.fileno(), 1)],
        )
        _, status, usage = os.wait4(pid, 0)
    assert status == 0, arguments
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def _report(command: str, database: str, count: int, taken: tuple[float, float]) -> None:
    seconds, peak = taken
    print(f"{command:8}{database:12}{count:13,}{count / seconds:10,.0f}{peak:10.0f}", flush=True)
