"""Verification and rebuild at their moments, on real databases, by any number of workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
from tallywire.ledger import BalanceManager, open_ledger
from tallywire.ledger.proof import records
from tallywire.ledger.proof.records import ALIVE, KINDS, Kind, Verification
from tallywire.ledger.proof.runs import Asked
from tallywire.operations.scheduled_proof import ATTEMPTS, ScheduledProof
from tallywire.schedules import Schedule

from ..ledger.raw import execute, rows

NIGHTLY = Schedule("0 2 * * *", "Europe/Berlin")
MONTHLY = Schedule("0 3 1 * *", "Europe/Berlin")


class Time:
    """The true time, which the test moves."""

    def __init__(self, start: str) -> None:
        self.now = datetime.fromisoformat(start).replace(tzinfo=UTC)

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


class Clock:
    """A process's clock, which is wrong by so many seconds."""

    def __init__(self, time: Time, wrong: float) -> None:
        self._time = time
        self._wrong = timedelta(seconds=wrong)

    def now(self) -> datetime:
        return self._time.now + self._wrong


class Worker:
    """A process that believes to be the only one: the lease does not hold it back."""

    def __init__(self, manager: BalanceManager, clock: Clock) -> None:
        self.manager = manager
        self._clock = clock
        self._scheduled: dict[Kind, ScheduledProof] = {}
        self.restart()

    def restart(self, verify: Schedule = NIGHTLY, rebuild: Schedule = MONTHLY) -> None:
        """Forget everything, as a process does that ends and comes back."""
        schedules: dict[Kind, Schedule] = {"verify": verify, "rebuild": rebuild}
        self._scheduled = {
            kind: ScheduledProof(self.manager.proof, self._clock, kind, schedules[kind])
            for kind in KINDS
        }

    async def look(self, kind: Kind) -> None:
        await self._scheduled[kind].look()


async def everyone_looks(workers: list[Worker]) -> None:
    await asyncio.gather(*(worker.look(kind) for worker in workers for kind in KINDS))


async def recorded(worker: Worker) -> list[Verification]:
    """What the schedule asked for, the oldest first."""
    listed = await worker.manager.proof.verifications.listed(None, 1000)
    return [each for each in reversed(listed) if each.due_at is not None]


def told(found: list[Verification]) -> list[tuple[str, str, int | None, str]]:
    return [
        (each.kind, (each.due_at or "")[5:16].replace("T", " "), each.attempt, each.status)
        for each in found
    ]


Start = Callable[..., Awaitable[list[Worker]]]


@pytest.fixture
async def start(database_url: str) -> AsyncIterator[Start]:
    """Starts workers, one for each number of seconds by which its clock is wrong."""
    async with AsyncExitStack() as stack:

        async def start_all(time: Time, *wrong: float) -> list[Worker]:
            workers = []
            for seconds in wrong:
                clock = Clock(time, seconds)
                manager = await stack.enter_async_context(open_ledger(database_url, clock=clock))
                workers.append(Worker(manager, clock))
            await workers[0].manager.update_balance("alice", "5", "deposit")
            return workers

        yield start_all


async def test_each_moment_is_one_workers_whatever_their_clocks_say(start: Start) -> None:
    """Over the night in which Berlin's clocks go back, and the first of the next month."""
    time = Time("2026-10-24T23:59:50")
    workers = await start(time, -4, 0, 4)
    for _ in range(4):
        await everyone_looks(workers)
        # The first is behind: for it the moment before is the newest, which others passed by.
        workers[0].restart()
        await everyone_looks(workers)
        time.move(seconds=7)
    for hours in (1, 23, 24, 24 * 5, 1, 1, 1, 24):
        time.move(hours=hours)
        for _ in range(3):
            await everyone_looks(workers)
        workers[hours % 3].restart()
    assert told(await recorded(workers[0])) == [
        ("verify", "10-25 00:00", 1, "done"),
        ("verify", "10-26 01:00", 1, "done"),
        # Nobody looked for five days: the newest moment of them is made up for.
        ("verify", "10-31 01:00", 1, "done"),
        ("verify", "11-01 01:00", 1, "done"),
        ("rebuild", "11-01 02:00", 1, "done"),
        ("verify", "11-02 01:00", 1, "done"),
    ]


async def test_both_due_at_once_are_both_done(start: Start) -> None:
    time = Time("2026-11-30T20:00:00")
    workers = await start(time, 0, 1)
    for worker in workers:
        worker.restart(rebuild=NIGHTLY)
    time.move(hours=6)
    leases = workers[0].manager.leases
    assert await leases.take("fixing verification", "somebody's", ALIVE)
    await everyone_looks(workers)
    assert await recorded(workers[0]) == []
    await leases.give_back("fixing verification", "somebody's")
    for _ in range(2):
        await everyone_looks(workers)
    found = await recorded(workers[0])
    assert {(each.kind, each.attempt, each.status) for each in found} == {
        ("verify", 1, "done"),
        ("rebuild", 1, "done"),
    }


async def test_what_drifted_is_put_right_and_the_record_says_so(
    start: Start, database_url: str
) -> None:
    time = Time("2026-11-30T20:00:00")
    (worker,) = await start(time, 0)
    await execute(database_url, "UPDATE accounts SET balance = balance + 7 WHERE owner = 'alice'")
    time.move(hours=6)
    await worker.look("verify")
    time.move(seconds=10)
    await worker.look("verify")
    (done,) = await recorded(worker)
    assert (done.requested_by, done.kind, done.fix) == ("schedule", "verify", True)
    assert done.due_at == "2026-12-01T01:00:00.000000Z"
    assert done.report is not None
    assert (done.report.fixed, done.report.errors) == (1, 0)
    repairs = await rows(database_url, "SELECT actor FROM transactions WHERE type = 'repair'")
    assert repairs == [{"actor": "schedule"}]
    await execute(database_url, "UPDATE accounts SET held = 3 WHERE owner = 'alice'")
    time.move(hours=1)
    await worker.look("rebuild")
    rebuilt = (await recorded(worker))[-1]
    assert rebuilt.kind == "rebuild" and rebuilt.report is not None
    # The accounts alone, without the journal's transactions.
    assert (rebuilt.report.checked, rebuilt.report.fixed) == (2, 1)


def stand_still(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Verifications of `worker` go on for ever; what is returned is set once one has begun."""
    begun = asyncio.Event()

    async def verify(**asked: Any) -> NoReturn:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(worker.manager.proof._verifier, "verify", verify)
    return begun


async def test_one_that_was_killed_midway_is_made_again_by_another(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time("2026-11-30T20:00:00")
    killed, other = await start(time, 0, 3)
    begun = stand_still(killed, monkeypatch)
    time.move(hours=6)
    stuck = asyncio.create_task(killed.look("verify"))
    await begun.wait()
    await other.look("verify")
    assert told(await recorded(other)) == [("verify", "12-01 01:00", 1, "running")]
    time.move(seconds=ALIVE + 1)
    await other.look("verify")
    await other.look("verify")
    first, second = await recorded(other)
    assert first.error == "the process that ran it has gone"
    assert told([first, second]) == [
        ("verify", "12-01 01:00", 1, "failed"),
        ("verify", "12-01 01:00", 2, "done"),
    ]
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)


async def test_one_that_is_stopped_is_made_again_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time("2026-11-30T20:00:00")
    stopped, other = await start(time, 0, 0)
    begun = stand_still(stopped, monkeypatch)
    time.move(hours=6)
    job = asyncio.create_task(stopped.look("verify"))
    await begun.wait()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    await other.look("verify")
    first, second = await recorded(other)
    assert (first.status, first.error) == ("failed", "it was stopped before its end")
    assert (second.status, second.attempt) == ("done", 2)


async def test_one_that_fails_is_not_made_for_ever(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time("2026-11-30T20:00:00")
    workers = await start(time, 0, 0)

    async def verify(**asked: Any) -> NoReturn:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        for worker in workers:
            patched.setattr(worker.manager.proof._verifier, "verify", verify)
        time.move(hours=6)
        for _ in range(ATTEMPTS):
            for worker in workers:
                await asyncio.gather(worker.look("verify"), return_exceptions=True)
    found = await recorded(workers[0])
    assert [(each.attempt, each.error) for each in found] == [
        (attempt, "no memory") for attempt in range(1, ATTEMPTS + 1)
    ]
    time.move(days=1)
    await everyone_looks(workers)
    assert told(await recorded(workers[0]))[ATTEMPTS:] == [("verify", "12-02 01:00", 1, "done")]


async def test_a_ledger_that_never_ran_one_waits_for_the_next_moment(start: Start) -> None:
    time = Time("2026-12-01T12:00:00")
    (worker,) = await start(time, 0)
    await everyone_looks([worker])
    assert await recorded(worker) == []
    # One that stood by since before the moment makes it, however late it comes to lead.
    time.move(hours=30)
    await everyone_looks([worker])
    assert told(await recorded(worker)) == [("verify", "12-02 01:00", 1, "done")]


async def test_the_oldest_records_go_and_what_the_schedule_did_last_stays(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "KEPT", 3)
    time = Time("2026-12-01T00:30:00")
    (worker,) = await start(time, 0)
    for hours in (1, 1, 24):
        time.move(hours=hours)
        for _ in range(2):
            await everyone_looks([worker])
    for _ in range(4):
        time.move(seconds=ALIVE + 1)
        await worker.manager.proof.verify(Asked(actor="root"))
    listed = await worker.manager.proof.verifications.listed(None, 100)
    assert [(each.requested_by, each.kind, (each.due_at or "")[5:10]) for each in listed] == [
        ("root", "verify", ""),
        ("root", "verify", ""),
        ("root", "verify", ""),
        ("schedule", "verify", "12-02"),
        ("schedule", "rebuild", "12-01"),
    ]
    worker.restart()
    await everyone_looks([worker])
    assert len(await recorded(worker)) == 2
