"""Live delivery: who gets what, the monitor's ranges, heartbeats, repairs, a new epoch."""

from __future__ import annotations

import asyncio

import pytest
from tallywire.ws.live import GATHER_SECONDS

from tests.virtual_time import in_virtual_time
from tests.ws.world import World, running_world, settle

pytestmark = pytest.mark.usefixtures("over_each")

BOTH = ["balances", "monitor"]


@in_virtual_time
async def test_every_screen_of_a_user_gets_the_users_own_and_nothing_else() -> None:
    async with running_world() as world:
        first, second = await world.joined(), await world.joined()
        other = await world.joined("user:bob")
        world.commit_many(3, "alice")
        world.commit("bob", "alice")
        world.commit()
        await settle()
        assert first.own == second.own == [1, 2, 3, 4]
        assert other.own == [4]
        assert {m["user_id"] for m in other.of("balance_update")} == {"bob"}
        assert "actor" not in first.of("balance_update")[0]


@in_virtual_time
async def test_live_delivery_reads_nothing() -> None:
    async with running_world() as world:
        screen = await world.joined()
        monitor = await world.joined("auditor:root", streams=["monitor"])
        world.journal.reads.clear()
        for _ in range(50):
            world.commit("alice")
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        assert len(screen.own) == len(monitor.monitored) == 50
        assert set(world.journal.reads) <= {"head"}, "more than the feed's own look"


@in_virtual_time
async def test_the_monitor_is_gathered_for_50_ms() -> None:
    async with running_world() as world:
        monitor = await world.joined("auditor:root", streams=["monitor"])
        for _ in range(10):
            world.commit("alice", "bob")
            await asyncio.sleep(GATHER_SECONDS / 20)
        assert monitor.of("admin_balance_monitor") == []
        await asyncio.sleep(GATHER_SECONDS)
        (message,) = monitor.of("admin_balance_monitor")
        assert (message["from"], message["to"]) == (0, 10)
        assert [(u["position"], u["user_id"]) for u in message["updates"]] == [
            (position, user) for position in range(1, 11) for user in ("alice", "bob")
        ]
        assert message["updates"][0]["epoch"] == "epoch-1"
        assert message["updates"][0]["actor"] == "root"


@in_virtual_time
async def test_the_monitor_is_gathered_up_to_64_kib_and_splits_no_position() -> None:
    async with running_world() as world:
        monitor = await world.joined("auditor:root", streams=["monitor"])
        users = [f"user-{number}" for number in range(30)]
        for _ in range(40):
            world.commit(*users, description="d" * 200)
        world.commit(*(f"user-{number}" for number in range(300)))
        await settle()
        messages = monitor.of("admin_balance_monitor")
        sizes = [len(str(message)) for message in messages[:-1]]
        assert len(messages) > 10
        assert max(sizes) < 80_000
        ends = [message["to"] for message in messages]
        assert ends == sorted(set(ends)) and ends[-1] == 41
        assert len(messages[-1]["updates"]) == 300
        assert len(monitor.monitored) == 40 * 30 + 300


@in_virtual_time
async def test_what_a_filter_drops_is_covered_by_the_range() -> None:
    async with running_world() as world:
        monitor = await world.joined(
            "auditor:root", streams=["monitor"], filter={"user_id": "alice"}
        )
        everything = await world.joined("auditor:root", streams=["monitor"])
        world.commit_many(5, "bob")
        await settle()
        assert monitor.of("admin_balance_monitor") == []
        world.commit("alice", "bob")
        world.commit("bob")
        await settle()
        (message,) = monitor.of("admin_balance_monitor")
        assert (message["from"], message["to"]) == (0, 7)
        assert monitor.monitored == [(6, "alice")]
        assert len(everything.monitored) == 8
        world.commit_many(2, "bob")
        await asyncio.sleep(15)
        assert monitor.of("heartbeat")[-1]["position"] == 9
        world.commit("alice")
        await settle()
        last = monitor.of("admin_balance_monitor")[-1]
        assert (last["from"], last["to"]) == (9, 10)


@in_virtual_time
async def test_ones_own_update_comes_before_the_monitor_that_covers_it() -> None:
    async with running_world() as world:
        screen = await world.joined("auditor:root", streams=BOTH)
        for _ in range(5):
            world.commit("root", "bob")
        await settle()
        # The screen asserts the order and that only the monitor moved its cursor.
        assert screen.own == [1, 2, 3, 4, 5]
        assert screen.kinds()[2:] == ["balance_update"] * 5 + ["admin_balance_monitor"]


@in_virtual_time
async def test_a_monitor_that_joins_in_the_middle_of_gathering_sees_each_once() -> None:
    async with running_world() as world:
        first = await world.joined("auditor:root", streams=["monitor"])
        for _ in range(30):
            world.commit("alice")
            await asyncio.sleep(0.003)
            world.screen("auditor:eve", streams=["monitor"])
        await settle()
        assert len(first.monitored) == 30
        for late in world.screens[1:21]:
            (init,) = late.of("admin_monitor_init")
            assert [p for p, _ in late.monitored] == list(range(init["position"] + 1, 31))


@in_virtual_time
async def test_heartbeats_carry_what_was_examined_for_the_connection() -> None:
    async with running_world() as world:
        screen = await world.joined()
        world.commit_many(7, "bob")
        await asyncio.sleep(15)
        assert [m["position"] for m in screen.of("heartbeat")] == [7]
        assert screen.of("heartbeat")[0]["epoch"] == "epoch-1"


@in_virtual_time
async def test_the_heartbeat_of_a_connection_that_is_behind_is_behind() -> None:
    async with running_world() as world:
        slow, quick = await world.joined(), await world.joined()
        slow.pause()
        for _ in range(60):
            world.commit_many(50, "alice", description="d" * 500)
            await asyncio.sleep(0.4)
        # Two heartbeats were due; what they say was queued for the slow one before them.
        slow.go_on()
        await settle()
        assert slow.own == quick.own == list(range(1, 3_001))
        assert [m["position"] for m in quick.of("heartbeat")] != []
        for beat in slow.of("heartbeat"):
            before = slow.messages[: slow.messages.index(beat)]
            assert [m["position"] for m in before if m["type"] == "balance_update"] == list(
                range(1, beat["position"] + 1)
            )
            assert beat["position"] < 1_000


@in_virtual_time
async def test_a_heartbeat_does_not_overtake_what_the_monitor_gathers() -> None:
    async with running_world() as world:
        monitor = await world.joined("auditor:root", streams=["monitor"])
        await asyncio.sleep(14 - GATHER_SECONDS / 2)
        world.commit_many(3, "alice")
        await settle()
        assert monitor.kinds()[1:] == ["admin_balance_monitor", "heartbeat"]
        assert monitor.messages[-1]["position"] == 3


@in_virtual_time
async def test_a_repair_is_an_init_in_place_of_an_update() -> None:
    async with running_world() as world:
        world.commit("alice")
        alice = await world.joined()
        bob = await world.joined("user:bob")
        both = await world.joined("auditor:alice", streams=BOTH)
        world.commit("alice", "bob")
        world.commit("alice", type="repair")
        world.commit("alice")
        await settle()
        for screen in (alice, both):
            assert screen.own == [2, 4]
            init = screen.of("user_balance_init")[-1]
            assert (init["reason"], init["position"]) == ("repair", 3)
            assert init["balances"][0]["balance"] == "3"
            assert "replayed" not in init
            assert screen.balances == {"main/alice/USDT": "4"}
        assert alice.kinds()[1:] == ["balance_update", "user_balance_init", "balance_update"]
        assert bob.own == [2]
        assert [p for p, user in both.monitored if user == "alice"] == [2, 3, 4]


@in_virtual_time
async def test_a_repair_counts_as_one_replayed_message() -> None:
    async with running_world() as world:
        world.commit("alice", accounts=600)
        world.commit("alice", accounts=600)
        world.commit("alice", type="repair", accounts=600)
        world.commit("alice", accounts=600)
        screen = world.screen(resume={"epoch": "epoch-1", "position": 1})
        screen.balances = dict.fromkeys(world.journal.state("alice", 1), "1")
        await settle()
        assert screen.messages[0]["count"] == 3
        replayed = [(m["type"], m["position"]) for m in screen.messages if m.get("replayed")]
        assert replayed == [
            ("balance_update", 2),
            ("user_balance_init", 3),
            ("balance_update", 4),
        ]
        assert set(screen.balances.values()) == {"4"}


@in_virtual_time
async def test_a_trading_control_is_a_message_of_its_own() -> None:
    async with running_world() as world:
        screen = await world.joined()
        latest = await world.joined(mode="latest")
        monitor = await world.joined("auditor:root", streams=["monitor"])
        world.commit("alice")
        world.commit("alice", type="trading_control", control={"book": "demo", "mode": "win"})
        await settle()
        expected = {
            "type": "trading_control_update",
            "epoch": "epoch-1",
            "position": 2,
            "user_id": "alice",
            "book": "demo",
            "mode": "win",
            "timestamp": "2026-11-21T09:00:00.000000Z",
        }
        assert screen.messages[-1] == latest.messages[-1] == expected
        assert latest.kinds()[1:] == ["balance_latest", "trading_control_update"]
        assert monitor.monitored == [(1, "alice"), (2, "alice")]
        update = monitor.of("admin_balance_monitor")[-1]["updates"][-1]
        assert (update["changes"], update["control"]) == ([], {"book": "demo", "mode": "win"})
        again = world.screen(resume={"epoch": "epoch-1", "position": 1})
        await settle()
        assert again.messages[0]["count"] == 1
        assert again.messages[1:] == [{**expected, "replayed": True}]


LOST = {
    "kind": "option",
    "id": "01900000-0000-7000-8000-000000000001",
    "user_id": "alice",
    "book": "demo",
    "pair": "BTC-USDT",
    "price_source": "pushed",
    "client_order_id": None,
    "status": "settled",
    "direction": "up",
    "stake": "10",
    "duration_s": 30,
    "payout_rate": "0.8000",
    "payout": "8",
    "opens_at": "2026-11-21T08:59:30.000000Z",
    "expires_at": "2026-11-21T09:00:00.000000Z",
    "settlement_age_s": 60,
    "open_price": "64000.00",
    "settle_price": "63999.99",
    "settle_source": "pushed",
    "outcome": "lose",
    "forced": False,
    "settled_at": "2026-11-21T09:00:00.000000Z",
    "reason": None,
}


@in_virtual_time
async def test_an_option_that_loses_is_told_though_it_changes_no_account() -> None:
    async with running_world() as world:
        world.commit("alice")
        alice = await world.joined()
        latest = await world.joined(mode="latest")
        monitor = await world.joined(
            "auditor:root", streams=["monitor"], filter={"book": "demo", "asset": "USDT"}
        )
        elsewhere = await world.joined("auditor:root", streams=["monitor"], filter={"book": "main"})
        bob = await world.joined("user:bob")
        world.commit("alice", type="option_settled", trade=LOST)
        await settle()
        again = await world.joined(resume={"epoch": "epoch-1", "position": 1})
        assert [m["count"] for m in again.of("resumed")] == [1]
        for screen in (alice, again):
            update = screen.messages[-1]
            assert (update["changes"], update["trade"]) == ([], LOST)
            assert screen.cursor == ("epoch-1", 2)
        assert monitor.monitored == [(2, "alice")]
        assert elsewhere.monitored == [] and bob.own == []
        assert latest.kinds() == ["user_balance_init"]
        await asyncio.sleep(15)
        assert latest.cursor == ("epoch-1", 2)
        assert latest.kinds()[1:] == ["heartbeat"]


@in_virtual_time
async def test_the_control_of_an_init_is_as_of_its_position() -> None:
    async with running_world() as world:
        set_control(world, "win")
        world.commit("alice")
        # Set while the inits are read: told live, since it is of a later position.
        world.journal.after["snapshot"] = lambda: late(world, "snapshot", "lose")
        alice = await world.joined()
        world.journal.after["monitor_totals"] = lambda: late(world, "monitor_totals", "normal")
        both = await world.joined("auditor:alice", streams=BOTH)
        world.commit("alice", type="repair")
        set_control(world, "win")
        await settle()
        for screen, modes in ((alice, ["win", "normal"]), (both, ["lose", "normal"])):
            inits = screen.of("user_balance_init")
            assert [(m["reason"], m["control"]["mode"]) for m in inits] == [
                ("connect", modes[0]),
                ("repair", modes[1]),
            ]
            assert screen.of("trading_control_update")[-1]["mode"] == "win"
        resumed = await world.joined(resume={"epoch": "epoch-1", "position": 3})
        (repair,) = resumed.of("user_balance_init")
        assert (repair["reason"], repair["control"]["mode"]) == ("repair", "normal")
        bob = await world.joined("user:bob")
        assert bob.messages[0]["control"] is None


def set_control(world: World, mode: str) -> None:
    control = {"book": "demo", "mode": mode}
    world.commit("alice", type="trading_control", control=control)


def late(world: World, read: str, mode: str) -> None:
    """Set a control once, behind `read`."""
    del world.journal.after[read]
    set_control(world, mode)


@in_virtual_time
async def test_a_new_epoch_resets_every_screen() -> None:
    async with running_world() as world:
        world.commit("alice")
        alice = await world.joined()
        both = await world.joined("auditor:root", streams=BOTH)
        prices = await world.joined(streams=["prices"])
        world.commit("alice", "root")
        del world.journal.committed[1:]
        world.journal.epoch = "epoch-2"
        await asyncio.sleep(3)
        init = alice.messages[-1]
        assert (init["type"], init["reason"]) == ("user_balance_init", "reset")
        assert (init["epoch"], init["position"]) == ("epoch-2", 1)
        assert both.kinds()[-2:] == ["user_balance_init", "admin_monitor_init"]
        assert both.messages[-2]["reason"] == "reset"
        assert prices.messages[-1]["epoch"] == "epoch-2"
        alice.balances = {"main/alice/USDT": "2"}
        alice.own.clear()
        world.commit("alice")
        await settle()
        assert alice.own == [2]
        assert (alice.cursor, both.cursor) == (("epoch-2", 2), ("epoch-2", 2))


@in_virtual_time
async def test_positions_of_a_new_epoch_are_new_even_where_they_are_lower() -> None:
    async with running_world() as world:
        screen = await world.joined("auditor:root", streams=BOTH)
        world.commit_many(5, "root")
        await settle()

        def race() -> None:
            world.journal.after.clear()
            world.commit("root")

        world.journal.after["monitor_totals"] = race
        world.journal.committed.clear()
        world.journal._newest.clear()
        world.journal.epoch = "epoch-2"
        screen.own.clear()
        screen.monitored.clear()
        await asyncio.sleep(3)
        assert (screen.own, screen.monitored) == ([1], [(1, "root")])
        assert screen.balances == {"main/root/USDT": "1"}


@in_virtual_time
async def test_an_epoch_that_changes_under_a_join() -> None:
    async with running_world() as world:
        world.commit("alice")

        def renew() -> None:
            world.journal.epoch = "epoch-2"

        world.journal.after["snapshot"] = renew
        screen = world.screen()
        await asyncio.sleep(5)
        assert screen.connection.live
        assert screen.messages[-1]["epoch"] == "epoch-2"


@in_virtual_time
async def test_mode_latest_sends_balances_as_at_the_end_of_its_range() -> None:
    async with running_world() as world:
        screen = await world.joined(mode="latest")
        world.commit_many(500, "alice")
        world.commit("bob")
        await settle()
        (message,) = screen.of("balance_latest")
        assert message["from"] == 0 and message["to"] >= 500
        (balance,) = message["balances"]
        assert (balance["balance"], balance["seq"]) == ("500", 500)
        assert "amount" not in balance
        assert screen.of("balance_update") == []


@in_virtual_time
async def test_mode_latest_waits_for_a_clear_socket() -> None:
    async with running_world() as world:
        screen = await world.joined(mode="latest")
        screen.pause()
        for _ in range(100):
            world.commit("alice")
            await asyncio.sleep(0.01)
        screen.go_on()
        await settle()
        assert len(screen.of("balance_latest")) == 2
        assert screen.balances == {"main/alice/USDT": "100"}


@pytest.mark.parametrize("streams", [["balances"], BOTH])
@in_virtual_time
async def test_mode_latest_resumes(streams: list[str]) -> None:
    async with running_world() as world:
        world.commit_many(50, "root")
        world.commit("root", type="repair")
        world.commit_many(50, "root")
        screen = world.screen(
            "auditor:root",
            mode="latest",
            streams=streams,
            resume={"epoch": "epoch-1", "position": 10},
        )
        await settle()
        assert screen.messages[0]["count"] == 0
        assert screen.balances == {"main/root/USDT": "101"}
        assert "repair" in {m.get("reason") for m in screen.messages}
        assert screen.cursor == ("epoch-1", 101)
