"""The hub's counting, closing and shutting down."""

from __future__ import annotations

import asyncio

import pytest

from tests.virtual_time import in_virtual_time
from tests.ws.world import running_world, settle


@pytest.mark.usefixtures("over_each")
@in_virtual_time
async def test_it_counts_users_and_connections() -> None:
    async with running_world() as world:
        await world.joined()
        second = await world.joined()
        await world.joined("user:bob")
        assert world.hub.connected() == {"users": 2, "connections": 3}
        assert len(world.hub.connections_of("alice")) == 2
        second.leave()
        await second.running
        assert world.hub.connected() == {"users": 2, "connections": 2}


@in_virtual_time
async def test_a_user_has_only_so_many_connections() -> None:
    async with running_world(user_connections=2) as world:
        first = await world.joined()
        await world.joined()
        third = world.screen()
        other = await world.joined("user:bob")
        await settle()
        assert third.close_code == 4009
        assert third.messages == [] and other.close_code is None
        first.leave()
        await first.running
        await world.joined()


@pytest.mark.usefixtures("over_each")
@in_virtual_time
async def test_disconnect_closes_that_user() -> None:
    async with running_world() as world:
        first, second = await world.joined(), await world.joined()
        other = await world.joined("user:bob")
        assert world.hub.disconnect("alice") == 2
        assert world.hub.disconnect("nobody") == 0
        await settle()
        assert (first.close_code, second.close_code, other.close_code) == (4010, 4010, None)
        assert world.hub.connected() == {"users": 1, "connections": 1}


@pytest.mark.usefixtures("over_each")
@in_virtual_time
async def test_a_token_that_runs_out_closes_in_its_second() -> None:
    async with running_world() as world:
        screen = await world.joined("user:alice:60")
        await asyncio.sleep(58.9)
        assert screen.close_code is None
        await asyncio.sleep(0.2)
        assert screen.close_code == 4001


@in_virtual_time
async def test_refresh_moves_that_second() -> None:
    async with running_world() as world:
        screen = await world.joined("user:alice:60")
        screen.say(type="refresh", token="user:alice:90")
        await asyncio.sleep(80)
        assert screen.messages[1] == {
            "type": "refreshed",
            "expires_at": "2026-11-21T09:01:30.000000Z",
        }
        assert screen.close_code is None
        await asyncio.sleep(10)
        assert screen.close_code == 4001


@pytest.mark.usefixtures("over_each")
@in_virtual_time
async def test_shutdown_sends_all_home_spread_over_time() -> None:
    async with running_world() as world:
        screens = [await world.joined(f"user:user-{number}") for number in range(10)]
        world.commit("user-3")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await world.hub.shutdown(spread=2.0)
        assert loop.time() - began < 1.0
        waits = []
        for screen in screens:
            assert screen.close_code == 1012
            last = screen.messages[-1]
            assert last["type"] == "server_shutdown"
            waits.append(last["reconnect_after_ms"])
        assert screens[3].own == [1]
        assert len(set(waits)) == 10
        assert max(waits) - min(waits) <= 2_000


@in_virtual_time
async def test_who_comes_while_it_shuts_down_is_sent_home_too() -> None:
    async with running_world() as world:
        await world.hub.shutdown()
        late = world.screen()
        await settle()
        assert (late.kinds(), late.close_code) == (["server_shutdown"], 1012)


@pytest.mark.usefixtures("over_each")
@in_virtual_time
async def test_shutdown_waits_for_those_who_are_on_also_where_nobody_was_before() -> None:
    async with running_world() as world:
        early = await world.joined()
        early.leave()
        await early.running
        screen = await world.joined()
        await world.hub.shutdown()
        assert screen.messages[-1]["type"] == "server_shutdown"
        assert screen.close_code == 1012
        assert screen.running.done()


@in_virtual_time
async def test_shutdown_does_not_wait_for_a_stuck_client() -> None:
    async with running_world() as world:
        stuck = await world.joined()
        stuck.pause()
        world.commit("alice")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await world.hub.shutdown()
        assert loop.time() - began <= 10.0
        assert stuck.close_code == 1012


@in_virtual_time
async def test_a_refused_message_reaches_the_client_with_its_code() -> None:
    async with running_world() as world:
        screen = await world.joined()
        screen.say(type="ping", req_id=1)
        world.hub.receive_text(screen.connection, "nonsense")
        await settle()
        assert screen.messages[-1] == {"type": "pong", "req_id": 1}
        assert screen.close_code == 4002
