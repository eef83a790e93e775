"""The board: every price is told once, soon, and at most four times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise

from tallywire.ledger import objects
from tallywire.ledger.catalog import Catalog
from tallywire.ledger.errors import LedgerError
from tallywire.ledger.trading.pairs import Pair, with_settings
from tallywire.ledger.trading.prices import Price
from tallywire.prices.board import Board

from tests.virtual_time import in_virtual_time


def _pair(name: str) -> Pair:
    return with_settings(None, name, {"minimum": "1"}, base_scale=8, quote_scale=6)


class Market:
    """Stands for the database: prices of any process, and how often it was asked."""

    def __init__(self) -> None:
        self.reads = 0
        self.away = False
        self.read_takes = 0.0
        self._prices: dict[str, Price] = {}
        self._callbacks: list[Callable[[Sequence[Price]], None]] = []
        names = ("BTC-USDT", "ETH-USDT")
        self.catalog = Catalog(1, False, {}, {}, pairs={name: _pair(name) for name in names})
        self.board = Board(self, lambda: self.catalog)

    async def newest(self) -> list[Price]:
        self.reads += 1
        if self.away:
            raise LedgerError("the database is away")
        read = list(self._prices.values())
        await asyncio.sleep(self.read_takes)
        return read

    def on_stamped(self, callback: Callable[[Sequence[Price]], None]) -> None:
        self._callbacks.append(callback)

    def elsewhere(self, price: int, pair: str = "BTC-USDT") -> Price:
        """Another process stamps a price."""
        number = self._prices[pair].number + 1 if pair in self._prices else 1
        made = Price(pair, number, price, "simulated", f"2026-11-21T12:00:00.{number:06}Z")
        self._prices[pair] = made
        return made

    def here(self, price: int, pair: str = "BTC-USDT") -> None:
        """This process stamps a price."""
        made = self.elsewhere(price, pair)
        for callback in self._callbacks:
            callback([made])


class Subscriber:
    """What was told, and when, in the loop's time."""

    def __init__(self) -> None:
        self.told: list[tuple[float, dict[str, str]]] = []

    def __call__(self, prices: Sequence[objects.Price]) -> None:
        now = round(asyncio.get_running_loop().time(), 6)
        self.told.append((now, {price.pair: price.price for price in prices}))


@in_virtual_time
async def test_prices_of_others_are_found_and_own_ones_told_at_once() -> None:
    market, told = Market(), Subscriber()
    running = asyncio.create_task(market.board.run())
    market.board.subscribe(told)
    market.elsewhere(6_400_000)
    market.elsewhere(320_000, "ETH-USDT")
    await asyncio.sleep(0.9)
    market.elsewhere(6_400_100)
    await asyncio.sleep(0.5)
    market.here(6_400_200)
    await asyncio.sleep(1)
    assert told.told == [
        (0.0, {"BTC-USDT": "64000.00", "ETH-USDT": "3200.00"}),
        (1.0, {"BTC-USDT": "64001.00"}),
        (1.4, {"BTC-USDT": "64002.00"}),
    ]
    running.cancel()


@in_virtual_time
async def test_a_pair_is_told_of_four_times_a_second_and_then_the_newest() -> None:
    market, told = Market(), Subscriber()
    market.read_takes = 0.01
    running = asyncio.create_task(market.board.run())
    market.board.subscribe(told)
    for price in range(1, 201):
        market.here(price)
        await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    times = [at for at, _ in told.told]
    prices = [prices["BTC-USDT"] for _, prices in told.told]
    assert len(prices) == len(set(prices)) and prices == sorted(prices)
    assert prices[-1] == "2.00"
    assert all(later - at >= 0.25 - 1e-6 for at, later in pairwise(times))
    assert 5 <= len(times) <= 9
    running.cancel()


@in_virtual_time
async def test_the_database_is_left_alone_while_nobody_subscribes() -> None:
    market, told = Market(), Subscriber()
    running = asyncio.create_task(market.board.run())
    market.elsewhere(1)
    await asyncio.sleep(10)
    assert (market.reads, market.board.current()) == (0, [])
    unsubscribe = market.board.subscribe(told)
    await asyncio.sleep(1)
    unsubscribe()
    reads = market.reads
    market.elsewhere(2)
    await asyncio.sleep(10)
    assert reads >= 1 and market.reads <= reads + 1
    assert [prices for _, prices in told.told] == [{"BTC-USDT": "0.01"}]
    running.cancel()


@in_virtual_time
async def test_who_takes_what_is_current_and_subscribes_misses_nothing_and_has_nothing_twice() -> (
    None
):
    market = Market()
    running = asyncio.create_task(market.board.run())
    market.board.subscribe(Subscriber())
    for price in range(1, 12):
        market.here(price)
        await asyncio.sleep(0.07)
    seen = [each.price for each in market.board.current()]
    market.board.subscribe(lambda prices: seen.extend(each.price for each in prices))
    for price in range(12, 30):
        market.here(price)
        await asyncio.sleep(0.07)
    await asyncio.sleep(1)
    assert seen == sorted(set(seen)) and seen[-1] == "0.29"
    running.cancel()


@in_virtual_time
async def test_a_look_that_began_before_does_not_take_a_price_back() -> None:
    market, told = Market(), Subscriber()
    market.board.subscribe(told)
    market.elsewhere(1)
    market.read_takes = 1.0
    looking = asyncio.create_task(market.board.look())
    await asyncio.sleep(0.5)
    market.here(2)
    await looking
    assert [prices for _, prices in told.told] == [{"BTC-USDT": "0.02"}]
    assert [price.price for price in market.board.current()] == ["0.02"]


@in_virtual_time
async def test_it_goes_on_after_an_outage_and_when_a_pair_becomes_known() -> None:
    market, told = Market(), Subscriber()
    running = asyncio.create_task(market.board.run())
    market.away = True
    market.board.subscribe(told)
    market.elsewhere(1)
    market.elsewhere(7, "XRP-USDT")
    await asyncio.sleep(5)
    assert told.told == []
    market.away = False
    await asyncio.sleep(1)
    pairs = {**market.catalog.pairs, "XRP-USDT": _pair("XRP-USDT")}
    market.catalog = Catalog(2, False, {}, {}, pairs=pairs)
    await asyncio.sleep(1)
    assert [prices for _, prices in told.told] == [{"BTC-USDT": "0.01"}, {"XRP-USDT": "0.07"}]
    running.cancel()
