"""A user's connections are limited across processes, and Redis away refuses nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tallywire.sync.connection_counts import LEASE, PROCESSES, ConnectionCounts

from tests.services.redis import RedisServer

LIMIT = 3
Process = Callable[[], Awaitable[ConnectionCounts]]


@pytest.fixture
async def process(redis_server: RedisServer) -> AsyncIterator[Process]:
    """Starts one more process's counts, linked."""
    started: list[ConnectionCounts] = []

    async def start() -> ConnectionCounts:
        counts = ConnectionCounts(redis_server.url, LIMIT)
        started.append(counts)
        await counts.start()
        await until(lambda: counts._linked)
        return counts

    yield start
    for counts in started:
        await counts.close()


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


async def crash(counts: ConnectionCounts) -> None:
    """End as a killed process does: without a word to Redis."""
    assert counts._running is not None
    counts._closing = True
    counts._running.cancel()
    await asyncio.gather(counts._running, return_exceptions=True)


async def test_the_limit_holds_for_all_processes_together(process: Process) -> None:
    one, two, three = [await process() for _ in range(3)]
    assert await one.admit("alice", 1)
    assert await two.admit("alice", 1)
    assert await three.admit("alice", 1)
    assert not await one.admit("alice", 2)
    one.left("alice", 1)
    assert not await three.admit("alice", 2)
    three.left("alice", 1)
    assert await two.admit("bob", 1)


async def test_who_leaves_makes_room(process: Process) -> None:
    one, two = await process(), await process()
    for count in (1, 2, 3):
        assert await one.admit("alice", count)
    assert not await two.admit("alice", 1)
    two.left("alice", 0)
    one.left("alice", 2)
    # The one's word may come after the other's question.
    await until_admitted(two, 1)
    assert not await one.admit("alice", 3)


async def test_each_knows_what_the_others_have(process: Process, redis_server: RedisServer) -> None:
    one, two, three = [await process() for _ in range(3)]
    assert await one.others() == {}
    assert await one.admit("alice", 1)
    assert await two.admit("alice", 1)
    assert await two.admit("ünï", 1)
    assert await one.others() == {"alice": 1, "ünï": 1}
    assert await three.others() == {"alice": 2, "ünï": 1}
    two.left("ünï", 0)
    await crash(one)
    async with asyncio.timeout(LEASE + 2):
        while await three.others() != {"alice": 1}:
            await asyncio.sleep(0.02)
    await asyncio.to_thread(redis_server.pause)
    async with asyncio.timeout(3):
        assert await three.others() == {}
    redis_server.resume()


async def until_admitted(counts: ConnectionCounts, count: int, within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not await counts.admit("alice", count):
            counts.left("alice", count - 1)
            await asyncio.sleep(0.02)


async def test_the_rush_of_one_user_fills_the_limit_exactly(process: Process) -> None:
    one, two = await process(), await process()
    admitted = await asyncio.gather(
        *(counts.admit("alice", number) for number in range(1, 6) for counts in (one, two))
    )
    assert admitted.count(True) == LIMIT


async def test_a_process_that_ends_in_order_leaves_room_at_once(process: Process) -> None:
    one, two = await process(), await process()
    for count in (1, 2, 3):
        assert await one.admit("alice", count)
    await one.close()
    assert await two.admit("alice", 1)


async def test_a_process_that_dies_leaves_room_after_its_lease(
    process: Process, redis_server: RedisServer
) -> None:
    one, two = await process(), await process()
    for count in (1, 2, 3):
        assert await one.admit("alice", count)
    await crash(one)
    assert not await two.admit("alice", 1)
    two.left("alice", 0)
    await until_admitted(two, 1, within=LEASE + 2)
    assert redis_server.command("SCARD", PROCESSES) == "1"


async def test_a_living_process_keeps_its_lease(process: Process) -> None:
    one, two = await process(), await process()
    for count in (1, 2, 3):
        assert await one.admit("alice", count)
    await asyncio.sleep(LEASE + 0.5)
    assert not await two.admit("alice", 1)


@pytest.mark.parametrize("outage", ["kill9", "pause"])
async def test_redis_away_refuses_nobody_and_then_all_are_counted(
    process: Process, redis_server: RedisServer, outage: str
) -> None:
    one, two = await process(), await process()
    assert await one.admit("alice", 1)
    await asyncio.to_thread(getattr(redis_server, outage))
    for count in (2, 3, 4, 5):
        async with asyncio.timeout(3):
            assert await one.admit("alice", count)
    if outage == "pause":
        redis_server.resume()
    else:
        await asyncio.to_thread(redis_server.start)
    await until(lambda: one._linked and two._linked)
    async with asyncio.timeout(5):
        while await two.admit("alice", 1):
            two.left("alice", 0)
            await asyncio.sleep(0.02)


async def test_what_redis_forgot_is_counted_again(
    process: Process, redis_server: RedisServer
) -> None:
    one, two = await process(), await process()
    for count in (1, 2, 3):
        assert await one.admit("alice", count)
    redis_server.command("FLUSHALL")
    async with asyncio.timeout(5):
        while await two.admit("alice", 1):
            two.left("alice", 0)
            await asyncio.sleep(0.02)
