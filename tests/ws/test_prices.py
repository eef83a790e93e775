"""The stream `prices`: where it begins, what a pace it keeps, and what it leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tallywire.ws.connection import Bounds
from tallywire.ws.prices import EVERY_SECONDS, LOOK_SECONDS
from tallywire.ws.tail import MOST_TRANSACTIONS

from tests.virtual_time import in_virtual_time
from tests.ws.world import Json, Screen, price_of, running_world, settle

pytestmark = pytest.mark.usefixtures("over_each")

ALL = ["balances", "monitor", "prices"]


def told(messages: Sequence[Json]) -> list[dict[str, str]]:
    """The prices of each message, by pair."""
    return [{price["pair"]: price["price"] for price in m["prices"]} for m in messages]


def prices_of(screen: Screen) -> list[dict[str, str]]:
    return told(screen.of("prices"))


@in_virtual_time
async def test_the_stream_alone_begins_with_a_heartbeat_and_all_prices() -> None:
    async with running_world() as world:
        world.commit_many(3, "alice")
        world.board.move(BTC="1", ETH="2")
        screen = await world.joined(streams=["prices"], resume={"epoch": "epoch-1", "position": 1})
        assert screen.kinds() == ["heartbeat", "prices"]
        assert prices_of(screen) == [{"BTC": "1", "ETH": "2"}]
        assert screen.messages[0]["position"] == 3
        world.commit("alice")
        world.board.move(ETH="3")
        await settle()
        assert prices_of(screen)[1:] == [{"ETH": "3"}]
        assert screen.cursor == ("epoch-1", 3), "a price or another stream's change moved it"


@in_virtual_time
async def test_where_no_price_is_known_the_first_message_says_so() -> None:
    async with running_world() as world:
        screen = await world.joined(streams=["prices"])
        assert prices_of(screen) == [{}]
        world.board.move(BTC="1")
        await settle()
        assert prices_of(screen) == [{}, {"BTC": "1"}]


@in_virtual_time
async def test_prices_follow_the_inits() -> None:
    async with running_world() as world:
        world.commit("root")
        world.board.move(BTC="1")
        # What is committed between the inits and going live comes behind the prices.
        world.journal.after["monitor_totals"] = lambda: world.commit("root")
        both = await world.joined("auditor:root", streams=ALL)
        assert both.kinds()[:4] == [
            "user_balance_init",
            "admin_monitor_init",
            "prices",
            "balance_update",
        ]
        latest = await world.joined(streams=["balances", "prices"], mode="latest")
        assert latest.kinds() == ["user_balance_init", "prices"]


@in_virtual_time
async def test_prices_follow_what_was_replayed() -> None:
    async with running_world() as world:
        world.board.move(BTC="1")
        count = MOST_TRANSACTIONS + 50
        world.commit_many(count, "alice")
        world.journal.before["user_page"] = lambda: asyncio.sleep(2 * EVERY_SECONDS)
        screen = await world.joined(
            streams=["balances", "prices"], resume={"epoch": "epoch-1", "position": 0}
        )
        await settle()
        assert screen.messages[0]["count"] == count
        assert [m.get("replayed") for m in screen.messages[1:]] == [*[True] * count, None]
        assert prices_of(screen) == [{"BTC": "1"}]
        again = await world.joined(
            streams=["balances", "prices"], resume={"epoch": "epoch-1", "position": count}
        )
        assert again.kinds() == ["resumed", "prices"]


@in_virtual_time
async def test_a_pair_is_told_at_most_four_times_a_second_and_its_last_price_is() -> None:
    async with running_world() as world:
        world.board.move(BTC="0")
        screen = await world.joined(streams=["prices"])
        loop = asyncio.get_running_loop()
        came: list[float] = []
        screen._take_prices = lambda message: came.append(loop.time())  # type: ignore[method-assign]
        for number in range(1, 1_001):
            world.board.move(BTC=str(number))
            await asyncio.sleep(0.01)
        await settle()
        assert prices_of(screen)[-1] == {"BTC": "1000"}
        assert all(later - before > 1.0 for before, later in zip(came, came[4:], strict=False))
        assert 10 / EVERY_SECONDS - 2 < len(came) <= 41


@in_virtual_time
async def test_a_slow_screen_is_told_the_newest_and_nothing_in_between() -> None:
    async with running_world(bounds=Bounds(stuck_after=1_000.0)) as world:
        world.board.move(BTC="0", ETH="0", SOL="0")
        slow = await world.joined(streams=["prices"])
        quick = await world.joined(streams=["prices"])
        slow.pause()
        for number in range(1, 101):
            world.board.move(BTC=str(number), **({"ETH": "1"} if number == 50 else {}))
            await asyncio.sleep(1)
        # One of prices, and the heartbeats.
        assert slow.connection.unsent < 1_000
        slow.go_on()
        await settle()
        assert len(prices_of(quick)) == 101
        # One was on its way as the socket stopped taking.
        assert prices_of(slow)[1:] == [{"BTC": "1"}, {"BTC": "100", "ETH": "1"}]


@in_virtual_time
async def test_prices_are_told_while_balances_wait_for_the_database() -> None:
    async with running_world() as world:
        screen = await world.joined(streams=["prices"])
        behind = await world.joined(streams=["balances", "prices"])
        behind.pause()
        world.commit_many(6_000, "alice", description="d" * 500)
        world.journal.away = True
        behind.go_on()
        await asyncio.sleep(5)
        newcomer = world.screen(streams=["prices"])
        world.board.move(BTC="1")
        await settle()
        assert newcomer.kinds() == ["heartbeat", "prices"]
        assert prices_of(newcomer) == [{"BTC": "1"}]
        for each in (screen, behind):
            assert prices_of(each) == [{}, {"BTC": "1"}]
        world.journal.away = False
        await asyncio.sleep(10)
        assert behind.own == list(range(1, 6_001))


@in_virtual_time
async def test_the_first_to_watch_are_told_what_a_look_finds() -> None:
    async with running_world() as world:
        world.board.move(BTC="1", ETH="1")
        world.board.unseen = {"BTC": price_of("BTC", "2")}
        world.board.look_seconds = LOOK_SECONDS / 2
        first, second = world.screen(streams=["prices"]), world.screen(streams=["prices"])
        await settle()
        assert prices_of(first) == prices_of(second) == [{"BTC": "2", "ETH": "1"}]
        first.leave()
        await first.running
        assert world.board.watched
        second.leave()
        await second.running
        await settle()
        assert not world.board.watched
        world.board.unseen, world.board.look_seconds = {"BTC": price_of("BTC", "3")}, 5.0
        again = world.screen(streams=["prices"])
        await settle()
        assert prices_of(again) == [{"BTC": "2", "ETH": "1"}], "a slow look held it up"
        await asyncio.sleep(5)
        assert prices_of(again)[1:] == [{"BTC": "3"}]


@in_virtual_time
async def test_prices_alone_read_nothing() -> None:
    async with running_world() as world:
        world.commit_many(5_000, "alice")
        screen = await world.joined(streams=["prices"])
        world.journal.reads.clear()
        screen.pause()
        world.commit_many(20_000, "alice")
        world.board.move(BTC="1")
        await asyncio.sleep(3)
        screen.go_on()
        await asyncio.sleep(20)
        assert set(world.journal.reads) <= {"head", "page"}, "more than the feed's own"
        assert screen.of("heartbeat")[-1]["position"] == 25_000


@in_virtual_time
async def test_one_who_leaves_is_told_no_more() -> None:
    async with running_world() as world:
        screen = await world.joined(streams=["prices"])
        screen.leave()
        await screen.running
        world.board.move(BTC="1")
        await settle()
        task = screen.connection.telling_prices
        assert task is not None and task.cancelled()
