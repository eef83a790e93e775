"""The simulated market in the database: whoever is first makes a step, and others go on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

from tallywire.ledger import open_ledger
from tallywire.ledger.clock import parse_rfc3339
from tallywire.ledger.trading.pairs import Pair
from tallywire.ledger.trading.prices import Price
from tallywire.prices.simulation import Simulation
from tallywire.prices.walk import next_price

from tests.ledger.conftest import ManualClock
from tests.ledger.raw import rows

SECOND = timedelta(seconds=1)


def one_more(pair: Pair, newest: Price | None) -> int | None:
    """A market that only rises; ETH-USDT has no price by itself."""
    if newest is None:
        return 100 if pair.pair == "BTC-USDT" else None
    return newest.price + 1


async def test_a_step_is_made_once_and_only_when_it_is_due(database_url: str) -> None:
    clock = ManualClock()
    async with (
        open_ledger(database_url, clock=clock) as one,
        open_ledger(database_url, clock=clock) as other,
    ):
        stamped: list[Price] = []
        for manager in (one, other):
            manager.prices.on_stamped(stamped.extend)
        for _ in range(5):
            each = (manager.prices.step(one_more, SECOND) for manager in (one, other) * 2)
            assert await asyncio.gather(*each) == [SECOND] * 4
            clock.move(seconds=0.4)
            assert await one.prices.step(one_more, SECOND) == timedelta(seconds=0.6)
            clock.move(seconds=0.6)
        assert [(price.number, price.price) for price in stamped] == [
            (number + 1, 100 + number) for number in range(5)
        ]
        assert await other.prices.newest() == stamped[-1:]


async def test_it_goes_on_from_a_price_that_was_pushed(database_url: str) -> None:
    clock = ManualClock()
    async with open_ledger(database_url, clock=clock) as manager:
        await manager.prices.push("ETH-USDT", "3200.00", actor="root", time="2026-01-01T00:00:00Z")
        clock.move(seconds=0.7)
        await manager.prices.push("BTC-USDT", "64000", actor="root")
        clock.move(seconds=0.3)
        await manager.prices.step(one_more, SECOND)
        newest = await manager.prices.newest()
        assert [(price.price, price.source) for price in newest] == [
            (6_400_000, "pushed"),
            (320_001, "simulated"),
        ]
    kept = await rows(database_url, "SELECT * FROM prices ORDER BY stamped_at, pair")
    assert [(row["pair"], row["source"], row["actor"], row["told_at"]) for row in kept] == [
        ("ETH-USDT", "pushed", "root", "2026-01-01T00:00:00.000000Z"),
        ("BTC-USDT", "pushed", "root", None),
        ("ETH-USDT", "simulated", "simulator", None),
    ]


async def test_a_pair_that_another_process_made_is_moved(sqlite_url: str) -> None:
    clock = ManualClock()
    async with (
        open_ledger(sqlite_url, clock=clock) as one,
        open_ledger(sqlite_url, clock=clock) as other,
    ):
        await other.administration.put_asset("XRP", scale=6, actor="root")
        await other.administration.put_pair("XRP-EUR", {"minimum": "1"}, actor="root")
        await other.prices.push("XRP-EUR", "2", actor="root")
        clock.move(seconds=1)
        await one.prices.step(one_more, SECOND)
        by_pair = {price.pair: price.price for price in await one.prices.newest()}
        assert by_pair == {"BTC-USDT": 100, "XRP-EUR": 201}


async def test_the_course_is_that_of_its_seed(sqlite_url: str) -> None:
    """Whichever process makes its steps: here one, killed between two of them, and the next."""
    clock = ManualClock()
    stamped: list[Price] = []
    for steps in (3, 2):
        async with open_ledger(sqlite_url, clock=clock) as manager:
            manager.prices.on_stamped(stamped.extend)
            simulation = Simulation(manager.prices, "a seed")
            for _ in range(steps):
                await simulation.step()
                clock.move(seconds=1.5)
    for pair, first in (("BTC-USDT", 6_400_000), ("ETH-USDT", 320_000)):
        course = [price for price in stamped if price.pair == pair]
        assert course[0].price == first
        assert [price.number for price in course] == [1, 2, 3, 4, 5]
        for before, after in pairwise(course):
            assert after.price == next_price("a seed", pair, after.number, before.price)
            assert parse_rfc3339(after.time) - parse_rfc3339(before.time) == 1.5 * SECOND
