"""Two processes that trade on one database at once: no deadlock, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tallywire.ledger import BalanceManager, LedgerError, Receipt, open_ledger

from ...logged import logged
from ..conftest import ManualClock
from ..oracle import examine
from ..raw import rows

PAIRS = ("BTC-USDT", "ETH-USDT")
USERS = ("alice", "bob", "carol")
BOOKS = ("main", "demo")
Both = tuple[BalanceManager, BalanceManager]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def both(database_url: str, clock: ManualClock) -> AsyncIterator[Both]:
    """Two open ledgers on one database, in the test's own time; everybody has funds."""
    async with (
        open_ledger(database_url, clock=clock) as one,
        open_ledger(database_url, clock=clock) as other,
    ):
        for user in USERS:
            for book in BOOKS:
                for asset, funds in (("USDT", "10000"), ("BTC", "1"), ("ETH", "10")):
                    await one.update_balance(user, funds, "deposit", asset=asset, book=book)
        await push(one)
        yield one, other
        assert (await one.verify()).details == []
    await examine(database_url)


async def push(manager: BalanceManager, price: str = "100.00") -> None:
    for pair in PAIRS:
        await manager.prices.push(pair, price, actor="feed")


async def trade(manager: BalanceManager, dice: random.Random) -> str:
    """Something of all that can be done, by somebody; what came of it."""
    user, book, pair = dice.choice(USERS), dice.choice(BOOKS), dice.choice(PAIRS)
    trading, what = manager.trading, dice.random()
    try:
        if what < 0.45:
            direction: Any = dice.choice(("up", "down"))
            duration_s = dice.choice((30, 60))
            await trading.open_option(user, pair, direction, "7.000003", duration_s, book=book)
        elif what < 0.7:
            side: Any = dice.choice(("buy", "sell"))
            await trading.spot_order(user, pair, side, base_amount="0.0012345", book=book)
        elif what < 0.8:
            await trading.set_control(user, dice.choice(("win", "normal", "lose")))
        elif what < 0.9:
            await manager.prices.push(pair, dice.choice(("99.99", "100.00")), actor="feed")
        else:
            open_ = await trading.trades(kind="option", status="open", book="demo", limit=3)
            await trading.force(dice.choice(open_).id, dice.choice(("win", "lose", "tie")))
    except LedgerError as refusal:
        return refusal.code
    except IndexError:
        return "nothing is open"
    return "done"


async def test_each_option_ends_once(both: Both, clock: ManualClock, database_url: str) -> None:
    """Whoever ends it: either's settlement, several at once, or somebody by force."""
    codes: Counter[str] = Counter()
    settled = 0

    async def work(number: int) -> None:
        dice = random.Random(number)
        for _ in range(6):
            codes[await trade(both[number % 2], dice)] += 1

    with logged() as logs:
        async with asyncio.timeout(60):
            for numbers in (range(6), range(6, 12)):
                settling = [manager.trading.settle_due() for manager in (*both, *both)]
                working = asyncio.gather(*map(work, numbers))
                settled += sum(await asyncio.gather(*settling))
                await working
                clock.move(seconds=31)
                await push(both[0], "100.01")
        clock.move(seconds=61)
        settled += sum(await asyncio.gather(*(m.trading.settle_due() for m in both)))
    assert codes["done"] > 40 and settled > 0
    # A deadlock would be retried unseen by callers; locks are taken in one order, so none is.
    assert [entry for entry in logs if entry["event"] == "a commit is tried again"] == []
    ends = await rows(
        database_url,
        "SELECT trade, count(*) AS n FROM transactions WHERE type IN"
        " ('option_settled', 'option_refunded') GROUP BY trade",
    )
    options = await rows(database_url, "SELECT id, status FROM trades WHERE kind = 'option'")
    assert {row["trade"]: row["n"] for row in ends} == {row["id"]: 1 for row in options}
    assert {row["status"] for row in options} <= {"settled", "refunded"}
    by_hand = await rows(database_url, "SELECT 1 FROM audit WHERE action = 'option_settled'")
    assert settled == len(options) - len(by_hand), "each end is counted by whoever made it"
    assert not await rows(database_url, "SELECT 1 FROM exposures WHERE amount <> 0")


async def test_one_limit_for_both(both: Both, database_url: str) -> None:
    """EXPOSURE: those who ask at the same time do not take more together than one may."""
    await both[0].administration.put_pair("BTC-USDT", {"exposure_limit": "40"}, actor="root")

    async def work(manager: BalanceManager, user: str) -> str:
        try:
            await manager.trading.open_option(user, "BTC-USDT", "up", "10", 30)
        except LedgerError as refusal:
            return refusal.code
        return "open"

    asked = [work(both[n % 2], USERS[n % 3]) for n in range(12)]
    # A win pays 8 besides the stake.
    assert Counter(await asyncio.gather(*asked)) == {"open": 5, "exposure_limit": 7}
    (stored,) = await rows(database_url, "SELECT amount FROM exposures WHERE book = 'main'")
    assert stored["amount"] == 40_000_000


async def test_a_client_order_id_is_used_once_whatever_it_is_for(both: Both) -> None:
    """In either book, of either pair and by either process: one is filled."""

    async def work(number: int, order: str) -> Receipt | str:
        try:
            return await both[number % 2].trading.spot_order(
                "alice",
                PAIRS[number // 2 % 2],
                "buy",
                base_amount="0.01",
                book=BOOKS[number // 4],
                client_order_id=order,
            )
        except LedgerError as refusal:
            return refusal.code

    for order in ("first", "second", "third"):
        told = await asyncio.gather(*(work(number, order) for number in range(8)))
        assert sorted(each for each in told if isinstance(each, str)) == ["conflict"] * 7
