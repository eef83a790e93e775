"""What an event stream does otherwise than a WebSocket: how it begins, is refused, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tallywire.ledger.errors import NotAllowed, NotAuthenticated, Overloaded
from tallywire.ws.sse import TooManyConnections

from tests.virtual_time import in_virtual_time

from .streams import StreamScreen
from .test_connection_limit import Others
from .world import World, running_world, settle


@pytest.fixture(autouse=True)
def over_sse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "kind", StreamScreen)


def opened(world: World, token: str = "user:alice", **wanted: Any) -> StreamScreen:  # noqa: S107
    screen = world.screen(token, **wanted)
    assert isinstance(screen, StreamScreen)
    return screen


@in_virtual_time
async def test_the_answer_begins_with_its_first_message() -> None:
    others = Others(taken=0)
    others.answers.clear()
    async with running_world(elsewhere=others) as world:
        screen = opened(world)
        await settle()
        assert screen.started is None
        others.answers.set()
        await settle()
        assert screen.started == {"content-type": "text/event-stream", "x-accel-buffering": "no"}
        assert screen.kinds() == ["user_balance_init"]


async def too_many_here(world: World) -> None:
    for _ in range(3):
        await world.joined()


async def too_many_elsewhere(world: World) -> None:
    others = world.hub._elsewhere
    assert isinstance(others, Others)
    others.taken = 3


async def the_database_is_away(world: World) -> None:
    world.journal.away = True


async def the_database_hangs(world: World) -> None:
    world.journal.before["snapshot"] = lambda: asyncio.sleep(3_600)


async def it_shuts_down(world: World) -> None:
    await world.hub.shutdown()


async def revoked_meanwhile(world: World) -> None:
    world.journal.before["snapshot"] = lambda: asyncio.sleep(5)
    asyncio.get_running_loop().call_later(2, world.hub.disconnect, "alice")


async def a_user_wants_the_monitor(world: World) -> None:
    pass


REFUSED: tuple[tuple[Callable[[World], Any], type[Exception]], ...] = (
    (too_many_here, TooManyConnections),
    (too_many_elsewhere, TooManyConnections),
    (the_database_is_away, Overloaded),
    (the_database_hangs, Overloaded),
    (it_shuts_down, Overloaded),
    (revoked_meanwhile, NotAuthenticated),
    (a_user_wants_the_monitor, NotAllowed),
)


@pytest.mark.parametrize(("happens", "refusal"), REFUSED, ids=lambda each: each.__name__)
@in_virtual_time
async def test_what_ends_it_before_its_first_message_is_a_refusal(
    happens: Callable[[World], Any], refusal: type[Exception]
) -> None:
    async with running_world(elsewhere=Others(taken=0), user_connections=3) as world:
        await happens(world)
        streams = ["monitor" if happens is a_user_wants_the_monitor else "balances"]
        screen = opened(world, streams=streams)
        await asyncio.sleep(11)
        assert type(screen.refused) is refusal
        assert screen.started is None and screen.running.done()
        assert all(other.connection in world.hub._connections for other in world.screens[:-1])
        assert len(world.hub._connections) == len(world.screens) - 1


@in_virtual_time
async def test_whose_request_is_dropped_while_it_joins_is_forgotten() -> None:
    async with running_world() as world:
        world.journal.before["snapshot"] = lambda: asyncio.sleep(5)
        screen = opened(world)
        await settle()
        screen.running.cancel()
        await asyncio.gather(screen.running, return_exceptions=True)
        assert world.hub._connections == {}
        world.screens.clear()


@in_virtual_time
async def test_one_that_takes_nothing_is_forgotten_and_its_answer_ends_once_it_reads() -> None:
    async with running_world() as world:
        stuck, idle = opened(world), opened(world, "user:bob")
        await settle()
        stuck.pause()
        world.commit("alice")
        await asyncio.sleep(30)
        assert world.hub.connected() == {"users": 2, "connections": 2}
        await asyncio.sleep(20)
        assert world.hub.connected() == {"users": 1, "connections": 1}
        assert not stuck.running.done()
        stuck.go_on()
        await stuck.running
        assert (stuck.kinds(), stuck.ended) == (["user_balance_init"], True)
        assert idle.close_code is None


@in_virtual_time
async def test_one_that_takes_nothing_does_not_hold_a_shutdown_up() -> None:
    async with running_world() as world:
        stuck = opened(world)
        await settle()
        stuck.pause()
        world.commit("alice")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await world.hub.shutdown()
        assert loop.time() - began <= 10.0
        await settle()
        assert world.hub._connections == {}


@in_virtual_time
async def test_a_shutdown_tells_browsers_too_when_to_come_back() -> None:
    async with running_world() as world:
        screens = [opened(world, f"user:user-{number}") for number in range(3)]
        await settle()
        await world.hub.shutdown(spread=3.0)
        assert [screen.retry for screen in screens] == [500, 1_500, 2_500]
        for screen in screens:
            assert screen.messages[-1]["reconnect_after_ms"] == screen.retry
            assert (screen.close_code, screen.ended) == (1012, True)
