"""The worker as a process: it takes over, and goes when told."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text
from tallywire.ledger import open_ledger
from tallywire.ledger.database import Database
from tallywire.ledger.proof.records import Moment
from tallywire.ledger.proof.runs import Asked

from .conftest import StartWorker


async def _holder(database: Database) -> str | None:
    async with database.read() as connection:
        found = await connection.execute(text("SELECT holder FROM leases"))
        return found.scalar_one_or_none()


async def _until_holder(database: Database, *, other_than: str | None, within: float) -> str:
    async with asyncio.timeout(within):
        while (holder := await _holder(database)) in (None, other_than):
            await asyncio.sleep(0.05)
    assert holder is not None
    return holder


@pytest.mark.parametrize(
    "database_url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True
)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_another_takes_over(
    worker: StartWorker, database_url: str, end: signal.Signals
) -> None:
    async with AsyncExitStack() as stack:
        database = Database(database_url)
        stack.push_async_callback(database.close)
        first = await worker(database_url)
        holder = await _until_holder(database, other_than=None, within=10)
        second = await worker(database_url)
        first.send_signal(end)
        code = await first.wait()
        assert code == (0 if end is signal.SIGTERM else -end)
        # In order: at the next asking, 5 s; else after the lease, 15 s, and the asking.
        within = 10 if end is signal.SIGTERM else 30
        assert await _until_holder(database, other_than=holder, within=within)
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
        assert await _holder(database) is None


async def test_a_hold_whose_time_is_over_is_released(
    worker: StartWorker, database_url: str
) -> None:
    """By exactly one of two workers, and on the journal for every screen."""
    await asyncio.gather(worker(database_url), worker(database_url))
    async with open_ledger(database_url) as manager:
        await manager.update_balance("alice", "10", "deposit")
        placed = await manager.place_hold("alice", "4", expires_in_s=1)
        async with asyncio.timeout(30):
            while (await manager.read_hold(placed.transaction_id)).status == "open":
                await asyncio.sleep(0.05)
        (newest, *_) = await manager.history("alice")
        assert newest["change_type"] == "hold_expired"
        assert newest["position"] == placed.position + 1
        assert newest["changes"][0]["available"] == "10.000000"


async def test_a_moment_that_passed_while_nobody_worked_is_made_up_for(
    worker: StartWorker, postgres_url: str
) -> None:
    """By exactly one of two workers; what they were told is the first of January, nothing else."""
    yearly = {
        "TALLYWIRE_VERIFY_SCHEDULE": "0 0 1 1 *",
        "TALLYWIRE_REBUILD_SCHEDULE": "off",
        "TALLYWIRE_TIMEZONE": "Asia/Tokyo",
    }
    async with open_ledger(postgres_url) as manager:
        long_ago = Asked(fix=True, moment=Moment("2001-01-01T00:00:00.000000Z", 1))
        await manager.proof.verify(long_ago)
        workers = await asyncio.gather(*(worker(postgres_url, **yearly) for _ in range(2)))
        records = manager.proof.verifications
        async with asyncio.timeout(20):
            while (newest := await records.newest_done()) is None or newest.number == 1:
                await asyncio.sleep(0.05)
        assert newest.due_at is not None and newest.due_at.endswith("-12-31T15:00:00.000000Z")
        for each in workers:
            each.send_signal(signal.SIGTERM)
            assert await each.wait() == 0
        assert len(await records.listed(None, 10)) == 2
