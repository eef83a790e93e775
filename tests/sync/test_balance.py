"""Telling every process of a commit."""

from __future__ import annotations

import asyncio

import pytest
from tallywire.ledger.updates import Batch
from tallywire.sync import balance, open_bus, sync_balance_across_all_systems
from tallywire.sync.bus_memory import MemoryBus

from tests.services.redis import RedisServer
from tests.sync.journal import Journal

from ..logged import logged


class BrokenBus(MemoryBus):
    async def publish(self, batch: Batch) -> None:
        raise ConnectionError("no bus today")


async def test_every_subscriber_gets_the_batch() -> None:
    bus = MemoryBus()
    heard: list[Batch] = []
    bus.subscribe(heard.append)
    bus.subscribe(heard.append)
    batch = Journal().commit("alice")
    await sync_balance_across_all_systems(batch, bus)
    assert heard == [batch, batch]


async def test_a_bus_that_is_away_is_logged_and_harms_nobody() -> None:
    with logged() as lines:
        await sync_balance_across_all_systems(Journal().commit_many(2), BrokenBus())
    (line,) = lines
    assert line["level"] == "warning"
    assert (line["first"], line["last"], line["reason"]) == (1, 2, "no bus today")


async def test_after_close_nobody_is_told() -> None:
    bus = MemoryBus()
    heard: list[Batch] = []
    bus.subscribe(heard.append)
    await bus.close()
    await bus.publish(Journal().commit())
    assert heard == []


def test_the_process_s_own_bus_is_the_one_of_the_environment(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("TALLYWIRE_SECRET", "s" * 32)
    monkeypatch.setattr(balance, "_process_bus", None)
    batch = Journal().commit("alice")

    async def run() -> None:
        other = open_bus(redis_server.url, ["s" * 32])
        arrived: asyncio.Queue[Batch] = asyncio.Queue()
        other.subscribe(arrived.put_nowait)
        await other.start()
        await sync_balance_across_all_systems(batch)
        async with asyncio.timeout(10):
            assert await arrived.get() == batch
        await other.close()
        assert balance._process_bus is not None
        await balance._process_bus[1].close()

    # A second event loop has a bus of its own again.
    for _ in range(2):
        asyncio.run(run())


def test_no_url_means_the_bus_of_this_process() -> None:
    assert isinstance(open_bus(None), MemoryBus)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="carrier://"):
        open_bus("carrier://pigeon")
