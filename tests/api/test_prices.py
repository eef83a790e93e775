"""Pairs and prices over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Edge

BTC_USDT = {
    "pair": "BTC-USDT",
    "base": "BTC",
    "quote": "USDT",
    "price_decimals": 2,
    "minimum": "0.00001000",
    "fee_bps": 10,
    "durations": [
        {"duration_s": 30, "payout_rate": "0.8000"},
        {"duration_s": 60, "payout_rate": "0.8500"},
        {"duration_s": 120, "payout_rate": "0.8800"},
        {"duration_s": 300, "payout_rate": "0.9000"},
    ],
    "maximum_stake": "1000.000000",
    "exposure_limit": "100000.000000",
    "stale_after_s": 15,
    "settlement_age_s": 60,
}


async def put(edge: Edge, path: str, body: Any, by: str = "root:superadmin") -> Any:
    """The status and the answer of a PUT."""
    answer = await edge.call("PUT", path, json=body, by=by)
    return answer.status_code, answer.json()


async def test_pairs_are_listed_with_their_settings(edge: Edge) -> None:
    listed = (await edge.get("/v1/pairs", by="alice")).json()
    assert [pair["pair"] for pair in listed["items"]] == ["BTC-USDT", "ETH-USDT"]
    assert listed["items"][0] == BTC_USDT
    page = (await edge.get("/v1/pairs?limit=1", by="alice")).json()
    rest = await edge.get(f"/v1/pairs?cursor={page['next_cursor']}", by="alice")
    assert page["items"] + rest.json()["items"] == listed["items"]


async def test_a_pair_is_changed_and_audited(edge: Edge) -> None:
    settings = {"fee_bps": 25, "durations": [{"duration_s": 5, "payout_rate": "0.5"}]}
    status, changed = await put(edge, "/v1/admin/pairs/BTC-USDT", settings)
    durations = [{"duration_s": 5, "payout_rate": "0.5000"}]
    assert (status, changed) == (200, BTC_USDT | {"fee_bps": 25, "durations": durations})
    assert (await edge.get("/v1/pairs")).json()["items"][0] == changed
    audit = (await edge.get("/v1/admin/audit")).json()["items"][0]
    assert (audit["actor"], audit["action"], audit["target"]) == ("root", "pair_set", "BTC-USDT")
    assert audit["details"] == settings


async def test_a_pair_is_made(edge: Edge) -> None:
    status, made = await put(edge, "/v1/admin/pairs/ETH-BTC", {"minimum": "1", "price_decimals": 6})
    assert status == 200
    assert (made["base"], made["quote"], made["minimum"]) == ("ETH", "BTC", "1.000000000")
    assert made["maximum_stake"] == "1000.00000000"
    again = await put(edge, "/v1/admin/pairs/ETH-BTC", {"price_decimals": 6})
    assert again == (200, made)


@pytest.mark.parametrize(
    ("pair", "body", "status", "code", "pointer"),
    [
        ("BTC-USDT", {"price_decimals": 3}, 409, "conflict", None),
        ("BTC-EUR", {}, 400, "invalid_request", "/minimum"),
        ("BTC-GBP", {"minimum": "1"}, 422, "unknown_asset", "/asset"),
        ("BTCUSDT", {"minimum": "1"}, 400, "invalid_request", "/pair"),
        ("BTC-USDT", {"minimum": 1}, 422, "invalid_amount", "/minimum"),
        ("BTC-USDT", {"maximum_stake": "0.0000001"}, 422, "invalid_amount", "/maximum_stake"),
        ("BTC-USDT", {"fee_bps": 10_001}, 400, "invalid_request", "/fee_bps"),
        (
            "BTC-USDT",
            {"durations": [{"duration_s": 30, "payout_rate": 0.8}]},
            422,
            "invalid_amount",
            "/durations/0/payout_rate",
        ),
        (
            "BTC-USDT",
            {"durations": [{"duration_s": 30}]},
            400,
            "invalid_request",
            "/durations/0/payout_rate",
        ),
    ],
)
async def test_settings_that_are_refused(
    edge: Edge, pair: str, body: Any, status: int, code: str, pointer: str | None
) -> None:
    refused, problem = await put(edge, f"/v1/admin/pairs/{pair}", body)
    assert (refused, problem["code"]) == (status, code)
    assert [each["pointer"] for each in problem.get("errors", [])] == ([pointer] if pointer else [])


async def test_a_pushed_price_is_the_newest(edge: Edge) -> None:
    assert (await edge.get("/v1/prices", by="alice")).json() == {"items": [], "next_cursor": None}
    told = {"price": "64000.5", "time": "2020-01-01T00:00:00+02:00"}
    status, price = await put(edge, "/v1/prices/BTC-USDT", told)
    assert (status, price) == (
        200,
        {
            "pair": "BTC-USDT",
            "price": "64000.50",
            "source": "pushed",
            "time": "2031-05-01T12:00:00.000000Z",
        },
    )
    await put(edge, "/v1/prices/ETH-USDT", {"price": "3200"})
    _, newer = await put(edge, "/v1/prices/BTC-USDT", {"price": "0.01"})
    assert newer["time"] == "2031-05-01T12:00:00.000001Z"
    listed = (await edge.get("/v1/prices", by="alice")).json()["items"]
    assert [(each["pair"], each["price"]) for each in listed] == [
        ("BTC-USDT", "0.01"),
        ("ETH-USDT", "3200.00"),
    ]


@pytest.mark.parametrize(
    ("pair", "body", "status", "code", "pointer"),
    [
        ("DOGE-USDT", {"price": "1"}, 404, "not_found", "/pair"),
        ("BTC-USDT", {"price": "0"}, 422, "invalid_amount", "/price"),
        ("BTC-USDT", {"price": "-1"}, 422, "invalid_amount", "/price"),
        ("BTC-USDT", {"price": "1.001"}, 422, "invalid_amount", "/price"),
        ("BTC-USDT", {"price": 64000}, 422, "invalid_amount", "/price"),
        ("BTC-USDT", {}, 400, "invalid_request", "/price"),
        ("BTC-USDT", {"price": "1", "time": "now"}, 400, "invalid_request", "/time"),
    ],
)
async def test_prices_that_are_refused(
    edge: Edge, pair: str, body: Any, status: int, code: str, pointer: str
) -> None:
    refused, problem = await put(edge, f"/v1/prices/{pair}", body)
    assert (refused, problem["code"]) == (status, code)
    assert [each["pointer"] for each in problem["errors"]] == [pointer]
    assert (await edge.get("/v1/prices")).json()["items"] == []


async def test_metrics_tell_of_old_prices_and_of_options_that_nobody_settled(edge: Edge) -> None:
    async def scraped(name: str) -> str:
        lines = (await edge.http.get("/metrics")).text.splitlines()
        return " ".join(line.rpartition(" ")[2] for line in lines if line.startswith(name))

    manager = edge.services.manager
    age, overdue = 'tallywire_price_age_seconds{pair="BTC-USDT"}', "tallywire_options_overdue"
    assert (await scraped(age), await scraped(overdue)) == ("", "0.0")
    await edge.fund("alice")
    await manager.prices.push("BTC-USDT", "64000", actor="root")
    await manager.trading.open_option("alice", "BTC-USDT", "up", "10", 30)
    edge.clock.forward(7)
    assert (await scraped(age), await scraped(overdue)) == ("7.0", "0.0")
    edge.clock.forward(30)
    assert (await scraped(age), await scraped(overdue)) == ("37.0", "7.0")
    assert await manager.trading.settle_due() == 1
    assert await scraped(overdue) == "0.0"
