"""What a user sees of transactions that touch none of the user's accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tallywire.ledger import BalanceManager, open_ledger
from tallywire.ledger.objects import AdminUpdate, Control, OptionTrade, Update
from tallywire.ledger.updates import with_epoch

from .conftest import ManualClock

PAIR = "BTC-USDT"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def manager(database_url: str, clock: ManualClock) -> AsyncIterator[BalanceManager]:
    async with open_ledger(database_url, clock=clock) as opened:
        for book in ("main", "demo"):
            await opened.update_balance("alice", "100", "deposit", book=book)
        yield opened


async def lose(manager: BalanceManager, clock: ManualClock, book: str) -> str:
    """Alice loses an option in `book`; its id."""
    await manager.prices.push(PAIR, "60000", actor="feed")
    opened = await manager.trading.open_option("alice", PAIR, "up", "10", 30, book=book)
    clock.move(seconds=29)
    await manager.prices.push(PAIR, "59999.99", actor="feed")
    clock.move(seconds=2)
    assert await manager.trading.settle_due() == 1
    assert opened.trade is not None
    return str(opened.trade["id"])


def seen(update: dict[str, Any]) -> tuple[str, int]:
    return update["change_type"], len(update["changes"])


async def test_a_lost_option_is_in_the_history_of_its_book_and_asset(
    manager: BalanceManager, clock: ManualClock
) -> None:
    option = await lose(manager, clock, "demo")
    await lose(manager, clock, "main")
    lost, opened = await manager.history("alice", book="demo", limit=2)
    assert [seen(lost), seen(opened)] == [("option_settled", 0), ("option_opened", 1)]
    assert (lost["trade"]["id"], lost["trade"]["outcome"]) == (option, "lose")
    in_both = ["option_settled", "option_opened"] * 2 + ["deposit"] * 2
    for wanted, types in (
        ({}, in_both),
        ({"asset": "USDT"}, in_both),
        ({"asset": "USDT", "book": "main"}, ["option_settled", "option_opened", "deposit"]),
        ({"asset": "BTC"}, []),
        ({"book": "game:1"}, []),
        ({"type": "option_settled"}, ["option_settled"] * 2),
        ({"type": "option_settled", "book": "demo", "asset": "USDT"}, ["option_settled"]),
    ):
        history = await manager.history("alice", **wanted)  # type: ignore[arg-type]
        assert [update["change_type"] for update in history] == types, wanted
    # However short a page is, nothing is left out between two.
    paged = await manager.history("alice", book="main", limit=1)
    while page := await manager.history(
        "alice", book="main", before=paged[-1]["position"], limit=1
    ):
        paged += page
    assert [seen(update) for update in paged] == [
        ("option_settled", 0),
        ("option_opened", 1),
        ("deposit", 1),
    ]


async def test_a_lost_option_is_read_as_any_other_transaction(
    manager: BalanceManager, clock: ManualClock
) -> None:
    option = await lose(manager, clock, "main")
    head = await manager.reader.head()
    page = await manager.reader.user_page("alice", head.position - 1, head.position, 10)
    (lost,) = page
    assert await manager.reader.user_count("alice", 0, head.position, 10) == 4
    ((user, body),) = lost.user_bodies()
    assert user == "alice"
    told = msgspec.json.decode(with_epoch("e", body), type=Update)
    by_admins = msgspec.json.decode(with_epoch("e", lost.admin_bodies()[0]), type=AdminUpdate)
    assert told.trade == by_admins.trade and isinstance(told.trade, OptionTrade)
    assert (told.trade.id, told.changes) == (option, [])
    stored = await manager.reader.transaction(lost.transaction_id)
    assert stored is not None
    view = msgspec.json.decode(msgspec.json.encode(stored.view("e")))
    assert (view["subject"], view["trade"]["outcome"]) == ("alice", "lose")


async def test_a_control_is_read_with_the_balances_and_as_of_every_position(
    manager: BalanceManager, clock: ManualClock
) -> None:
    modes: dict[int, str | None] = {(await manager.reader.head()).position: None}
    # A row is there from the first option on, which sets no control.
    await lose(manager, clock, "demo")
    assert (await manager.reader.snapshot(["alice"])).controls == {}
    for mode in ("win", "normal", "lose"):
        receipt = await manager.trading.set_control("alice", mode)
        modes[receipt.position] = mode
        (update,) = receipt.updates
        assert seen(update) == ("trading_control", 0)
        assert update["control"] == {"mode": mode, "book": "demo"}
        await manager.update_balance("alice", "1", "deposit")
        modes[receipt.position + 1] = mode
    await manager.trading.set_control("carol", "win")
    snapshot = await manager.reader.snapshot(["alice", "bob", "carol"])
    assert snapshot.controls == {
        "alice": Control(mode="lose", book="demo"),
        "carol": Control(mode="win", book="demo"),
    }
    assert (len(snapshot.balances["alice"]), snapshot.balances["carol"]) == (2, [])
    for position, expected in modes.items():
        control = await manager.reader.control_at("alice", position)
        assert (control and control.mode) == expected
    assert await manager.reader.control_at("bob", snapshot.position) is None
    by_book = await manager.history("alice", type="trading_control", book="demo")
    assert [update["control"]["mode"] for update in by_book] == ["lose", "normal", "win"]
    assert await manager.history("alice", type="trading_control", book="main") == []
