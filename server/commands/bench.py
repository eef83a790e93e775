"""`bench`: how many changes a second this machine commits."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import click

from .running import CannotRun, log_warnings, read_settings


@click.command()
@click.option("--callers", type=click.IntRange(1, 4096), default=64, show_default=True)
@click.option("--accounts", type=click.IntRange(1, 100_000), default=64, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=5.0, show_default=True)
@click.option("--database", metavar="URL", help="An empty ledger; else a SQLite file made for it.")
def bench(callers: int, accounts: int, seconds: float, database: str | None) -> None:
    """
    Deposit from many callers at once for a while, and tell changes a second and waiting times.

    Never on DATABASE_URL: in a SQLite file of its own, or in the empty ledger of --database,
    whose accounts it fills.

    \b
    tallywire bench
    tallywire bench --callers 512 --database postgresql://tallywire@127.0.0.1/scratch
    """
    log_warnings(read_settings())
    with tempfile.TemporaryDirectory() as folder:
        url = database or f"sqlite+aiosqlite:///{Path(folder) / 'bench.db'}"
        taken = asyncio.run(_deposit(url, callers, accounts, seconds))
    taken.sort()
    milliseconds = [1000 * taken[int(share * (len(taken) - 1))] for share in (0.5, 0.99, 1)]
    click.echo(
        f"{len(taken) / seconds:,.0f} changes/s by {callers} callers on {accounts} accounts"
        f" ({os.cpu_count()} processors); waited, ms: median {milliseconds[0]:.1f},"
        f" 99% {milliseconds[1]:.1f}, most {milliseconds[2]:.1f}"
    )


async def _deposit(url: str, callers: int, accounts: int, seconds: float) -> list[float]:
    """How long each deposit took, in seconds."""
    from ..ledger import open_ledger

    taken: list[float] = []
    async with open_ledger(url, upgrade=True) as manager:
        if (await manager.reader.head()).position:
            raise CannotRun("bench needs an empty ledger: this one has transactions")
        until = time.perf_counter() + seconds

        async def call(caller: int) -> None:
            made = caller
            while (started := time.perf_counter()) < until:
                await manager.update_balance(f"user-{made % accounts}", "1", "deposit")
                taken.append(time.perf_counter() - started)
                made += callers

        await asyncio.gather(*(call(caller) for caller in range(callers)))
    return taken
