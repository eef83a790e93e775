"""Joining: snapshots, races with commits, resumes that fit and that do not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tallywire.ledger.updates import Batch

from tests.sync.journal import Journal
from tests.virtual_time import in_virtual_time
from tests.ws.world import running_world, settle


def resume(position: int, epoch: str = "epoch-1", **heads: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "position": position,
        "heads": {f"main/{user}/USDT": {"seq": seq} for user, seq in heads.items()},
    }


@in_virtual_time
async def test_an_init_then_each_update_once() -> None:
    async with running_world() as world:
        world.commit("alice")
        screen = await world.joined()
        (init,) = screen.messages
        assert (init["type"], init["reason"], init["position"]) == (
            "user_balance_init",
            "connect",
            1,
        )
        assert (init["part"], init["parts"], init["control"]) == (1, 1, None)
        world.commit("bob")
        world.commit("alice", "bob")
        await settle()
        assert screen.own == [3]
        assert screen.balances == {"main/alice/USDT": "2"}


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
@in_virtual_time
async def test_a_commit_around_the_snapshot_is_neither_lost_nor_repeated(
    told: bool, when: str
) -> None:
    async with running_world() as world:
        world.commit("alice")

        def race() -> None:
            hooks.clear()
            (world.commit if told else world.journal.commit)("alice")

        hooks = world.journal.before if when == "before" else world.journal.after
        hooks["snapshot"] = race
        screen = await world.joined()
        await asyncio.sleep(3)
        assert screen.balances == {"main/alice/USDT": "2"}
        assert screen.own == ([] if when == "before" else [2])


@pytest.mark.parametrize("hello", [{}, {"streams": ["balances", "monitor"]}, {"mode": "latest"}])
@in_virtual_time
async def test_commits_in_every_step_of_a_join(hello: dict[str, Any]) -> None:
    async with running_world() as world:
        bursts: list[asyncio.Task[None]] = []

        async def burst() -> None:
            for _ in range(30):
                world.commit("alice", "bob")
                await asyncio.sleep(0)

        def begin() -> None:
            bursts.append(asyncio.create_task(burst()))

        # sleep(0) lets one step of the join happen between any two commits.
        world.journal.after["snapshot"] = begin
        world.journal.after["monitor_totals"] = begin
        screen = await world.joined("auditor:alice", **hello)
        assert len(bursts) == 1
        assert screen.balances == {"main/alice/USDT": "30"}
        world.commit("alice")
        await settle()
        assert screen.balances == {"main/alice/USDT": "31"}


@in_virtual_time
async def test_a_snapshot_below_the_feed_is_read_again() -> None:
    async with running_world() as world:
        world.commit("alice")
        current = world.journal.snapshot
        stale = await current(["alice"])
        world.commit("alice")
        answers = [stale]

        async def lagging(users: list[str]) -> Any:
            return answers.pop() if answers else await current(users)

        world.journal.snapshot = lagging  # type: ignore[assignment, method-assign]
        screen = await world.joined()
        assert [message["position"] for message in screen.messages] == [2]
        assert screen.own == []


@in_virtual_time
async def test_a_snapshot_ahead_of_the_feed_waits_for_it() -> None:
    async with running_world() as world:
        late = world.journal.commit("alice")
        screen = world.screen()
        await asyncio.sleep(0.02)
        assert [message["position"] for message in screen.messages] == [1]
        assert not screen.connection.live
        world.feed.offer(late, "bus")
        world.commit("alice")
        await settle()
        assert screen.connection.live
        assert screen.own == [2]


@in_virtual_time
async def test_many_who_join_at_once_share_their_snapshots() -> None:
    async with running_world() as world:
        screens = [world.screen(f"user:user-{number}") for number in range(200)]
        await settle()
        assert all(screen.connection.live for screen in screens)
        assert world.journal.reads.count("snapshot") <= 3
        assert not {"user_page", "page"} & set(world.journal.reads)


@in_virtual_time
async def test_many_balances_come_in_parts_of_one_position() -> None:
    async with running_world() as world:
        world.commit("alice", accounts=1_201)
        screen = await world.joined()
        assert [m["part"] for m in screen.messages] == [1, 2, 3]
        assert {m["parts"] for m in screen.messages} == {3}
        assert {m["position"] for m in screen.messages} == {1}
        assert len(screen.balances) == 1_201


@in_virtual_time
async def test_both_inits_have_one_position_even_while_commits_flow() -> None:
    async with running_world() as world:
        world.commit("root")
        world.journal.after["monitor_totals"] = lambda: world.commit("root")
        screen = world.screen("auditor:root", streams=["balances", "monitor"])
        await settle()
        assert screen.kinds()[:2] == ["user_balance_init", "admin_monitor_init"]
        own, everybody = screen.messages[:2]
        assert own["position"] == everybody["position"] == 1
        assert [balance["balance"] for balance in own["balances"]] == ["1"]
        assert everybody["connected"] == {"users": 1, "connections": 1}
        assert [update["position"] for update in everybody["recent"]] == [1]
        assert (screen.own, screen.monitored) == ([2], [(2, "root")])


@in_virtual_time
async def test_recent_has_the_50_newest_that_pass() -> None:
    async with running_world() as world:
        for _ in range(60):
            world.commit_many(4, "bob")
            world.commit("alice", "carol")
        screen = await world.joined(
            "auditor:root", streams=["monitor"], filter={"user_id": "alice"}
        )
        (init,) = screen.messages
        assert [update["position"] for update in init["recent"]] == list(range(300, 50, -5))
        assert {update["user_id"] for update in init["recent"]} == {"alice"}
        assert init["recent"][0]["epoch"] == "epoch-1"
        assert init["recent"][0]["actor"] == "root"


@in_virtual_time
async def test_prices_alone_begin_with_a_heartbeat() -> None:
    async with running_world() as world:
        world.commit("alice")
        screen = await world.joined(streams=["prices"])
        assert screen.kinds() == ["heartbeat", "prices"]
        world.commit("alice")
        await asyncio.sleep(15)
        assert [m["position"] for m in screen.of("heartbeat")] == [1, 2]


@in_virtual_time
async def test_a_resume_that_fits_replays_exactly_what_was_missed() -> None:
    async with running_world() as world:
        world.commit("alice")
        for _ in range(4):
            world.commit("alice")
            world.commit("bob")
        screen = world.screen(resume=resume(1, alice=1))
        screen.balances = {"main/alice/USDT": "1"}
        await settle()
        world.commit("alice")
        await settle()
        first, *rest = screen.messages
        assert first == {
            "type": "resumed",
            "epoch": "epoch-1",
            "from": 1,
            "to": 9,
            "count": 4,
        }
        assert screen.own == [2, 4, 6, 8, 10]
        assert [message.get("replayed", False) for message in rest] == [True] * 4 + [False]


@pytest.mark.parametrize("told", [True, False])
@in_virtual_time
async def test_commits_during_a_replay_follow_it_live(told: bool) -> None:
    journal = Journal()
    journal.commit_many(6_000, "alice")
    async with running_world(journal=journal) as world:

        def race() -> None:
            if len(journal.reads) < 20:
                (world.commit if told else journal.commit)("alice")

        journal.after["user_page"] = race
        screen = world.screen(resume=resume(5_500))
        screen.balances = {"main/alice/USDT": "5500"}
        await asyncio.sleep(5)
        first, *rest = screen.messages
        assert (first["to"], first["count"]) == (6_000, 500)
        assert [m["position"] for m in rest if m.get("replayed")] == list(range(5_501, 6_001))
        assert screen.own == list(range(5_501, journal.position + 1))
        assert journal.position > 6_000


@in_virtual_time
async def test_a_resume_that_missed_nothing_replays_nothing() -> None:
    async with running_world() as world:
        world.commit("alice")
        screen = await world.joined(resume=resume(1))
        (only,) = screen.messages
        assert (only["type"], only["from"], only["to"], only["count"]) == ("resumed", 1, 1, 0)


@in_virtual_time
async def test_a_short_absence_costs_no_read() -> None:
    async with running_world() as world:
        world.commit_many(100, "alice")
        world.journal.reads.clear()
        screen = world.screen(resume=resume(50))
        screen.balances = {"main/alice/USDT": "50"}
        await asyncio.sleep(0.5)
        assert len(screen.own) == 50
        assert world.journal.reads == []


@pytest.mark.parametrize(
    "unfit",
    [
        resume(1, "epoch-0"),
        resume(99),
        resume(2**63 - 1),
        resume(1, alice=7),
        resume(1, bob=1),
    ],
    ids=["other epoch", "above the head", "far above", "another head", "another's account"],
)
@in_virtual_time
async def test_a_resume_that_does_not_fit_is_a_reset(unfit: dict[str, Any]) -> None:
    async with running_world() as world:
        world.commit_many(2, "alice")
        screen = await world.joined(resume=unfit)
        (init,) = screen.messages
        assert (init["type"], init["reason"], init["position"]) == (
            "user_balance_init",
            "reset",
            2,
        )


@pytest.mark.parametrize(("missed", "kind"), [(10_000, "resumed"), (10_001, "user_balance_init")])
@in_virtual_time
async def test_more_than_10_000_missed_is_a_reset(missed: int, kind: str) -> None:
    journal = Journal()
    journal.commit_many(missed, "alice")
    async with running_world(journal=journal) as world:
        screen = world.screen(resume=resume(0))
        await asyncio.sleep(60)
        assert screen.messages[0]["type"] == kind
        assert screen.balances == {"main/alice/USDT": str(missed)}
        assert len(screen.own) == (missed if kind == "resumed" else 0)


@in_virtual_time
async def test_many_positions_of_others_are_not_missed_messages() -> None:
    journal = Journal()
    journal.commit("alice")
    journal.commit_many(12_000, "bob")
    journal.commit("alice")
    async with running_world(journal=journal) as world:
        screen = world.screen(resume=resume(1))
        screen.balances = {"main/alice/USDT": "1"}
        await settle()
        assert (screen.messages[0]["type"], screen.messages[0]["count"]) == ("resumed", 1)
        assert screen.own == [12_002]


@in_virtual_time
async def test_a_resume_above_a_lagging_feed_fits() -> None:
    async with running_world() as world:
        batches: list[Batch] = [world.journal.commit("alice") for _ in range(3)]
        screen = world.screen(resume=resume(2, alice=2))
        screen.balances = {"main/alice/USDT": "2"}
        await asyncio.sleep(0.01)
        for batch in batches:
            world.feed.offer(batch, "bus")
        await settle()
        assert screen.messages[0]["type"] == "resumed"
        assert screen.own == [3]


@in_virtual_time
async def test_a_monitor_goes_on_from_where_it_was() -> None:
    async with running_world() as world:
        world.commit("alice")
        world.commit_many(6_000, "bob", "root")
        screen = world.screen("auditor:root", streams=["balances", "monitor"], resume=resume(1))
        screen.balances = {}
        await asyncio.sleep(5)
        world.commit("root")
        await settle()
        first = screen.messages[0]
        assert (first["type"], first["count"]) == ("resumed", 6_000)
        replayed = [m for m in screen.messages if m.get("replayed")]
        assert len(replayed) == 6_000
        assert screen.own == list(range(2, 6_003))
        assert [p for p, user in screen.monitored if user == "bob"] == list(range(2, 6_002))


@in_virtual_time
async def test_with_the_database_away_nobody_joins() -> None:
    async with running_world() as world:
        world.journal.away = True
        screen = world.screen()
        await settle()
        assert screen.close_code == 1013
        assert screen.messages == []


@in_virtual_time
async def test_a_database_that_does_not_answer_is_not_waited_for_forever() -> None:
    async with running_world() as world:
        world.journal.before["snapshot"] = lambda: asyncio.sleep(3_600)
        screen = world.screen()
        await asyncio.sleep(11)
        assert screen.close_code == 1013
