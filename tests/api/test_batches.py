"""Batches: results in order, each item decided as if it had come alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tallywire.api.schemas import BatchResults

from .conftest import Edge


def item(operation: str, user_id: str = "alice", amount: Any = "1", **more: Any) -> dict[str, Any]:
    return {
        "operation": operation,
        "user_id": user_id,
        "asset": "USDT",
        "amount": amount,
        **more,
    }


async def test_each_item_has_its_own_result(edge: Edge) -> None:
    items = [
        item("deposit", amount="10"),
        item("withdrawal", amount="11"),
        item("deposit", amount=5),
        {"operation": "deposit", "user_id": "alice", "asset": "USDT"},
        {
            "operation": "transfer",
            "from_user": "alice",
            "to_user": "bob",
            "asset": "USDT",
            "amount": "4",
        },
        item("spend"),
        {"no": "operation"},
        item("adjustment", description="why"),
        7,
        item("recharge", asset="NONE"),
        item("charge", amount="1", service_type="vps"),
    ]
    answer = await edge.post("/v1/batches", {"items": items}, by="ada:admin")
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    told = [(each["status"], each.get("problem", {}).get("code")) for each in results]
    assert told == [
        (201, None),
        (422, "insufficient_funds"),
        (422, "invalid_amount"),
        (400, "invalid_request"),
        (201, None),
        (400, "invalid_request"),
        (400, "invalid_request"),
        (403, "not_allowed"),
        (400, "invalid_request"),
        (422, "unknown_asset"),
        (201, None),
    ]
    assert [each["position"] for each in results if each["status"] == 201] == [1, 2, 3]
    assert results[2]["problem"]["errors"][0]["pointer"] == "/items/2/amount"
    assert results[3]["problem"]["errors"][0]["pointer"] == "/items/3/amount"
    assert results[5]["problem"]["errors"][0]["pointer"] == "/items/5/operation"
    assert results[9]["problem"]["instance"] == "/v1/batches"
    assert results[10]["updates"][0]["metadata"] == {"service_type": "vps"}
    msgspec.convert(answer.json(), BatchResults)


async def test_atomic_is_all_at_consecutive_positions(edge: Edge) -> None:
    items = [item("deposit", amount="10"), item("withdrawal", amount="4")]
    answer = await edge.post("/v1/batches", {"atomic": True, "items": items})
    assert [each["position"] for each in answer.json()["results"]] == [1, 2]
    assert await edge.balance("alice") == "6.000000"


@pytest.mark.parametrize(
    ("refused", "status", "code", "pointer"),
    [
        (item("withdrawal", amount="11"), 422, "insufficient_funds", "/items/1/amount"),
        (item("deposit", amount="0"), 422, "invalid_amount", "/items/1/amount"),
        (item("deposit", amount=7), 422, "invalid_amount", "/items/1/amount"),
        (item("adjustment", description="why"), 403, "not_allowed", None),
        (item("deposit", user_id="@x"), 400, "invalid_request", "/items/1/user_id"),
    ],
)
async def test_atomic_is_nothing_where_one_is_refused(
    edge: Edge, refused: dict[str, Any], status: int, code: str, pointer: str | None
) -> None:
    items = [item("deposit", amount="10"), refused, item("deposit")]
    answer = await edge.post("/v1/batches", {"atomic": True, "items": items}, by="ada:admin")
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["item"] == 1
    assert problem.get("errors", [{}])[0].get("pointer") == pointer
    assert (await edge.get("/v1/users/alice/balances")).json()["balances"] == []


@pytest.mark.parametrize(
    "unfit",
    [
        item("deposit", amount="0"),
        item("deposit", amount=7),
        item("deposit", asset="NONE"),
        item("deposit", user_id="@x"),
        item("adjustment", description="why"),
        item("spend"),
        {"no": "operation"},
    ],
)
async def test_the_first_refusal_in_order_is_the_answer_of_an_atomic_batch(
    edge: Edge, unfit: dict[str, Any]
) -> None:
    items = [item("deposit"), item("withdrawal", amount="2"), unfit, item("deposit", amount="x")]
    answer = await edge.post("/v1/batches", {"atomic": True, "items": items}, by="ada:admin")
    problem = answer.json()
    assert (problem["code"], problem["item"]) == ("insufficient_funds", 1)
    assert (await edge.get("/v1/users/alice/balances")).json()["balances"] == []


async def test_a_repeat_replays_what_was_accepted_and_decides_the_rest_again(edge: Edge) -> None:
    items = [item("deposit", amount="10"), item("withdrawal", user_id="bob", amount="3")]
    first = (await edge.post("/v1/batches", {"items": items}, key="b1")).json()["results"]
    assert [each["status"] for each in first] == [201, 422]
    await edge.fund("bob", "5")
    again = await edge.post("/v1/batches", {"items": items}, key="b1")
    assert "idempotent-replayed" not in again.headers
    results = again.json()["results"]
    assert results[0] == first[0]
    assert results[1]["status"] == 201
    third = await edge.post("/v1/batches", {"items": items}, key="b1")
    assert third.headers["idempotent-replayed"] == "true"
    assert third.json()["results"] == results
    assert await edge.balance("alice") == "10.000000"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"items": []}, "/items"),
        ({"items": [item("deposit")] * 1001}, "/items"),
        ({"items": {}}, "/items"),
        ({}, "/items"),
        ({"items": [item("deposit")], "atomic": "yes"}, "/atomic"),
    ],
)
async def test_a_batch_has_1_to_1000_items(edge: Edge, body: dict[str, Any], pointer: str) -> None:
    answer = await edge.post("/v1/batches", body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)


async def test_a_thousand_items_are_taken(edge: Edge) -> None:
    items = [item("deposit", user_id=f"user-{n}", description="x" * 400) for n in range(1000)]
    answer = await edge.post("/v1/batches", {"items": items})
    assert answer.status_code == 200, answer.text
    positions = [each["position"] for each in answer.json()["results"]]
    assert positions == list(range(1, 1001))
