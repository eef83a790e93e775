"""The administrators' monitor: filters, gathered messages, ranges that join."""

from __future__ import annotations

from typing import Any

import pytest

from .client import Json, accepted, minor
from .conftest import Outside


def _item(operation: str, user: str, amount: str, asset: str = "USDT", **rest: Any) -> Json:
    return {"operation": operation, "user_id": user, "asset": asset, "amount": amount, **rest}


FILTERS: dict[str, Json] = {
    "a user": {"user_id": "ALICE"},
    "an asset": {"asset": "USD"},
    "a book": {"book": "demo"},
    "a type": {"change_type": "withdrawal"},
    "an amount": {"min_amount": "50"},
    "a user and an asset": {"user_id": "ALICE", "asset": "USD"},
    "a type and an amount": {"change_type": "withdrawal", "min_amount": "50"},
}


def _passes(update: Json, filter: Json) -> bool:
    for field in ("user_id", "change_type"):
        if field in filter and update[field] != filter[field]:
            return False
    return any(
        change["asset"] == filter.get("asset", change["asset"])
        and change["book"] == filter.get("book", change["book"])
        and abs(minor(change["amount"], change["scale"]))
        >= int(filter.get("min_amount", "0")) * 10 ** change["scale"]
        for change in update["changes"]
    )


@pytest.mark.parametrize("case", FILTERS)
async def test_a_filter_drops_updates_but_no_position(outside: Outside, case: str) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    filter = {k: v.replace("ALICE", alice) for k, v in FILTERS[case].items()}
    items = [
        _item("deposit", alice, "100"),
        _item("deposit", alice, "70", "USD"),
        _item("deposit", bob, "49.999999"),
        _item("deposit", bob, "50", book="demo"),
        _item("withdrawal", alice, "50"),
        _item("withdrawal", alice, "0.01", "USD"),
        _item("withdrawal", bob, "20"),
        {
            "operation": "transfer",
            "from_user": alice,
            "to_user": bob,
            "asset": "USDT",
            "amount": "50",
        },
    ]
    async with outside.monitor(filter=filter) as some, outside.monitor() as everything:
        await outside.admin.batch(items)
        last = (await outside.admin.batch(items)).json()["results"][-1]["position"]
        await everything.until_position(last)
        await some.until_position(last)
        expected = [update for update in everything.monitored if _passes(update, filter)]
        assert some.monitored == expected
        assert 0 < len(expected) < len(everything.monitored)

    async with outside.monitor(filter=filter) as again, outside.monitor() as everything:
        init, whole = again.monitor_init, everything.monitor_init
        assert init is not None and whole is not None
        assert init["totals"] == whole["totals"]
        assert all(_passes(update, filter) for update in init["recent"])
        seen = [update for update in whole["recent"] if _passes(update, filter)]
        assert init["recent"][: len(seen)] == seen


async def test_a_burst_is_gathered_into_few_messages(outside: Outside) -> None:
    users = [outside.new_user() for _ in range(10)]
    async with outside.monitor() as monitor:
        items = [_item("deposit", users[number % 10], "1") for number in range(1000)]
        last = (await outside.admin.batch(items)).json()["results"][-1]["position"]
        await monitor.until_position(last)
        assert len(monitor.monitored) == 1000
        assert monitor.messages["admin_balance_monitor"] <= 200
        assert monitor.largest["admin_balance_monitor"] <= 80_000


async def test_a_position_larger_than_a_message_is_not_split(outside: Outside) -> None:
    building = await outside.new_book("building", side="debit", accounts="open")
    shares = [{"user_id": f"flat-{number}", "weight": 1} for number in range(300)]
    body = {"book": building, "asset": "EUR", "amount": "900", "shares": shares}
    async with outside.monitor() as monitor:
        answers = [accepted(await outside.admin.post("/v1/shared-charges", body)) for _ in range(3)]
        await monitor.until_position(answers[-1]["position"])
        assert monitor.largest["admin_balance_monitor"] > 65_536
        expected = [update for answer in answers for update in answer["updates"]]
        assert monitor.monitored == expected


async def test_a_monitor_of_many_and_a_screen_of_one_see_the_same(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.monitor() as one, outside.monitor() as two, outside.screen(alice) as screen:
        for _ in range(30):
            last = accepted(await outside.admin.deposit(alice, "1"))
        for each in (one, two):
            await each.until_position(last["position"])
        await screen.until_shown(last["position"])
        assert one.monitored == two.monitored
        assert len(screen.updates) == 30
        assert one.everyone.shown[f"main/{alice}/USDT"] == screen.balances[f"main/{alice}/USDT"]
