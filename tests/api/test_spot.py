"""Spot orders over HTTP: what is answered, to whom, refused why, and listed how."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tallywire.api.schemas import AcceptedSpotOrder, Problem, SpotOrders
from tallywire.ledger.objects import SpotTrade

from .conftest import Edge

BTC, USDT = "main/alice/BTC", "main/alice/USDT"


@pytest.fixture
async def market(edge: Edge) -> Edge:
    """The edge with a price of 50,000; alice has 1,000 USDT and 1 BTC."""
    await edge.fund("alice", "1000")
    await edge.fund("alice", "1", "BTC")
    await edge.price("50000")
    return edge


def amounts(answer: Any) -> dict[str, str]:
    """How the only update of the answer changed each account."""
    (update,) = answer.json()["updates"]
    return {each["account"]: each["amount"] for each in update["changes"]}


async def test_an_order_is_answered_with_its_trade_and_one_update(market: Edge) -> None:
    answer = await market.order(
        description="a bit of it",
        reference="r-1",
        metadata={"via": "app"},
        client_order_id="mine",
    )
    assert answer.status_code == 201, answer.text
    accepted = answer.json()
    made = accepted["transaction_id"]
    assert list(accepted) == ["transaction_id", "position", "updates", "trade"]
    assert answer.headers["location"] == f"/v1/transactions/{made}"
    msgspec.convert(accepted, AcceptedSpotOrder)
    assert accepted["trade"] == {
        "id": made,
        "kind": "spot",
        "user_id": "alice",
        "book": "main",
        "pair": "BTC-USDT",
        "status": "filled",
        "side": "buy",
        "price": "50000.00",
        "base_amount": "0.00100000",
        "quote_amount": "50.000000",
        "fee": "0.050000",
        "price_source": "pushed",
        "client_order_id": "mine",
        "filled_at": accepted["trade"]["filled_at"],
    }
    (update,) = accepted["updates"]
    assert (update["change_type"], update["trade"]) == ("spot_buy", accepted["trade"])
    assert (update["description"], update["reference"]) == ("a bit of it", "r-1")
    assert update["metadata"] == {"via": "app"}
    assert "actor" not in update
    assert amounts(answer) == {BTC: "0.00100000", USDT: "-50.050000"}
    whole = (await market.get(f"/v1/transactions/{made}", by="eve:auditor")).json()
    assert whole["trade"] == accepted["trade"]
    moved = {each["account"]: each["amount"] for each in whole["postings"]}
    assert (moved["main/@house/USDT"], moved["main/@fees/USDT"]) == ("50.000000", "0.050000")
    own = (await market.get(f"/v1/transactions/{made}", by="alice")).json()
    assert own["trade"] == accepted["trade"]


async def test_a_limit_is_met_or_nothing_is_done(market: Edge) -> None:
    for side, price, status in (
        ("buy", "50000", 201),
        ("buy", "49999.99", 422),
        ("sell", "50000.00", 201),
        ("sell", "50000.01", 422),
    ):
        answer = await market.order(side=side, limit_price=price)
        assert answer.status_code == status, (side, price)
        if status == 422:
            problem = answer.json()
            assert problem["code"] == "limit_not_met"
            assert problem["errors"][0]["pointer"] == "/limit_price"
            assert msgspec.convert(problem, Problem).price == "50000.00"
    listed = (await market.get("/v1/spot/orders")).json()["items"]
    assert [each["side"] for each in listed] == ["sell", "buy"]


@pytest.mark.parametrize(
    ("changed", "status", "code", "pointer"),
    [
        ({"base_amount": 0.01}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": 1}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": "0.010000000"}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": "0"}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": "-0.01"}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": "1e-2"}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": "99999999999999999999"}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": "92233720368.54775807"}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": "0.00000999"}, 422, "invalid_amount", "/base_amount"),
        ({"base_amount": None, "quote_amount": 5}, 422, "invalid_amount", "/quote_amount"),
        ({"base_amount": None, "quote_amount": "0"}, 422, "invalid_amount", "/quote_amount"),
        ({"base_amount": None, "quote_amount": "0.01"}, 422, "invalid_amount", "/quote_amount"),
        ({"limit_price": 50000}, 422, "invalid_amount", "/limit_price"),
        ({"limit_price": "0"}, 422, "invalid_amount", "/limit_price"),
        ({"limit_price": "50000.001"}, 422, "invalid_amount", "/limit_price"),
        ({"base_amount": None}, 400, "invalid_request", "/base_amount"),
        ({"quote_amount": "5"}, 400, "invalid_request", "/quote_amount"),
        ({"side": "up"}, 400, "invalid_request", "/side"),
        ({"side": None}, 400, "invalid_request", "/side"),
        ({"pair": "BTC-EUR"}, 404, "not_found", "/pair"),
        ({"pair": "btc-usdt"}, 404, "not_found", "/pair"),
        ({"pair": 5}, 400, "invalid_request", "/pair"),
        ({"book": "none"}, 422, "unknown_book", "/book"),
        ({"client_order_id": ""}, 400, "invalid_request", "/client_order_id"),
        ({"client_order_id": "x" * 256}, 400, "invalid_request", "/client_order_id"),
        ({"client_order_id": 7}, 400, "invalid_request", "/client_order_id"),
        ({"description": "x" * 501}, 400, "invalid_request", "/description"),
        ({"internal": {}}, 403, "not_allowed", "/internal"),
        ({"effective_at": "2031-01-01T00:00:00Z"}, 403, "not_allowed", "/effective_at"),
    ],
)
async def test_an_order_that_cannot_be_is_refused(
    market: Edge, changed: dict[str, Any], status: int, code: str, pointer: str
) -> None:
    answer = await market.order(**changed)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert problem["errors"][0]["pointer"] == pointer
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await market.get("/v1/spot/orders")).json()["items"] == []


async def test_a_field_that_is_missing_is_named(market: Edge) -> None:
    body = {"pair": "BTC-USDT", "side": "buy", "base_amount": "0.01"}
    for field, pointer in (
        ("pair", "/pair"),
        ("side", "/side"),
        ("base_amount", "/base_amount"),
    ):
        less = {name: value for name, value in body.items() if name != field}
        answer = await market.post("/v1/spot/orders", less, by="alice")
        told = (answer.status_code, answer.json()["errors"][0]["pointer"])
        assert told == (400, pointer)


async def test_an_order_wants_a_price_that_is_fresh(edge: Edge) -> None:
    await edge.fund("alice", "1000")
    unknown = await edge.order()
    assert (unknown.status_code, unknown.json()["code"]) == (422, "stale_price")
    await edge.price()
    edge.clock.forward(15)
    assert (await edge.order()).status_code == 201
    edge.clock.forward(1)
    old = await edge.order()
    assert (old.status_code, old.json()["code"]) == (422, "stale_price")


async def test_funds_cover_the_fee_too(market: Edge) -> None:
    answer = await market.order(base_amount="0.02")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "insufficient_funds")
    assert (problem["required"], problem["available"]) == ("1001.000000", "1000.000000")
    assert problem["errors"][0]["pointer"] == "/base_amount"
    costs = await market.order(base_amount=None, quote_amount="1000")
    assert costs.json()["errors"][0]["pointer"] == "/quote_amount"
    sale = await market.order(side="sell", base_amount="1.5")
    assert (sale.json()["required"], sale.json()["available"]) == ("1.50000000", "1.00000000")
    assert await market.balance("alice", 1) == "1000.000000"


async def test_the_account_is_looked_at_before_price_and_amount(market: Edge) -> None:
    path = "/v1/admin/accounts/main/alice/USDT"
    market.clock.forward(60)
    for amount in ("0.01", "0", "1000"):
        await market.call("PATCH", path, json={"status": "frozen"})
        frozen = await market.order(base_amount=amount)
        assert (frozen.status_code, frozen.json()["code"]) == (409, "account_frozen"), amount
        await market.call("PATCH", path, json={"status": "active"})
        stale = await market.order(base_amount=amount)
        assert stale.status_code == 422


async def test_a_suspended_account_buys_nothing_and_sells(market: Edge) -> None:
    path = "/v1/admin/accounts/main/alice/USDT"
    await market.call("PATCH", path, json={"suspend_below": "1000"})
    body = {"user_id": "alice", "asset": "USDT", "amount": "1"}
    await market.post("/v1/charges", body)
    bought = await market.order()
    assert (bought.status_code, bought.json()["code"]) == (409, "account_suspended")
    sold = await market.order(side="sell")
    assert sold.status_code == 201
    (usdt,) = [each for each in sold.json()["updates"][0]["changes"] if each["asset"] == "USDT"]
    assert usdt["status"] == "suspended"


async def test_a_closed_account_takes_nothing_of_a_trade(market: Edge) -> None:
    await market.fund("alice", "1", "ETH")
    await market.price("2000", "ETH-USDT")
    sold = await market.order(pair="ETH-USDT", side="sell", base_amount="1")
    assert sold.status_code == 201, sold.text
    closed = {"status": "closed"}
    path = "/v1/admin/accounts/main/alice/ETH"
    assert (await market.call("PATCH", path, json=closed)).status_code == 201
    answer = await market.order(pair="ETH-USDT", base_amount="0.1")
    assert (answer.status_code, answer.json()["code"]) == (409, "account_closed")


async def test_nothing_is_traded_while_paused(market: Edge) -> None:
    await market.call("POST", "/v1/admin/pause")
    answer = await market.order()
    assert (answer.status_code, answer.json()["code"]) == (503, "paused")
    assert answer.headers["retry-after"]
    assert (await market.get("/v1/spot/orders", by="alice")).status_code == 200


async def test_everybody_trades_for_themselves_where_the_book_allows_it(market: Edge) -> None:
    for name, settings in (
        ("shop", {}),
        ("flats", {"side": "debit", "self_service": True}),
        ("club", {"accounts": "strict", "self_service": True}),
    ):
        await market.call("PUT", f"/v1/admin/books/{name}", json=settings)
    for by, book, status, code in (
        ("alice", "shop", 403, "not_allowed"),
        ("root:superadmin", "shop", 403, "not_allowed"),
        ("alice", "flats", 400, "invalid_request"),
        ("alice", "club", 422, "unknown_user"),
        ("alice:auditor", "main", 403, "not_allowed"),
    ):
        answer = await market.order(by, book=book)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (by, book)
    await market.fund("root", "1000")
    body = {"pair": "BTC-USDT", "side": "buy", "base_amount": "0.001", "internal": {"desk": 4}}
    other = await market.post("/v1/spot/orders", body | {"user_id": "alice"})
    assert (other.status_code, other.json()["code"]) == (403, "not_allowed")
    assert other.json()["errors"][0]["pointer"] == "/user_id"
    own = await market.post("/v1/spot/orders", body | {"user_id": "me"})
    assert own.status_code == 201, own.text
    (update,) = own.json()["updates"]
    assert (own.json()["trade"]["user_id"], update["internal"]) == ("root", {"desk": 4})


async def test_a_repeat_under_a_key_answers_the_first_result(market: Edge) -> None:
    body = {"pair": "BTC-USDT", "side": "buy", "base_amount": "0.01", "client_order_id": "c-1"}
    first = await market.post("/v1/spot/orders", body, by="alice", key="k")
    assert first.status_code == 201
    # At another price, and when there is none.
    await market.price("60000")
    market.clock.forward(60)
    same = body | {"base_amount": "0.0100", "book": "main", "limit_price": None}
    again = await market.post("/v1/spot/orders", same, by="alice", key="k")
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content) == (201, first.content)
    for other in ({"base_amount": "0.02"}, {"side": "sell"}, {"limit_price": "90000"}):
        answer = await market.post("/v1/spot/orders", body | other, by="alice", key="k")
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len((await market.get("/v1/spot/orders")).json()["items"]) == 1


async def test_a_refused_order_may_be_repeated_under_its_key(edge: Edge) -> None:
    await edge.fund("alice", "1000")
    body = {"pair": "BTC-USDT", "side": "buy", "base_amount": "0.01"}
    refused = await edge.post("/v1/spot/orders", body, by="alice", key="k")
    assert refused.status_code == 422
    await edge.price()
    made = await edge.post("/v1/spot/orders", body, by="alice", key="k")
    assert made.status_code == 201
    assert "idempotent-replayed" not in made.headers


async def test_a_client_order_id_is_used_once_by_each_user(market: Edge) -> None:
    first = await market.order(client_order_id="c-1")
    again = await market.order(client_order_id="c-1", base_amount="0.005")
    problem = again.json()
    assert (again.status_code, problem["code"]) == (409, "conflict")
    assert first.json()["trade"]["id"] in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/client_order_id"
    option = await market.option(client_order_id="c-1")
    assert (option.status_code, option.json()["code"]) == (409, "conflict")
    await market.fund("bob", "1000")
    assert (await market.order("bob", client_order_id="c-1")).status_code == 201


async def test_orders_are_read_by_their_owner_and_by_auditors(market: Edge) -> None:
    made = (await market.order()).json()["trade"]
    path = f"/v1/spot/orders/{made['id']}"
    for by in ("alice", "eve:auditor", "ada:admin"):
        answer = await market.get(path, by=by)
        assert (answer.status_code, answer.json()) == (200, made)
        msgspec.convert(answer.json(), SpotTrade)
    hidden = await market.get(path, by="bob")
    unknown = await market.get(path[:-4] + "0000", by="bob")
    assert (hidden.status_code, unknown.status_code) == (404, 404)
    assert hidden.json()["detail"] == unknown.json()["detail"]
    for other in (f"/v1/options/{made['id']}", f"{path}0", "/v1/spot/orders/%00"):
        answer = await market.get(other, by="alice")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), other


async def test_orders_are_listed_newest_first_by_pages_that_later_ones_never_enter(
    market: Edge,
) -> None:
    await market.fund("bob", "1000")
    await market.fund("alice", "1000", book="demo")
    ids = []
    for user, book in (("alice", "main"), ("bob", "main"), ("alice", "demo"), ("alice", "main")):
        made = await market.order(user, base_amount="0.001", book=book)
        ids.append(made.json()["trade"]["id"])
    path = "/v1/spot/orders"

    async def listed(query: str, by: str = "eve:auditor") -> list[int]:
        answer = await market.get(f"{path}{query}", by=by)
        assert answer.status_code == 200, answer.text
        page = msgspec.convert(answer.json(), SpotOrders)
        return [ids.index(each.id) for each in page.items]

    assert await listed("") == [3, 2, 1, 0]
    for query in ("", "?user_id=alice", "?user_id=me"):
        assert await listed(query, "alice") == [3, 2, 0]
    assert await listed("?user_id=alice&book=demo") == [2]
    assert await listed("?status=filled&user_id=bob") == [1]
    assert await listed("?status=open") == []
    assert await listed("?user_id=nobody") == []
    first = (await market.get(f"{path}?limit=2&user_id=alice", by="alice")).json()
    await market.order(base_amount="0.001")
    cursor = first["next_cursor"]
    assert await listed(f"?limit=2&cursor={cursor}", "alice") == [0]
    for wrong, status in (
        (f"?cursor={cursor}&user_id=bob", 422),
        ("?cursor=x", 422),
        ("?limit=0", 400),
        ("?status=lost", 400),
    ):
        assert (await market.get(f"{path}{wrong}")).status_code == status, wrong
    assert (await market.get(f"/v1/options?cursor={cursor}", by="alice")).status_code == 422
    assert (await market.get(f"{path}?user_id=bob", by="alice")).status_code == 403


async def test_a_trade_is_in_the_history_and_is_not_reversed(market: Edge) -> None:
    made = (await market.order()).json()
    history = (await market.get("/v1/users/me/history?type=spot_buy", by="alice")).json()["items"]
    assert [each["trade"] for each in history] == [made["trade"]]
    path = f"/v1/transactions/{made['transaction_id']}/reversal"
    answer = await market.post(path, {"description": "why", "force": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_reversible")


TRADING = (
    "spot",
    "spot_order",
    "spot_buy",
    "spot_sell",
    "option",
    "option_opened",
    "option_settled",
    "option_refunded",
    "force",
    "trading_control",
)


async def test_a_batch_does_not_trade(market: Edge) -> None:
    body = {
        "user_id": "alice",
        "asset": "USDT",
        "amount": "1",
        "description": "why",
        "book": "demo",
        "mode": "win",
        "outcome": "win",
        "pair": "BTC-USDT",
        "side": "buy",
        "base_amount": "0.01",
    }
    items = [{"operation": name, **body} for name in TRADING]
    answer = await market.post("/v1/batches", {"items": items})
    told = [(each["status"], each["problem"]["code"]) for each in answer.json()["results"]]
    assert told == [(400, "invalid_request")] * len(TRADING)
    atomic = await market.post("/v1/batches", {"items": items, "atomic": True})
    assert atomic.status_code == 400


@pytest.mark.parametrize("path", ["deposits", "adjustments", "withdrawals", "charges"])
async def test_no_call_takes_the_name_of_a_type(market: Edge, path: str) -> None:
    for kind in TRADING:
        named = dict.fromkeys(("change_type", "type", "kind", "operation", "trade"), kind)
        body = {"user_id": "alice", "asset": "USDT", "amount": "1", "description": kind}
        answer = await market.post(f"/v1/{path}", body | named)
        (update,) = answer.json()["updates"]
        assert update["change_type"] == path.removesuffix("s")
        assert "trade" not in update
