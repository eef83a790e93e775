"""Prices from outside: pushed by superadmins, streamed to everybody, no more than four a second."""

from __future__ import annotations

import asyncio
import time

import pytest

from .client import Json, Screen, accepted, refused
from .conftest import Outside
from .trading import Market, new_market, seconds

# How long prices are pushed and how many at least, and what a screen may be told of a pair then.
PUSHED_FOR = 2.0
PUSHED = 30
MOST_A_SECOND = 4


async def _push_for_a_while(market: Market) -> None:
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < PUSHED_FOR or number < PUSHED:
        number += 1
        await market.push(f"{100 + number % 7}.{number % 100:02}")
    await market.push("55.55")


async def _shows(screen: Screen, market: Market) -> None:
    """The newest price arrives, however many came before it."""
    newest = market.pushed[-1]
    await screen.until(lambda: screen.prices.get(market.name) == newest, what=f"{newest}")


async def test_prices_are_gathered_and_the_newest_arrives(exchange: Outside) -> None:
    one, two = await new_market(exchange), await new_market(exchange)
    alice = exchange.new_user("alice")
    only: Json = {"streams": ("prices",)}
    async with (
        exchange.screen(alice, **only) as screen,
        exchange.stream(alice, **only) as stream,
        exchange.screen(alice, streams=("balances", "prices")) as both,
        exchange.monitor(streams=("balances", "monitor", "prices")) as monitor,
    ):
        assert next(iter(screen.messages)) == next(iter(stream.messages)) == "heartbeat"
        screens = (screen, stream, both, monitor)
        ticks = {each: dict(each.ticks) for each in screens}
        began = time.monotonic()
        await asyncio.gather(_push_for_a_while(one), _push_for_a_while(two))
        for each in screens:
            for market in (one, two):
                await _shows(each, market)
        took = time.monotonic() - began
        for each in screens:
            for market in (one, two):
                told = each.ticks[market.name] - ticks[each].get(market.name, 0)
                assert 2 <= told <= MOST_A_SECOND * took + 1, f"{told} in {took} s"
        # A price moves no cursor, and is no change of money.
        head = await exchange.admin.head()
        assert all(each.cursor is not None and each.cursor <= head for each in screens)

        # Money goes on between them.
        accepted(await exchange.admin.deposit(alice, "5"))
        await both.until(lambda: len(both.updates) == 1)
        await monitor.until(lambda: len(monitor.monitored) == 1)
        assert both.balances == await exchange.auditor.balances(alice)

    listed = {item["pair"]: item for item in await _prices(exchange)}
    for market in (one, two):
        assert listed[market.name] == market.pushed[-1]
        stamps = [price["time"] for price in market.pushed]
        assert stamps == sorted(set(stamps)), "two prices of one moment"


async def _prices(outside: Outside) -> list[Json]:
    answer = await outside.caller("somebody").get("/v1/prices")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return list(body["items"] if isinstance(body, dict) else body)


async def test_a_screen_begins_with_the_newest_prices(exchange: Outside) -> None:
    market = await new_market(exchange)
    await market.push("12.34")
    alice = exchange.new_user("alice")
    async with exchange.screen(alice, streams=("balances", "prices")) as screen:
        await _shows(screen, market)
        assert next(iter(screen.messages)) == "user_balance_init"
        await screen.leave()
        await market.push("12.35")
        await screen.come_back()
        await _shows(screen, market)
    async with exchange.stream(alice, streams=("prices",)) as stream:
        await _shows(stream, market)
        stream.vanish()
        await stream.until_closed()
        await market.push("12.36")
        await stream.come_back()
        await _shows(stream, market)


REFUSED: list[tuple[Json, int]] = [
    ({"price": "0.00"}, 422),
    ({"price": "-1.00"}, 422),
    ({"price": "1.001"}, 422),
    ({"price": 1}, 422),
    ({"price": "1e3"}, 422),
    ({"price": ""}, 422),
    ({}, 400),
    ({"price": "1.00", "time": "yesterday"}, 400),
]


async def test_who_may_say_what_the_price_is(exchange: Outside) -> None:
    market = await new_market(exchange)
    await market.push("100.00")
    path = f"/v1/prices/{market.name}"
    for caller in (exchange.caller("alice"), exchange.auditor, exchange.admin):
        refused(await caller.put(path, {"price": "1.00"}), 403, "not_allowed")
    for body, status in REFUSED:
        answer = await exchange.root.put(path, body)
        assert answer.status_code == status, f"{body}: {answer.text}"
    refused(await exchange.root.put("/v1/prices/NO-SUCH", {"price": "1.00"}), 404, "not_found")
    assert market.pushed[-1] in await _prices(exchange)


@pytest.mark.parametrize("told", ["2001-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_what_time_it_was_elsewhere_decides_nothing(exchange: Outside, told: str) -> None:
    market = await new_market(exchange)
    first = await market.push("100.00")
    answer = await exchange.root.put(f"/v1/prices/{market.name}", {"price": "101.00", "time": told})
    assert answer.status_code == 200, answer.text
    stamped = answer.json()["time"]
    assert 0 < seconds(first["time"], stamped) < 60
    later = await market.push("102.00")
    assert stamped < later["time"]
