"""Spot orders from outside: both assets and the fee in one update, rounded as the contract says."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from .client import Json, accepted, check_trade, minor, refused, shown, update_of
from .conftest import Outside
from .test_refused_requests import nothing_changes
from .trading import (
    BASE_SCALE,
    QUOTE_SCALE,
    Filled,
    Market,
    check_ledger,
    check_screens,
    check_story,
    filled,
    new_market,
    updates_of,
)


def _filled(trade: Json) -> Filled:
    return Filled(
        minor(trade["base_amount"], BASE_SCALE),
        minor(trade["quote_amount"], QUOTE_SCALE),
        minor(trade["fee"], QUOTE_SCALE),
    )


def _moved(update: Json) -> dict[str, int]:
    return {c["asset"]: minor(c["amount"], c["scale"]) for c in update["changes"]}


# A price that nothing divides by, amounts that must be rounded, and some that need not be.
ORDERS: list[tuple[str, str, Json]] = [
    ("buy", "100.00", {"base_amount": "0.5"}),
    ("buy", "64123.77", {"base_amount": "0.00123457"}),
    ("buy", "64123.77", {"quote_amount": "33.333333"}),
    ("sell", "64123.77", {"base_amount": "0.00098765"}),
    ("sell", "3.07", {"quote_amount": "0.1"}),
    ("sell", "0.01", {"base_amount": "0.00012345"}),
    ("buy", "0.01", {"base_amount": "0.00012345"}),
]


async def test_orders_are_filled_to_the_last_unit(exchange: Outside) -> None:
    market = await new_market(exchange, fee_bps=25)
    alice = await market.trader("alice")
    accepted(await exchange.admin.deposit(alice.user_id, "10", market.base))
    async with (
        exchange.screen(alice.user_id) as screen,
        exchange.stream(alice.user_id) as stream,
        exchange.monitor() as monitor,
    ):
        trades = []
        for side, price, amount in ORDERS:
            told = await market.push(price)
            before = await exchange.auditor.balances(alice.user_id)
            body = accepted(await market.order(alice, side, **amount))
            trade, (update,) = body["trade"], body["updates"]
            check_trade(trade, alice.user_id)
            assert (trade["price"], trade["price_source"]) == (told["price"], "pushed")
            asked = {
                "base": minor(_full(amount.get("base_amount"), BASE_SCALE), BASE_SCALE),
                "quote": minor(_full(amount.get("quote_amount"), QUOTE_SCALE), QUOTE_SCALE),
            }
            expected = filled(side, minor(price, 2), 25, **{k: v for k, v in asked.items() if v})
            assert _filled(trade) == expected
            sign = 1 if side == "buy" else -1
            assert _moved(update) == {
                market.base: sign * expected.base,
                "USDT": -sign * expected.quote - expected.fee,
            }
            assert update["change_type"] == f"spot_{side}" and update["trade"] == trade
            # One message for both legs and the fee.
            await screen.until_shown(body["position"])
            assert screen.updates[-1] == update_of(update)
            for change in update["changes"]:
                was = before[change["account"]]
                assert (change["balance_before"], change["seq"]) == (was["balance"], was["seq"] + 1)
            await _check_postings(market, alice.user_id, trade, body["transaction_id"])
            trades.append(trade)

        await stream.until_shown(body["position"])
        await monitor.until_position(body["position"])
        for trade in trades:
            check_story(screen.updates, trade)
            seen = [update_of(update) for update in updates_of(monitor.monitored, trade["id"])]
            assert seen == updates_of(screen.updates, trade["id"])
            assert screen.trades[trade["id"]] == trade
            assert (await alice.get(f"/v1/spot/orders/{trade['id']}")).json() == trade
        assert [trade async for trade in alice.listed("/v1/spot/orders")] == trades[::-1]
        listed = exchange.auditor.listed("/v1/spot/orders", user_id=alice.user_id, limit=2)
        assert [trade async for trade in listed] == trades[::-1]
        await check_screens(exchange, screen, stream)
    await check_ledger(exchange)


def _full(text: str | None, scale: int) -> str:
    """An amount with all of its decimals."""
    whole, _, decimals = (text or "0").partition(".")
    return f"{whole}.{decimals.ljust(scale, '0')}"


async def _check_postings(market: Market, user: str, trade: Json, transaction_id: str) -> None:
    """Nothing is made or lost: the house has the other side, and rounding is never the user's."""
    path = f"/v1/transactions/{transaction_id}"
    transaction = (await market.outside.auditor.get(path)).json()
    assert transaction["trade"] == trade
    for asset, scale in ((market.base, BASE_SCALE), ("USDT", QUOTE_SCALE)):
        legs = {
            posting["account"].split("/")[1]: minor(posting["amount"], scale)
            for posting in transaction["postings"]
            if posting["account"].endswith(f"/{asset}")
        }
        assert sum(legs.values()) == 0, transaction
        assert {user, "@house"} <= set(legs) <= {user, "@house", "@fees", "@rounding"}
        assert 0 <= legs.get("@rounding", 0) <= 2, legs
        fee = minor(trade["fee"], QUOTE_SCALE)
        assert legs.get("@fees", 0) in ((0,) if asset == market.base else (fee - 1, fee)), legs


async def test_a_limit_is_filled_whole_or_not_at_all(exchange: Outside) -> None:
    market = await new_market(exchange)
    alice = await market.trader("alice")
    accepted(await exchange.admin.deposit(alice.user_id, "10", market.base))
    await market.push("100.00")
    async with nothing_changes(exchange, alice.user_id):
        for side, limit in (("buy", "99.99"), ("sell", "100.01")):
            answer = await market.order(alice, side, base_amount="1", limit_price=limit)
            refused(answer, 422, "limit_not_met")
        for wrong in ("0", "-1", "100.001", 100):
            answer = await market.order(alice, "buy", base_amount="1", limit_price=wrong)
            assert answer.status_code in (400, 422), answer.text
    for side, limit in (("buy", "100.00"), ("sell", "100.00"), ("buy", "100.01"), ("sell", "1")):
        limited = _full(limit, 2) if "." in limit else f"{limit}.00"
        body = accepted(await market.order(alice, side, base_amount="1", limit_price=limited))
        assert body["trade"]["price"] == "100.00", "a limit is not the price"


async def test_an_order_of_the_clients_own_name_is_taken_once(exchange: Outside) -> None:
    market = await new_market(exchange)
    alice, bob = await market.trader("alice"), await market.trader("bob")
    await market.push("100.00")
    told: Json = {}
    async with exchange.screen(alice.user_id) as screen:
        answers = await asyncio.gather(
            *(market.order(alice, "buy", base_amount="1", client_order_id="a") for _ in range(8))
        )
        (body,) = [accepted(answer) for answer in answers if answer.status_code == 201]
        trade = body["trade"]
        assert trade["client_order_id"] == "a"
        async with nothing_changes(exchange, alice.user_id):
            for answer in answers:
                if answer.status_code != 201:
                    assert trade["id"] in refused(answer, 409, "conflict")["detail"]
            answer = await market.order(alice, "sell", base_amount="1", client_order_id="a")
            assert trade["id"] in refused(answer, 409, "conflict")["detail"]
            answer = await market.option(alice, "up", "1", client_order_id="a")
            assert trade["id"] in refused(answer, 409, "conflict")["detail"]
        accepted(await market.order(bob, "buy", base_amount="1", client_order_id="a"))
        for _ in range(2):
            again = await market.order(bob, "buy", quote_amount="5", client_order_id="b", key="b")
            told = told or accepted(again)
            assert again.json() == told, "its key comes before its name"
        await screen.until_shown(body["position"])
        assert list(screen.trades) == [trade["id"]]
        await check_screens(exchange, screen)


REFUSED: dict[str, tuple[Json, int, str]] = {
    "below the minimum": ({"base_amount": "0.00000999"}, 422, "invalid_amount"),
    "quote below the minimum": ({"quote_amount": "0.000999"}, 422, "invalid_amount"),
    "nothing": ({"base_amount": "0"}, 422, "invalid_amount"),
    "a sign": ({"base_amount": "-1"}, 422, "invalid_amount"),
    "a number": ({"base_amount": 1}, 422, "invalid_amount"),
    "too many decimals": ({"base_amount": "1.000000001"}, 422, "invalid_amount"),
    "both amounts": ({"base_amount": "1", "quote_amount": "1"}, 400, "invalid_request"),
    "no amount": ({}, 400, "invalid_request"),
    "no side": ({"base_amount": "1", "side": "hold"}, 400, "invalid_request"),
    "a pair that there is not": ({"base_amount": "1", "pair": "NO-SUCH"}, 404, "not_found"),
    "too much": ({"base_amount": "10"}, 422, "insufficient_funds"),
    "too much with the fee": ({"quote_amount": "1000"}, 422, "insufficient_funds"),
    "a book that there is not": ({"base_amount": "1", "book": "nowhere"}, 422, "unknown_book"),
}


async def test_what_is_refused_leaves_no_trace(exchange: Outside) -> None:
    market = await new_market(exchange)
    alice = await market.trader("alice")
    async with nothing_changes(exchange, alice.user_id):
        refused(await market.order(alice, "buy", base_amount="1"), 422, "stale_price")
    await market.push("100.00")
    async with nothing_changes(exchange, alice.user_id):
        for case, (change, status, code) in REFUSED.items():
            body: dict[str, Any] = {"pair": market.name, "side": "buy", **change}
            answer = await alice.post("/v1/spot/orders", body)
            assert (answer.status_code, answer.json()["code"]) == (status, code), case
        answer = await market.order(alice, "sell", base_amount="1")
        assert refused(answer, 422, "insufficient_funds")["available"] == shown(0, BASE_SCALE)
        refused(await market.order(exchange.auditor, "buy", base_amount="1"), 403, "not_allowed")


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_an_old_price_is_traded_by_nobody(exchange: Outside, side: str) -> None:
    market = await new_market(exchange, stale_after_s=2)
    alice = await market.trader("alice")
    accepted(await exchange.admin.deposit(alice.user_id, "10", market.base))
    await market.push("100.00")
    answers: list[httpx.Response] = []
    async with asyncio.timeout(30):
        while not answers or answers[-1].status_code == 201:
            answers.append(await market.order(alice, side, base_amount="0.0001"))
            await asyncio.sleep(0.05)
    refused(answers[-1], 422, "stale_price")
    async with nothing_changes(exchange, alice.user_id):
        refused(await market.option(alice, "up", "1"), 422, "stale_price")
    await market.push("100.00")
    accepted(await market.order(alice, side, base_amount="0.0001"))
