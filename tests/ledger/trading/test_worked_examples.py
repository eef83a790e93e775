"""
Spot orders and options worked out by hand, on the pair BTC-USDT as a first start makes it.

BTC has 8 decimals, USDT 6, the price 2; the fee is 0.1 %; 30 s pay 0.80 and 60 s 0.85 of the stake.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tallywire.ledger import BalanceManager, Receipt, open_ledger

from ..conftest import ManualClock
from ..oracle import examine

PAIR = "BTC-USDT"
Postings = dict[str, str]


@dataclass(frozen=True)
class Order:
    """A spot order at a price; what alice and the system accounts then get of each asset."""

    price: str
    side: Any
    amounts: dict[str, Any]
    postings: Postings


@dataclass(frozen=True)
class Bet:
    """An option from one price to another, None where there was none; how it ends."""

    direction: Any
    stake: str
    duration_s: int
    opens_at: str
    ends_at: str | None
    outcome: str | None
    postings: Postings


ORDERS = [
    # 0.5 x 60000.00 = 30000; a fee of 30; nothing to round.
    Order(
        "60000.00",
        "buy",
        {"base_amount": "0.5"},
        {
            "alice/BTC": "0.50000000",
            "@house/BTC": "-0.50000000",
            "alice/USDT": "-30030.000000",
            "@house/USDT": "30000.000000",
            "@fees/USDT": "30.000000",
        },
    ),
    # 100 / 61234.56 = 0.00163306472..., down. That x 61234.56 = 99.9997105536: alice pays
    # 99.999711, and a fee of 0.099999711, up to 0.100000. The two last units are @rounding's.
    Order(
        "61234.56",
        "buy",
        {"quote_amount": "100"},
        {
            "alice/BTC": "0.00163306",
            "@house/BTC": "-0.00163306",
            "alice/USDT": "-100.099711",
            "@house/USDT": "99.999710",
            "@fees/USDT": "0.099999",
            "@rounding/USDT": "0.000002",
        },
    ),
    # The same sold: 99.999710 for alice, less the fee of 0.09999971, up to 0.100000; the house
    # pays 99.999711.
    Order(
        "61234.56",
        "sell",
        {"base_amount": "0.00163306"},
        {
            "alice/BTC": "-0.00163306",
            "@house/BTC": "0.00163306",
            "alice/USDT": "99.899710",
            "@house/USDT": "-99.999711",
            "@fees/USDT": "0.099999",
            "@rounding/USDT": "0.000002",
        },
    ),
    # The least that is traded, 0.00001 x 60000 = 0.6, with a fee of 0.0006.
    Order(
        "60000.00",
        "sell",
        {"base_amount": "0.00001", "limit_price": "60000.00"},
        {
            "alice/BTC": "-0.00001000",
            "@house/BTC": "0.00001000",
            "alice/USDT": "0.599400",
            "@house/USDT": "-0.600000",
            "@fees/USDT": "0.000600",
        },
    ),
]

RETURNED = {"alice/USDT": "10.000000", "@escrow/USDT": "-10.000000"}
LOST = {"@house/USDT": "10.000000", "@escrow/USDT": "-10.000000"}
WON = {"alice/USDT": "18.000000", "@escrow/USDT": "-10.000000", "@house/USDT": "-8.000000"}
BETS = [
    Bet("up", "10", 30, "60000.00", "60000.01", "win", WON),
    Bet("up", "10", 30, "60000.00", "59999.99", "lose", LOST),
    Bet("down", "10", 30, "60000.00", "59999.99", "win", WON),
    Bet("down", "10", 30, "60000.00", "60000.00", "tie", RETURNED),
    # The price at which it opened is 120 seconds old by then, twice as much as it may be.
    Bet("down", "10", 120, "60000.00", None, None, RETURNED),
    # 0.85 of 0.000003 is 0.00000255: alice gets 2 units, the house pays 3.
    Bet(
        "up",
        "0.000003",
        60,
        "60000.00",
        "70000.00",
        "win",
        {
            "alice/USDT": "0.000005",
            "@escrow/USDT": "-0.000003",
            "@house/USDT": "-0.000003",
            "@rounding/USDT": "0.000001",
        },
    ),
]


async def _postings(manager: BalanceManager, transaction_id: str) -> Postings:
    transaction = await manager.reader.transaction(transaction_id)
    assert transaction is not None
    found = {}
    for posting in transaction.postings:
        book, owner, asset = posting["account"].split("/")
        assert book == "main"
        found[f"{owner}/{asset}"] = posting["amount"]
    return found


async def test_they_come_out_as_by_hand(sqlite_url: str) -> None:
    clock = ManualClock()
    async with open_ledger(sqlite_url, clock=clock) as manager:
        for asset, funds in (("USDT", "50000"), ("BTC", "1")):
            await manager.update_balance("alice", funds, "deposit", asset=asset)
        for order in ORDERS:
            await manager.prices.push(PAIR, order.price, actor="feed")
            done: Receipt = await manager.trading.spot_order(
                "alice", PAIR, order.side, **order.amounts
            )
            assert await _postings(manager, done.transaction_id) == order.postings, order
        for bet in BETS:
            await manager.prices.push(PAIR, bet.opens_at, actor="feed")
            done = await manager.trading.open_option(
                "alice", PAIR, bet.direction, bet.stake, bet.duration_s
            )
            assert done.trade is not None
            clock.move(seconds=bet.duration_s - 1)
            if bet.ends_at is not None:
                await manager.prices.push(PAIR, bet.ends_at, actor="feed")
            clock.move(seconds=2)
            assert await manager.trading.settle_due() == 1
            ended = (await manager.history("alice", limit=1))[0]
            assert ended["trade"]["id"] == done.trade["id"]
            assert (ended["trade"]["outcome"], ended["trade"]["settle_price"]) == (
                bet.outcome,
                bet.ends_at,
            )
            assert await _postings(manager, ended["transaction_id"]) == bet.postings, bet
        assert await manager.get_balance("alice", asset="BTC") == Decimal("1.49999")
    await examine(sqlite_url)
