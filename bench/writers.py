"""
Changes committed per second by one, two and four writer processes on one PostgreSQL.

Several writers give availability more than speed: every commit takes the one clock. The ratio
is to the single writer of the same round.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import uvloop
from tallywire import open_ledger

from tests.services.postgres import PostgresServer

PROCESSES = (1, 2, 4)
ROUNDS = 3
CALLERS = 256
CHANGES = 16_384


async def measure() -> None:
    """Measure and print a line per number of processes."""
    print(f"{'processes':>9}{'callers':>9}{'changes/s':>11}{'ratio':>7}")
    with tempfile.TemporaryDirectory(prefix="tallywire-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        data = folder / "postgres"
        data.mkdir()
        server = PostgresServer(data, fsync=True)
        server.start()
        try:
            url = server.url(server.create_database())
            rounds = [
                [await _per_second(url, processes) for processes in PROCESSES]
                for _ in range(ROUNDS)
            ]
        finally:
            server.stop()
    for index, processes in enumerate(PROCESSES):
        rate = median(each[index] for each in rounds)
        ratio = median(each[index] / each[0] for each in rounds)
        print(f"{processes:9}{CALLERS:9}{rate:11,.0f}{ratio:7.2f}", flush=True)


async def _per_second(url: str, processes: int) -> float:
    """All writers together, timed from when the last of them is ready."""
    writers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.writers", url, str(number), str(processes)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(processes)
    ]
    for writer in writers:
        assert writer.stdout is not None
        await writer.stdout.readline()
    started = time.perf_counter()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
    ended = [await writer.wait() for writer in writers]
    assert not any(ended), "a writer failed"
    return CHANGES / (time.perf_counter() - started)


async def _write(url: str, number: int, processes: int) -> None:
    callers = CALLERS // processes
    async with open_ledger(url) as manager:

        async def call(caller: int) -> None:
            for _ in range(CHANGES // CALLERS):
                await manager.update_balance(f"user-{number}-{caller}", "1", "deposit")

        await manager.update_balance(f"user-{number}-0", "1", "deposit")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(call(caller) for caller in range(callers)))


if __name__ == "__main__":
    uvloop.run(_write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
