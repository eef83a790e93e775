"""A user's limit of connections, in this process and over all."""

from __future__ import annotations

import asyncio

from tests.virtual_time import in_virtual_time
from tests.ws.world import running_world, settle


class Others:
    """The other processes: they have `taken` of the 3 that a user may have, and answer late."""

    def __init__(self, taken: int) -> None:
        self.taken = taken
        self.counted: dict[str, int] = {}
        self.answers = asyncio.Event()
        self.answers.set()

    async def admit(self, user_id: str, count: int) -> bool:
        await self.answers.wait()
        admitted = count + self.taken <= 3
        if admitted:
            self.counted[user_id] = count
        return admitted

    async def others(self) -> dict[str, int]:
        return {"alice": self.taken, "zoe": 1} if self.taken else {}

    def left(self, user_id: str, count: int) -> None:
        self.counted[user_id] = count


@in_virtual_time
async def test_who_has_too_many_elsewhere_is_refused_here() -> None:
    others = Others(taken=2)
    async with running_world(elsewhere=others) as world:
        first = await world.joined()
        refused = world.screen()
        await settle()
        assert (refused.close_code, refused.messages) == (4009, [])
        assert others.counted == {"alice": 1}
        first.leave()
        await settle()
        assert others.counted == {"alice": 0}
        await world.joined()


@in_virtual_time
async def test_nothing_is_sent_before_the_others_have_answered() -> None:
    others = Others(taken=0)
    others.answers.clear()
    async with running_world(elsewhere=others) as world:
        screen = world.screen()
        await settle()
        assert screen.messages == []
        world.commit("alice")
        others.answers.set()
        await settle()
        assert screen.kinds() == ["user_balance_init"]
        assert screen.balances == {"main/alice/USDT": "1"}


@in_virtual_time
async def test_who_is_on_is_known_of_all_processes() -> None:
    async with running_world(elsewhere=Others(taken=2)) as world:
        await world.joined()
        await world.joined("user:bob")
        assert await world.hub.connections() == {"alice": 3, "bob": 1, "zoe": 1}
    async with running_world() as world:
        await world.joined()
        assert await world.hub.connections() == {"alice": 1}


@in_virtual_time
async def test_one_that_leaves_while_the_others_are_asked_is_forgotten() -> None:
    others = Others(taken=0)
    others.answers.clear()
    async with running_world(elsewhere=others) as world:
        screen = world.screen()
        await settle()
        screen.leave()
        await settle()
        others.answers.set()
        await settle()
        assert others.counted == {"alice": 0}


@in_virtual_time
async def test_the_limit_of_this_process_holds_whatever_the_others_say() -> None:
    others = Others(taken=-10)
    async with running_world(elsewhere=others, user_connections=2) as world:
        await world.joined()
        await world.joined()
        third = world.screen()
        await settle()
        assert third.close_code == 4009
        assert others.counted == {"alice": 2}
