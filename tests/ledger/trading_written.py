"""A small journal with a trade of every kind and every end, and controls."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from tallywire.ledger import BalanceManager, open_ledger

from .conftest import ManualClock, numbered_ids, transaction_id

PAIR = "BTC-USDT"

# The position of each transaction.
CONTROL = 3
BOUGHT, SOLD = 4, 5
WON, LOST, TIED, REFUNDED = 6, 7, 8, 9
CONTROLLED, FORCED = 10, 11
FORCED_END = 12
# Settled in the order of their expiries, which are of the same moment, and so of their ids.
ENDS = range(13, 17)
REFUNDED_END = 17
OPEN, OPEN_IN_DEMO = 18, 19
END = 19


def open_traded(
    url: str, clock: ManualClock, after: int = 0
) -> AbstractAsyncContextManager[BalanceManager]:
    """An open ledger whose transactions have the ids of the vectors' form, from `after` on."""
    ids = numbered_ids(after + 1)
    return open_ledger(url, clock=clock, new_id=lambda: transaction_id(next(ids)))


async def write_trading(manager: BalanceManager, clock: ManualClock) -> None:
    """Deposits, a control, spot orders, options with every end, and two that stay open."""
    trading = manager.trading
    await manager.update_balance("alice", "10000", "deposit")
    await manager.update_balance("alice", "10000", "deposit", book="demo")
    await trading.set_control("alice", "win", actor="root")
    await _push(manager, clock, "60000.00")
    await trading.spot_order("alice", PAIR, "buy", base_amount="0.00123457", client_order_id="c1")
    await trading.spot_order("alice", PAIR, "sell", quote_amount="12.345678")
    await trading.open_option("alice", PAIR, "up", "10", 30)
    await trading.open_option("alice", PAIR, "down", "20.000001", 30, client_order_id="c2")
    await trading.open_option("alice", PAIR, "up", "30", 60)
    await trading.open_option("alice", PAIR, "up", "40", 300)
    await trading.open_option("alice", PAIR, "down", "50", 30, book="demo")
    forced = await trading.open_option("alice", PAIR, "up", "60", 30, book="demo")
    await trading.force(forced.transaction_id, "lose", actor="root")
    await _push(manager, clock, "60001.00", seconds=25)
    await _push(manager, clock, "60000.00", seconds=30)
    clock.move(seconds=10)
    await trading.settle_due()
    clock.move(seconds=300)
    await trading.settle_due()
    await _push(manager, clock, "60002.00")
    await trading.open_option("alice", PAIR, "up", "7", 300)
    await trading.open_option("alice", PAIR, "up", "8", 300, book="demo")


async def _push(
    manager: BalanceManager, clock: ManualClock, price: str, seconds: float = 1
) -> None:
    clock.move(seconds=seconds)
    await manager.prices.push(PAIR, price, actor="feed")
