"""
Postings verified per second, and how far the memory of the process grows meanwhile.

The journal is made by the ledger itself, in batches of many users' deposits and transfers.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from tallywire import open_ledger
from tallywire.ledger import BalanceManager, Change, Details, changes

from tests.services.postgres import PostgresServer

POSTINGS = int(os.environ.get("POSTINGS", "1000000"))
USERS = 5_000
AT_ONCE = 4_096


async def measure() -> None:
    """Measure on both databases and print a line each."""
    print(f"{'database':12}{'postings':>10}{'seconds':>9}{'postings/s':>12}{'grown MiB':>11}")
    with tempfile.TemporaryDirectory(prefix="tallywire-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        await _measure_on("sqlite", f"sqlite+aiosqlite:///{folder}/bench.db")
        data = folder / "postgres"
        data.mkdir()
        server = PostgresServer(data)
        server.start()
        try:
            await _measure_on("postgresql", server.url(server.create_database()))
        finally:
            server.stop()


async def _measure_on(database: str, url: str) -> None:
    async with open_ledger(url) as manager:
        for start in range(0, POSTINGS // 2, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, POSTINGS // 2))
            await manager.post_many([_change(manager, number) for number in numbers])
    # Measured in a process of its own, whose memory nothing else has used before.
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.verify", url, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await child.communicate()
    seconds, grown = map(float, printed.split())
    print(
        f"{database:12}{POSTINGS:10,}{seconds:9.1f}{POSTINGS / seconds:12,.0f}{grown:11.1f}",
        flush=True,
    )


def _change(manager: BalanceManager, number: int) -> Change:
    catalog, user, details = manager.catalog, f"user-{number % USERS}", Details(description="One")
    if number < USERS or number % 2:
        kind = manager.types["deposit"]
        return changes.directed(
            catalog, kind, user, "100", asset="USDT", book="main", details=details
        )
    kind, other = manager.types["transfer"], f"user-{(number + 1) % USERS}"
    return changes.transfer(
        catalog, kind, user, other, "1", asset="USDT", book="main", details=details
    )


async def _verify(url: str) -> None:
    """Print the seconds of one verification, and by how many MiB its memory grew."""
    async with open_ledger(url) as manager:
        # What every verification needs, whatever its size: loaded before the memory is read.
        await manager.verify(user_id="user-1")
        before = _peak()
        started = time.perf_counter()
        report = await manager.verify()
        seconds = time.perf_counter() - started
        assert report.errors == 0
        grown = _peak() - before
    print(seconds, grown / 1024)


def _peak() -> int:
    """The largest resident memory so far in KiB; `ru_maxrss` would begin with the parent's."""
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1])


if __name__ == "__main__":
    asyncio.run(_verify(sys.argv[1]))
