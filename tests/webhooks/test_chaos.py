"""Random answers, changes, workers that die: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from tallywire.ledger import UpdateFilter

from tests.services.receiver import Answer, Received, Receiver

from .conftest import World

ASSETS = ("USDT", "EUR")


def moody(random_: random.Random) -> Answer:
    return random_.choice(
        [Answer(), Answer(), Answer(500), Answer(cut=True), Answer(302, location="/"), Answer(429)]
    )


def told(received: list[Received]) -> Iterator[Received]:
    """Each message once, as who remembers ids sees them; a repeat is the same to the byte."""
    seen: dict[str, bytes] = {}
    for each in received:
        assert seen.setdefault(each.id, each.body) == each.body
    by_id = {each.id: each for each in received}
    yield from (by_id[id_] for id_ in seen)


@pytest.mark.parametrize("seed", range(2))
async def test_a_receiver_that_remembers_ids_has_the_journal(
    world: World, receiver: Receiver, seed: int
) -> None:
    random_ = random.Random(seed)
    world.draw = 0.0
    wanted = UpdateFilter(asset="EUR") if seed % 2 else UpdateFilter()
    await world.put(url=receiver.url, filter=wanted)
    receiver.answers += [moody(random_) for _ in range(40)]
    passing: list[int] = []
    async with AsyncExitStack() as stack:
        for _ in range(12):
            # One or two who deliver, who are stopped in the midst of it.
            async with AsyncExitStack() as workers:
                for _ in range(random_.choice([1, 1, 2])):
                    await workers.enter_async_context(world.delivering())
                for _ in range(random_.randrange(4)):
                    asset = random_.choice(ASSETS)
                    position = (await world.commit("ann", asset=asset))[0]
                    passing += [position] if wanted.asset in (None, asset) else []
                    await asyncio.sleep(random_.random() * 0.03)
                if random_.random() < 0.3:
                    # Another secret, the same address: what is under way goes on.
                    await world.put(url=receiver.url)
        await stack.enter_async_context(world.delivering())
        head = (await world.ledger.reader.head()).position
        await world.until(lambda row: row.examined == head and row.message is None)
    start = 0
    positions: list[int] = []
    for each in told(receiver.received):
        assert each.message["from"] == start
        start = each.message["to"]
        positions += each.positions
    assert positions == passing
