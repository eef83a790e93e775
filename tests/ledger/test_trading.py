"""Spot orders, options and their settlement on a real database, in the test's own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from tallywire.ledger import (
    BalanceManager,
    Change,
    Details,
    LedgerError,
    Receipt,
    changes,
    open_ledger,
)
from tallywire.ledger.errors import (
    AccountFrozen,
    Conflict,
    DemoOnly,
    ExposureLimit,
    InsufficientFunds,
    InvalidAmount,
    InvalidRequest,
    LimitNotMet,
    NotFound,
    Paused,
    StalePrice,
)
from tallywire.ledger.objects import OptionTrade
from tallywire.ledger.trading.options import open_option, settle_option
from tallywire.ledger.trading.trades import trade_view

from .conftest import ManualClock
from .oracle import examine
from .raw import execute

PAIR = "BTC-USDT"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def manager(database_url: str, clock: ManualClock) -> AsyncIterator[BalanceManager]:
    async with open_ledger(database_url, clock=clock) as opened:
        for book in ("main", "demo"):
            await opened.update_balance("alice", "10000", "deposit", book=book)
        await quote(opened, "60000.00")
        yield opened
        report = await opened.verify()
        assert report.errors == 0, report.details
    await examine(database_url)


async def quote(manager: BalanceManager, price: str) -> None:
    """Make `price` the newest of the pair."""
    await manager.prices.push(PAIR, price, actor="feed")


async def money(manager: BalanceManager, owner: str = "alice", book: str = "main") -> Decimal:
    return await manager.get_balance(owner, book=book)


async def system(manager: BalanceManager, owner: str, book: str = "main") -> Decimal:
    """The balance of a system account in USDT."""
    rows = (await manager.reader.trial_balance())["rows"]
    wanted = (owner, book, "USDT")
    found = [r["balance"] for r in rows if (r["owner_kind"], r["book"], r["asset"]) == wanted]
    return Decimal(found[0]) if found else Decimal(0)


def trade_of(receipt: Receipt) -> dict[str, Any]:
    assert receipt.trade is not None
    return receipt.trade


async def test_a_buy_moves_both_assets_and_the_fee_in_one_update(manager: BalanceManager) -> None:
    receipt = await manager.trading.spot_order("alice", PAIR, "buy", base_amount="0.01")
    trade = trade_of(receipt)
    assert (trade["quote_amount"], trade["fee"], trade["status"]) == (
        "600.000000",
        "0.600000",
        "filled",
    )
    (update,) = receipt.updates
    amounts = {entry["asset"]: entry["amount"] for entry in update["changes"]}
    assert amounts == {"BTC": "0.01000000", "USDT": "-600.600000"}
    assert update["trade"] == trade
    assert await system(manager, "@fees") == Decimal("0.6")


async def test_rounding_takes_from_the_user_and_is_booked_as_such(manager: BalanceManager) -> None:
    await manager.administration.put_pair(PAIR, {"fee_bps": 0}, actor="root")
    bought = await manager.trading.spot_order("alice", PAIR, "buy", quote_amount="100")
    trade = trade_of(bought)
    assert trade["base_amount"] == "0.00166666"
    assert trade["quote_amount"] == "99.999600"
    await quote(manager, "60000.01")
    bought = await manager.trading.spot_order("alice", PAIR, "buy", base_amount="0.00001001")
    assert trade_of(bought)["quote_amount"] == "0.600601"
    assert await system(manager, "@rounding") == Decimal("0.000001")
    sold = await manager.trading.spot_order("alice", PAIR, "sell", base_amount="0.00001001")
    assert trade_of(sold)["quote_amount"] == "0.600600"
    assert await system(manager, "@rounding") == Decimal("0.000002")


async def test_a_limit_fills_or_kills(manager: BalanceManager) -> None:
    before = await money(manager)
    with pytest.raises(LimitNotMet):
        await manager.trading.spot_order(
            "alice", PAIR, "buy", base_amount="0.01", limit_price="59999.99"
        )
    assert await money(manager) == before
    await manager.trading.spot_order("alice", PAIR, "buy", base_amount="0.01", limit_price="60000")


async def test_a_stale_price_refuses_trades(manager: BalanceManager, clock: ManualClock) -> None:
    clock.move(seconds=16)
    with pytest.raises(StalePrice):
        await manager.trading.spot_order("alice", PAIR, "buy", base_amount="0.01")
    with pytest.raises(StalePrice):
        await manager.trading.open_option("alice", PAIR, "up", "10", 30)
    with pytest.raises(StalePrice):
        await manager.trading.open_option("alice", "ETH-USDT", "up", "10", 30)
    with pytest.raises(NotFound):
        await manager.trading.open_option("alice", "BTC-EUR", "up", "10", 30)


@pytest.mark.parametrize(
    ("price", "outcome", "gain"),
    [("60000.01", "win", "8"), ("59999.99", "lose", "-10"), ("60000.00", "tie", "0")],
)
async def test_an_option_ends_by_the_price_of_its_expiry(
    manager: BalanceManager, clock: ManualClock, price: str, outcome: str, gain: str
) -> None:
    before = await money(manager)
    receipt = await manager.trading.open_option("alice", PAIR, "up", "10", 30)
    assert await money(manager) == before - 10
    assert await system(manager, "@escrow") == 10
    clock.move(seconds=30)
    await quote(manager, price)
    assert await manager.trading.settle_due() == 0, "it has just expired"
    clock.move(seconds=1)
    await quote(manager, "1.00")
    assert await manager.trading.settle_due() == 1
    assert await manager.trading.settle_due() == 0
    assert await money(manager) == before + Decimal(gain)
    assert await system(manager, "@escrow") == 0
    (update,) = await manager.history("alice", limit=1)
    assert update["change_type"] == "option_settled"
    trade = update["trade"]
    assert (trade["id"], trade["outcome"], trade["settle_price"]) == (
        receipt.transaction_id,
        outcome,
        price,
    )
    assert bool(update["changes"]) == (outcome != "lose")


async def test_settling_many_times_at_once_settles_once(
    manager: BalanceManager, clock: ManualClock
) -> None:
    receipts = [await manager.trading.open_option("alice", PAIR, "up", "10", 30) for _ in range(5)]
    before = await money(manager)
    clock.move(seconds=29)
    await quote(manager, "70000.00")
    clock.move(seconds=2)
    kind = manager.types["option_settled"]
    unkeyed = [
        settle_option(
            manager.catalog,
            kind,
            await manager.trading.read_option(receipt.transaction_id),
            details=Details(),
        )
        for receipt in receipts
    ]
    outcomes = await manager.post_many([*unkeyed, *unkeyed])
    assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 5
    assert {type(o) for o in outcomes if isinstance(o, LedgerError)} == {Conflict}
    assert await manager.trading.settle_due() == 0
    assert await money(manager) == before + 5 * 18


async def test_without_a_price_of_its_expiry_an_option_is_refunded(
    manager: BalanceManager, clock: ManualClock
) -> None:
    before = await money(manager)
    await manager.trading.open_option("alice", PAIR, "up", "10", 120)
    clock.move(seconds=200)
    await quote(manager, "61000.00")
    assert await manager.trading.settle_due() == 1
    assert await money(manager) == before
    (update,) = await manager.history("alice", limit=1)
    assert update["change_type"] == "option_refunded"
    assert update["trade"]["status"] == "refunded"
    assert "price" in update["trade"]["reason"]


async def test_an_option_keeps_the_terms_that_it_was_opened_with(
    manager: BalanceManager, clock: ManualClock
) -> None:
    opened = trade_of(await manager.trading.open_option("alice", PAIR, "up", "10", 30))
    worse = {"settlement_age_s": 1, "durations": [{"duration_s": 30, "payout_rate": "0.1"}]}
    await manager.administration.put_pair(PAIR, worse, actor="root")
    clock.move(seconds=20)
    await quote(manager, "60000.01")
    clock.move(seconds=11)
    assert await manager.trading.settle_due() == 1
    ended = trade_view(await manager.trading.read_trade(opened["id"]), manager.catalog)
    assert isinstance(ended, OptionTrade)
    assert (ended.outcome, ended.payout) == ("win", "8.000000")
    assert (ended.settlement_age_s, ended.settle_source) == (60, "pushed")


async def test_the_house_takes_options_up_to_its_limit(manager: BalanceManager) -> None:
    await manager.administration.put_pair(PAIR, {"exposure_limit": "16"}, actor="root")
    await manager.trading.open_option("alice", PAIR, "up", "10", 30)
    await manager.trading.open_option("alice", PAIR, "up", "10", 30)
    with pytest.raises(ExposureLimit):
        await manager.trading.open_option("alice", PAIR, "up", "0.01", 30)
    await manager.trading.open_option("alice", PAIR, "up", "0.01", 30, book="demo")
    with pytest.raises(InvalidAmount):
        await manager.trading.open_option("alice", PAIR, "up", "1001", 30, book="demo")


async def test_a_control_is_copied_onto_options_as_they_open(
    manager: BalanceManager, clock: ManualClock
) -> None:
    before = await money(manager, book="demo")
    await manager.trading.set_control("alice", "win", actor="root")
    won = await manager.trading.open_option("alice", PAIR, "up", "10", 30, book="demo")
    await manager.trading.set_control("alice", "lose", actor="root")
    lost = await manager.trading.open_option("alice", PAIR, "down", "10", 30, book="demo")
    real = await manager.trading.open_option("alice", PAIR, "down", "10", 30)
    assert trade_of(won)["forced"] and trade_of(won)["control"] == "win"
    assert trade_of(real)["forced"] is False and "control" not in trade_of(real)
    clock.move(seconds=29)
    await quote(manager, "50000.00")
    clock.move(seconds=2)
    assert await manager.trading.settle_due() == 3
    outcomes = {
        trade.id: getattr(trade, "outcome", None) for trade in await manager.trading.trades()
    }
    assert outcomes == {
        won.transaction_id: "win",
        lost.transaction_id: "lose",
        real.transaction_id: "win",
    }
    assert await money(manager, book="demo") == before + 8 - 10
    assert await manager.trading.control("alice") == "lose"
    with pytest.raises(DemoOnly):
        await manager.trading.set_control("alice", "win", book="main", actor="root")


async def test_force_ends_an_open_option_of_demo_alone(manager: BalanceManager) -> None:
    demo = await manager.trading.open_option("alice", PAIR, "up", "10", 30, book="demo")
    real = await manager.trading.open_option("alice", PAIR, "up", "10", 30)
    with pytest.raises(DemoOnly):
        await manager.trading.force(real.transaction_id, "win", actor="root")
    forced = await manager.trading.force(demo.transaction_id, "lose", actor="root")
    assert trade_of(forced)["outcome"] == "lose" and trade_of(forced)["forced"] is True
    with pytest.raises(Conflict):
        await manager.trading.force(demo.transaction_id, "win", actor="root")
    (row, *_) = await manager.reader.audit(None, 1)
    assert (row["actor"], row["target"]) == ("root", demo.transaction_id)
    assert (row["details"]["forced"], row["details"]["outcome"]) == (True, "lose")


async def test_settlement_passes_freeze_and_pause_and_open_options_keep_an_account_open(
    manager: BalanceManager, clock: ManualClock
) -> None:
    await manager.update_balance("bob", "10", "deposit")
    await manager.trading.open_option("bob", PAIR, "up", "10", 30)
    with pytest.raises(Conflict, match="open options"):
        await manager.change_account("bob", {"status": "closed"})
    await manager.change_account("bob", {"status": "frozen"})
    with pytest.raises(AccountFrozen):
        await manager.trading.open_option("bob", PAIR, "up", "10", 30)
    clock.move(seconds=29)
    await quote(manager, "60001.00")
    clock.move(seconds=2)
    await manager.administration.pause("root")
    with pytest.raises(Paused):
        await manager.trading.open_option("alice", PAIR, "up", "10", 30)
    assert await manager.trading.settle_due() == 1
    assert await money(manager, "bob") == 18
    await manager.administration.resume("root")


async def test_a_client_order_id_is_used_once(manager: BalanceManager) -> None:
    first = await manager.trading.spot_order(
        "alice", PAIR, "buy", base_amount="0.01", client_order_id="mine"
    )
    with pytest.raises(Conflict, match=first.transaction_id):
        await manager.trading.open_option("alice", PAIR, "up", "10", 30, client_order_id="mine")
    await manager.update_balance("bob", "1000", "deposit")
    await manager.trading.spot_order("bob", PAIR, "buy", base_amount="0.01", client_order_id="mine")


async def test_nonsense_is_refused(manager: BalanceManager) -> None:
    order, option = manager.trading.spot_order, manager.trading.open_option
    with pytest.raises(InvalidRequest):
        await order("alice", PAIR, "hold", base_amount="1")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        await order("alice", PAIR, "buy")
    with pytest.raises(InvalidRequest):
        await order("alice", PAIR, "buy", base_amount="1", quote_amount="1")
    for amount in ("0", "-1", "1.123456789", "abc", "0.000001"):
        with pytest.raises(InvalidAmount):
            await order("alice", PAIR, "buy", base_amount=amount)
    with pytest.raises(InsufficientFunds):
        await order("alice", PAIR, "buy", base_amount="1")
    with pytest.raises(InsufficientFunds):
        await order("alice", PAIR, "sell", base_amount="1")
    with pytest.raises(InvalidRequest):
        await option("alice", PAIR, "up", "10", 31)
    with pytest.raises(InvalidAmount):
        await option("alice", PAIR, "up", "-10", 30)
    with pytest.raises(InvalidRequest):
        await manager.update_balance("alice", "1", "option_settled")
    with pytest.raises(InvalidRequest):
        await manager.update_balance("alice", "1", "spot_buy")
    assert await money(manager) == 10000
    assert not await manager.trading.trades()


async def test_a_row_that_was_changed_by_hand_decides_nothing(
    manager: BalanceManager, database_url: str, clock: ManualClock
) -> None:
    before = await money(manager)
    opened = trade_of(await manager.trading.open_option("alice", PAIR, "up", "10", 30))
    altered = "UPDATE trades SET told = replace(told, '60000.00', '1.00'), status = 'open'"
    await execute(database_url, altered)
    clock.move(seconds=29)
    await quote(manager, "59999.00")
    clock.move(seconds=2)
    assert await manager.trading.settle_due() == 1
    assert await money(manager) == before - 10
    (trade,) = await manager.trading.trades()
    assert trade_view(trade, manager.catalog).id == opened["id"]


async def test_what_was_broken_by_hand_does_not_keep_others_from_being_settled(
    database_url: str, clock: ManualClock
) -> None:
    async with open_ledger(database_url, clock=clock) as manager:
        await manager.update_balance("alice", "100", "deposit")
        await quote(manager, "60000.00")
        opened = [await manager.trading.open_option("alice", PAIR, "up", "10", 30) for _ in "123"]
        unknown, unread, fine = [receipt.transaction_id for receipt in opened]
        await execute(
            database_url,
            f"UPDATE trades SET pair = 'NO-PAIR' WHERE id = '{unknown}'",
            f"UPDATE trades SET told = 'nothing' WHERE id = '{unread}'",
        )
        clock.move(seconds=31)
        assert await manager.trading.settle_due() == 2
        assert await manager.trading.settle_due() == 0
        assert (await manager.trading.read_option(fine)).outcome == "tie"
        assert (await manager.trading.read_option(unread)).outcome == "tie"
        await manager.verify(fix=True)
        assert await manager.trading.settle_due() == 1
        assert (await manager.verify()).errors == 0
    await examine(database_url)


async def test_a_refused_group_leaves_nothing_to_those_in_its_commit(
    manager: BalanceManager,
) -> None:
    """REJECTION_ATOMICITY: neither its client_order_id nor its share of the exposure limit."""
    await manager.administration.put_pair(PAIR, {"exposure_limit": "8"}, actor="root")

    def option() -> Change:
        return open_option(
            manager.catalog,
            manager.types["option_opened"],
            "alice",
            PAIR,
            "up",
            "10",
            30,
            client_order_id="mine",
            book="main",
            details=Details(),
        )

    too_much = changes.directed(
        manager.catalog,
        manager.types["withdrawal"],
        "alice",
        "99999",
        asset="USDT",
        book="main",
        details=Details(),
    )
    # While the first is committed, the others wait for the same next commit.
    _, refused, opened = await asyncio.gather(
        manager.update_balance("alice", "1", "deposit"),
        manager.post_many([option(), too_much], atomic=True),
        manager.post(option()),
        return_exceptions=True,
    )
    assert isinstance(refused, InsufficientFunds)
    assert isinstance(opened, Receipt), opened
