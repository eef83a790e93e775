"""Scheduled jobs: done, and by exactly one of several, whatever happens to it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tallywire.ledger.errors import LedgerError
from tallywire.operations.scheduler import LEASE, RENEWAL, Job, Scheduler

from tests.virtual_time import LoopClock, in_virtual_time


class Leases:
    """Leases in memory, on the loop's time; `away`: the database is."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self._clock = LoopClock()
        self._held: tuple[str, object] | None = None

    async def take(self, name: str, holder: str, seconds: float) -> bool:
        if holder in self.away:
            raise LedgerError("the database is away")
        now = self._clock.now()
        if self._held is not None:
            other, until = self._held
            if other != holder and until > now:  # type: ignore[operator]
                return False
        self._held = (holder, now + timedelta(seconds=seconds))
        return True

    async def give_back(self, name: str, holder: str) -> None:
        if holder in self.away:
            raise LedgerError("the database is away")
        if self._held is not None and self._held[0] == holder:
            self._held = None


class World:
    """Workers whose job takes half of its turn, and who was in it."""

    def __init__(self) -> None:
        self.leases = Leases()
        self.busy: set[str] = set()
        self.ran: list[str] = []
        self.workers: dict[str, asyncio.Task[None]] = {}

    def start(self, holder: str, *more: Job) -> None:
        async def work() -> None:
            assert not self.busy, f"{self.busy} and {holder} at once"
            self.busy.add(holder)
            self.ran.append(holder)
            try:
                await asyncio.sleep(0.5)
            finally:
                self.busy.discard(holder)

        scheduler = Scheduler(self.leases, holder, [*more, Job("work", 0.5, work)])
        self.workers[holder] = asyncio.create_task(scheduler.run())

    async def stop(self, holder: str) -> None:
        worker = self.workers.pop(holder)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    async def close(self) -> None:
        for holder in list(self.workers):
            await self.stop(holder)


@in_virtual_time
async def test_one_of_several_does_the_jobs() -> None:
    world = World()
    for holder in "abc":
        world.start(holder)
    await asyncio.sleep(10 * LEASE)
    assert len(world.ran) >= 10 * LEASE - 1
    assert set(world.ran) == {"a"}
    await world.close()


@in_virtual_time
async def test_one_that_ends_in_order_is_followed_at_once() -> None:
    world = World()
    world.start("a")
    world.start("b")
    await asyncio.sleep(1.2)
    await world.stop("a")
    assert not world.busy
    await asyncio.sleep(RENEWAL)
    assert world.busy == {"b"} or world.ran[-1] == "b"
    await world.close()


@in_virtual_time
async def test_one_that_cannot_renew_stops_before_another_begins() -> None:
    world = World()
    world.start("a")
    world.start("b")
    await asyncio.sleep(1)
    world.leases.away.add("a")
    # The job itself asserts that they never run at once.
    await asyncio.sleep(LEASE + RENEWAL)
    assert world.ran[-1] == "b"
    world.leases.away.clear()
    await asyncio.sleep(3 * LEASE)
    assert set(world.ran[-20:]) == {"b"}
    await world.close()


@in_virtual_time
async def test_with_the_database_away_nobody_works_and_then_one_does() -> None:
    world = World()
    world.leases.away.update("ab")
    world.start("a")
    world.start("b")
    await asyncio.sleep(LEASE)
    assert world.ran == []
    world.leases.away.clear()
    await asyncio.sleep(RENEWAL + 1)
    assert len(world.ran) > 0
    await world.close()


@in_virtual_time
async def test_a_job_that_fails_is_tried_again_and_harms_no_other() -> None:
    world, failed = World(), 0

    async def fail() -> None:
        nonlocal failed
        failed += 1
        raise RuntimeError("no")

    world.start("a", Job("fail", 1.0, fail))
    await asyncio.sleep(10)
    assert failed >= 9
    assert len(world.ran) >= 9
    await world.close()


@in_virtual_time
async def test_a_job_that_takes_an_hour_stops_no_other() -> None:
    world, done = World(), 0

    async def verify() -> None:
        nonlocal done
        await asyncio.sleep(3600)
        done += 1

    world.start("a", Job("verify", 10.0, verify))
    await asyncio.sleep(3601)
    assert done == 1
    assert len(world.ran) >= 3600
    assert set(world.ran) == {"a"}
    await world.close()


@in_virtual_time
async def test_a_job_whose_driver_answers_its_end_with_an_error_ends_all_the_same() -> None:
    world, begun = World(), 0

    async def read() -> None:
        nonlocal begun
        begun += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("no active connection") from None

    world.start("a", Job("read", 1.0, read))
    await asyncio.sleep(1)
    async with asyncio.timeout(10):
        await world.stop("a")
    assert begun == 1
