"""Slow, stuck and vanished clients: bounded memory, nothing lost, nobody else held up."""

from __future__ import annotations

import asyncio

import pytest
from tallywire.ws import joining
from tallywire.ws.connection import Bounds

from tests.virtual_time import in_virtual_time
from tests.ws.world import running_world, settle

LONG = "d" * 500


@pytest.mark.parametrize(
    "hello",
    [
        {},
        {"streams": ["monitor"]},
        {"streams": ["balances", "monitor"]},
        {"streams": ["balances", "monitor"], "filter": {"user_id": "alice"}},
        {"mode": "latest"},
    ],
    ids=["balances", "monitor", "both", "filtered", "latest"],
)
@in_virtual_time
async def test_a_slow_client_is_bounded_and_misses_nothing(hello: dict[str, object]) -> None:
    async with running_world() as world:
        slow = await world.joined("auditor:alice", **hello)
        quick = await world.joined("auditor:alice", **hello)
        slow.pause()
        for _ in range(80):
            world.commit_many(50, "alice", "bob", description=LONG)
            await asyncio.sleep(0.01)
            assert slow.connection.unsent <= 262_144
        assert not slow.connection.live or hello.get("mode") == "latest"
        slow.go_on()
        await asyncio.sleep(10)
        assert slow.connection.live and quick.connection.live
        assert slow.own == quick.own
        assert slow.monitored == quick.monitored
        assert slow.balances == quick.balances
        assert slow.close_code is None
        world.commit("alice")
        await settle()
        assert slow.balances == quick.balances


@in_virtual_time
async def test_all_slow_clients_together_are_bounded() -> None:
    bounds = Bounds(connection_bytes=65_536, total_bytes=400_000)
    async with running_world(bounds=bounds) as world:
        slow = [await world.joined() for _ in range(20)]
        for screen in slow:
            screen.pause()
        world.commit_many(2_000, "alice", description=LONG)
        await settle()
        # Beyond the total an empty queue still takes one message.
        assert world.hub._unsent.bytes <= 400_000 + 20 * 2_000
        for screen in slow:
            screen.go_on()
        await asyncio.sleep(20)
        for screen in slow:
            assert screen.own == list(range(1, 2_001))


@in_virtual_time
async def test_a_monitor_that_joins_as_the_only_other_falls_behind_is_served() -> None:
    async with running_world(bounds=Bounds(connection_bytes=2_000)) as world:
        slow = await world.joined("auditor:alice", streams=["monitor"])
        slow.pause()
        world.commit_many(20, "alice", description=LONG)
        await asyncio.sleep(0.1)
        assert slow.connection.live
        # Gathered for the slow one still, and sent on before the other joins.
        world.commit("alice")
        quick = await world.joined("auditor:bob", streams=["monitor"])
        assert not slow.connection.live and quick.connection.live
        shown = len(quick.monitored)
        world.commit("alice")
        await asyncio.sleep(0.1)
        assert len(quick.monitored) == shown + 1


@in_virtual_time
async def test_a_message_beyond_the_bound_passes_an_empty_queue() -> None:
    bounds = Bounds(connection_bytes=20_000)
    async with running_world(bounds=bounds) as world:
        screen = await world.joined("auditor:alice", streams=["balances", "monitor"])
        world.commit_many(100, "alice", description=LONG)
        world.commit("alice", accounts=400)
        world.commit_many(100, "alice")
        await settle()
        assert screen.own == list(range(1, 202))
        assert [p for p, _ in screen.monitored] == list(range(1, 202))


@in_virtual_time
async def test_few_read_the_journal_at_once() -> None:
    async with running_world() as world:
        slow = [await world.joined(f"user:user-{number}") for number in range(40)]
        for screen in slow:
            screen.pause()
        for number in range(40):
            world.commit_many(500, f"user-{number}", description=LONG)
        most, now = 0, 0
        original = world.journal.user_page

        async def counted(*asked: object) -> object:
            nonlocal most, now
            now += 1
            most = max(most, now)
            try:
                return await original(*asked)  # type: ignore[arg-type]
            finally:
                now -= 1

        world.journal.user_page = counted  # type: ignore[assignment, method-assign]
        for screen in slow:
            screen.go_on()
        await asyncio.sleep(20)
        assert all(len(screen.own) == 500 for screen in slow)
        assert 1 < most <= joining.READS_AT_ONCE


@in_virtual_time
async def test_too_far_behind_is_a_reset() -> None:
    bounds = Bounds(stuck_after=1_000.0)
    async with running_world(bounds=bounds) as world:
        slow = await world.joined()
        slow.pause()
        for _ in range(25):
            world.commit_many(500, "alice")
        slow.go_on()
        await asyncio.sleep(5)
        assert slow.messages[-1]["reason"] == "reset"
        assert slow.balances == {"main/alice/USDT": "12500"}
        assert slow.cursor == ("epoch-1", 12_500)


@in_virtual_time
async def test_a_client_that_takes_nothing_is_closed() -> None:
    async with running_world() as world:
        stuck, idle = await world.joined(), await world.joined("user:bob")
        stuck.pause()
        world.commit("alice")
        await asyncio.sleep(29)
        assert stuck.close_code is None
        await asyncio.sleep(20)
        assert stuck.close_code == 4008
        assert idle.close_code is None
        assert world.hub.connected() == {"users": 1, "connections": 1}


@pytest.mark.usefixtures("over_each")
@in_virtual_time
async def test_a_client_that_takes_a_little_is_not_stuck() -> None:
    async with running_world() as world:
        slow = await world.joined()
        for _ in range(10):
            slow.pause()
            world.commit_many(100, "alice")
            await asyncio.sleep(20)
            slow.go_on()
            await asyncio.sleep(0.1)
        assert slow.close_code is None
        assert len(slow.own) == 1_000


@in_virtual_time
async def test_while_the_database_is_away_a_slow_client_waits() -> None:
    async with running_world() as world:
        slow = await world.joined()
        slow.pause()
        world.commit_many(6_000, "alice", description=LONG)
        world.journal.away = True
        slow.go_on()
        await asyncio.sleep(10)
        assert 0 < len(slow.own) < 6_000
        assert slow.close_code is None
        world.journal.away = False
        await asyncio.sleep(10)
        assert slow.own == list(range(1, 6_001))


@pytest.mark.usefixtures("over_each")
@in_virtual_time
async def test_one_who_vanishes_in_the_middle_of_everything_is_forgotten() -> None:
    async with running_world() as world:
        behind = await world.joined()
        behind.pause()
        world.commit_many(6_000, "alice", description=LONG)
        joining_now = world.screen()
        for screen in (behind, joining_now):
            screen.leave()
            await screen.running
        assert world.hub.connected() == {"users": 0, "connections": 0}
        assert world.hub._unsent.bytes == 0
        world.commit("alice")
        await settle()
