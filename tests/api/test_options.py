"""Options over HTTP: opened, settled, forced on demo alone, refused why, listed how."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
from tallywire.api.schemas import AcceptedOption, Options
from tallywire.ledger.objects import OptionTrade

from .conftest import Edge

USDT = "main/alice/USDT"


@pytest.fixture
async def market(edge: Edge) -> Edge:
    """The edge with a price of 50,000; alice has 100 USDT in main and in demo."""
    await edge.fund("alice")
    await edge.fund("alice", book="demo")
    await edge.price("50000")
    return edge


async def settle(edge: Edge, price: str, seconds: int = 30) -> None:
    """Let the time pass, with a price a second before it is over, and settle what is due."""
    edge.clock.forward(seconds - 1)
    await edge.price(price)
    edge.clock.forward(2)
    await edge.services.manager.trading.settle_due()


async def force(
    edge: Edge, option_id: str, outcome: Any = "win", by: str = "root:superadmin", **more: Any
) -> httpx.Response:
    """Force the option."""
    path = f"/v1/options/{option_id}/force"
    return await edge.post(path, {"outcome": outcome}, by=by, **more)


def opened(answer: httpx.Response) -> Any:
    """The trade of an option that was opened."""
    assert answer.status_code == 201, answer.text
    return answer.json()["trade"]


async def test_an_option_is_answered_with_its_trade_and_its_stake_is_gone(market: Edge) -> None:
    answer = await market.option(client_order_id="o-1", metadata={"via": "app"})
    trade = opened(answer)
    accepted = answer.json()
    assert list(accepted) == ["transaction_id", "position", "updates", "trade"]
    assert answer.headers["location"] == f"/v1/transactions/{accepted['transaction_id']}"
    msgspec.convert(accepted, AcceptedOption)
    assert trade == {
        "id": accepted["transaction_id"],
        "kind": "option",
        "user_id": "alice",
        "book": "main",
        "pair": "BTC-USDT",
        "status": "open",
        "direction": "up",
        "stake": "10.000000",
        "duration_s": 30,
        "payout_rate": "0.8000",
        "payout": "8.000000",
        "opens_at": trade["opens_at"],
        "expires_at": trade["expires_at"],
        "settlement_age_s": 60,
        "open_price": "50000.00",
        "settle_price": None,
        "settle_source": None,
        "outcome": None,
        "forced": False,
        "price_source": "pushed",
        "client_order_id": "o-1",
        "settled_at": None,
        "reason": None,
    }
    assert trade["opens_at"][:19] == "2031-05-01T12:00:00"
    assert trade["expires_at"] == trade["opens_at"].replace("12:00:00", "12:00:30")
    (update,) = accepted["updates"]
    assert (update["change_type"], update["trade"]) == ("option_opened", trade)
    (change,) = update["changes"]
    assert (change["account"], change["amount"]) == (USDT, "-10.000000")
    assert update["metadata"] == {"via": "app"}


@pytest.mark.parametrize(
    ("direction", "price", "outcome", "balance"),
    [
        ("down", "49999.99", "win", "108.000000"),
        ("down", "50000.01", "lose", "90.000000"),
    ],
)
async def test_an_option_ends_by_the_price_of_its_expiry(
    market: Edge, direction: str, price: str, outcome: str, balance: str
) -> None:
    made = opened(await market.option(direction=direction))
    await settle(market, price)
    ended = (await market.get(f"/v1/options/{made['id']}", by="alice")).json()
    msgspec.convert(ended, OptionTrade)
    assert (ended["status"], ended["outcome"], ended["forced"]) == ("settled", outcome, False)
    assert (ended["open_price"], ended["settle_price"]) == ("50000.00", price)
    (usdt,) = (await market.get("/v1/users/alice/balances?book=main")).json()["balances"]
    assert usdt["balance"] == balance
    newest = (await market.get("/v1/users/me/history?limit=1", by="alice")).json()["items"][0]
    assert (newest["change_type"], newest["trade"]) == ("option_settled", ended)
    assert len(newest["changes"]) == (0 if outcome == "lose" else 1)


async def test_an_option_without_a_price_of_its_expiry_is_refunded(market: Edge) -> None:
    made = opened(await market.option(duration_s=120))
    market.clock.forward(121)
    await market.services.manager.trading.settle_due()
    ended = (await market.get(f"/v1/options/{made['id']}", by="alice")).json()
    assert (ended["status"], ended["outcome"], ended["settle_price"]) == ("refunded", None, None)
    assert ended["reason"]
    assert await market.balance("alice", 1) == "100.000000"


@pytest.mark.parametrize(
    ("changed", "status", "code", "pointer"),
    [
        ({"stake": 10}, 422, "invalid_amount", "/stake"),
        ({"stake": None}, 422, "invalid_amount", "/stake"),
        ({"stake": "10.0000000"}, 422, "invalid_amount", "/stake"),
        ({"stake": "0"}, 422, "invalid_amount", "/stake"),
        ({"stake": "-10"}, 422, "invalid_amount", "/stake"),
        ({"stake": "ten"}, 422, "invalid_amount", "/stake"),
        ({"stake": "1000.000001"}, 422, "invalid_amount", "/stake"),
        ({"stake": "101"}, 422, "insufficient_funds", "/stake"),
        ({"duration_s": 31}, 400, "invalid_request", "/duration_s"),
        ({"duration_s": 0}, 400, "invalid_request", "/duration_s"),
        ({"duration_s": -30}, 400, "invalid_request", "/duration_s"),
        ({"duration_s": "30"}, 400, "invalid_request", "/duration_s"),
        ({"duration_s": 30.5}, 400, "invalid_request", "/duration_s"),
        ({"duration_s": True}, 400, "invalid_request", "/duration_s"),
        ({"duration_s": 10**30}, 400, "invalid_request", "/duration_s"),
        ({"direction": "buy"}, 400, "invalid_request", "/direction"),
        ({"direction": None}, 400, "invalid_request", "/direction"),
        ({"pair": "XRP-USDT"}, 404, "not_found", "/pair"),
        ({"book": "none"}, 422, "unknown_book", "/book"),
        ({"client_order_id": ""}, 400, "invalid_request", "/client_order_id"),
        ({"user_id": "bob"}, 403, "not_allowed", "/user_id"),
        ({"internal": 1}, 403, "not_allowed", "/internal"),
        ({"effective_at": "2031-01-01T00:00:00Z"}, 403, "not_allowed", "/effective_at"),
    ],
)
async def test_an_option_that_cannot_be_is_refused(
    market: Edge, changed: dict[str, Any], status: int, code: str, pointer: str
) -> None:
    answer = await market.option(**changed)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert problem["errors"][0]["pointer"] == pointer
    if code == "insufficient_funds":
        assert (problem["required"], problem["available"]) == ("101.000000", "100.000000")
    assert (await market.get("/v1/options")).json()["items"] == []
    assert await market.balance("alice", 1) == "100.000000"


async def test_a_stake_is_at_most_the_maximum_of_the_pair(market: Edge) -> None:
    await market.fund("alice", "5000")
    assert (await market.option(stake="1000")).status_code == 201
    assert (await market.option(stake="1000.000001")).json()["code"] == "invalid_amount"


async def test_what_a_book_may_pay_out_on_a_pair_is_limited(market: Edge) -> None:
    limit = {"exposure_limit": "12"}
    assert (await market.call("PUT", "/v1/admin/pairs/BTC-USDT", json=limit)).status_code == 200
    first = opened(await market.option())
    over = await market.option()
    assert (over.status_code, over.json()["code"]) == (422, "exposure_limit")
    assert (await market.option(stake="5")).status_code == 201
    assert (await market.option(stake="0.00001")).json()["code"] == "exposure_limit"
    # Another book has its own.
    demo = opened(await market.option(book="demo"))
    assert (await market.option(book="demo")).json()["code"] == "exposure_limit"
    assert (await force(market, demo["id"])).status_code == 201
    assert (await market.option(book="demo")).status_code == 201
    await settle(market, "50001")
    ended = (await market.get(f"/v1/options/{first['id']}")).json()
    assert ended["status"] == "settled"
    assert (await market.option()).status_code == 201


async def test_an_option_wants_a_price_that_is_fresh(edge: Edge) -> None:
    await edge.fund("alice")
    assert (await edge.option()).json()["code"] == "stale_price"
    await edge.price()
    edge.clock.forward(16)
    old = await edge.option()
    assert (old.status_code, old.json()["code"]) == (422, "stale_price")


async def test_the_account_is_looked_at_before_price_stake_and_limits(market: Edge) -> None:
    path = "/v1/admin/accounts/main/alice/USDT"
    made = opened(await market.option())
    await market.call("PATCH", path, json={"status": "frozen"})
    for stake in ("10", "0", "5000"):
        frozen = await market.option(stake=stake)
        assert (frozen.status_code, frozen.json()["code"]) == (409, "account_frozen")
    # What is open ends all the same.
    await settle(market, "50001")
    ended = (await market.get(f"/v1/options/{made['id']}")).json()
    assert ended["outcome"] == "win"
    await market.call("PATCH", path, json={"status": "active", "suspend_below": "100"})
    charge = {"user_id": "alice", "asset": "USDT", "amount": "9"}
    await market.post("/v1/charges", charge)
    suspended = await market.option()
    assert (suspended.status_code, suspended.json()["code"]) == (409, "account_suspended")


async def test_an_account_is_not_closed_while_an_option_is_open(market: Edge) -> None:
    made = opened(await market.option(stake="100"))
    path = "/v1/admin/accounts/main/alice/USDT"
    early = await market.call("PATCH", path, json={"status": "closed"})
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    await settle(market, "49999")
    assert (await market.get(f"/v1/options/{made['id']}")).json()["outcome"] == "lose"
    assert (await market.call("PATCH", path, json={"status": "closed"})).status_code == 201
    closed = await market.option()
    assert (closed.status_code, closed.json()["code"]) == (409, "account_closed")


async def test_options_are_settled_while_paused_and_none_is_opened(market: Edge) -> None:
    made = opened(await market.option())
    await market.call("POST", "/v1/admin/pause")
    refused = await market.option()
    assert (refused.status_code, refused.json()["code"]) == (503, "paused")
    await settle(market, "50001")
    assert (await market.get(f"/v1/options/{made['id']}")).json()["outcome"] == "win"


async def test_everybody_opens_for_themselves_where_the_book_allows_it(market: Edge) -> None:
    for name, settings in (
        ("shop", {}),
        ("flats", {"side": "debit", "self_service": True}),
        ("club", {"accounts": "strict", "self_service": True}),
    ):
        await market.call("PUT", f"/v1/admin/books/{name}", json=settings)
    for by, book, status, code in (
        ("alice", "shop", 403, "not_allowed"),
        ("ada:admin", "shop", 403, "not_allowed"),
        ("alice", "flats", 400, "invalid_request"),
        ("alice", "club", 422, "unknown_user"),
        ("alice:auditor", "main", 403, "not_allowed"),
    ):
        answer = await market.option(by, book=book)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (by, book)


async def test_a_repeat_under_a_key_answers_the_first_result(market: Edge) -> None:
    body = {"pair": "BTC-USDT", "direction": "up", "stake": "10", "duration_s": 30}
    first = await market.post("/v1/options", body, by="alice", key="k")
    await settle(market, "50001")
    same = body | {"stake": "10.0", "book": "main", "client_order_id": None}
    again = await market.post("/v1/options", same, by="alice", key="k")
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content) == (201, first.content)
    for other in ({"stake": "11"}, {"direction": "down"}, {"duration_s": 60}, {"book": "demo"}):
        answer = await market.post("/v1/options", body | other, by="alice", key="k")
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_client_order_id_is_used_once(market: Edge) -> None:
    first = opened(await market.option(client_order_id="c-1"))
    again = await market.option(client_order_id="c-1", book="demo")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert first["id"] in again.json()["detail"]


async def test_a_demo_option_is_forced_once(market: Edge) -> None:
    for outcome, amount in (("win", "18.000000"), ("tie", "10.000000"), ("lose", None)):
        await market.price()
        made = opened(await market.option(book="demo"))
        # Too long for a trade, and no matter here: the price decides nothing.
        market.clock.forward(16)
        answer = await force(market, made["id"], outcome, key=f"k-{outcome}")
        assert answer.status_code == 201, answer.text
        msgspec.convert(answer.json(), AcceptedOption)
        ended = answer.json()["trade"]
        assert (ended["status"], ended["outcome"], ended["forced"]) == ("settled", outcome, True)
        (update,) = answer.json()["updates"]
        assert (update["user_id"], update["change_type"]) == ("alice", "option_settled")
        assert [each["amount"] for each in update["changes"]] == [amount] * bool(amount)
        assert answer.headers["location"] == f"/v1/transactions/{answer.json()['transaction_id']}"
        again = await force(market, made["id"], outcome, key=f"k-{outcome}")
        assert (again.status_code, again.content) == (201, answer.content)
        assert again.headers["idempotent-replayed"] == "true"
        for other in ("win", "lose", "tie"):
            late = await force(market, made["id"], other)
            assert (late.status_code, late.json()["code"]) == (409, "conflict")
        own = (await market.get(f"/v1/options/{made['id']}", by="alice")).json()
        assert own == ended
        seen = (await market.get("/v1/users/me/history?limit=1", by="alice")).json()["items"][0]
        assert seen["trade"] == ended
    # It is not settled once more.
    await settle(market, "50001")
    newest = (await market.get("/v1/admin/transactions?limit=1")).json()["items"][0]
    assert newest["transaction_id"] == answer.json()["transaction_id"]


async def test_no_outcome_is_forced_outside_demo(market: Edge) -> None:
    club = {"self_service": True}
    await market.call("PUT", "/v1/admin/books/demo2", json=club)
    await market.fund("alice", book="demo2")
    for book in ("main", "demo2"):
        made = opened(await market.option(book=book))
        for outcome in ("win", "lose", "tie"):
            answer = await force(market, made["id"], outcome)
            assert (answer.status_code, answer.json()["code"]) == (409, "demo_only")
    await settle(market, "49999")
    # Nor is anybody told there that it has ended.
    ended = await force(market, made["id"])
    assert (ended.status_code, ended.json()["code"]) == (409, "demo_only")
    assert (await market.get(f"/v1/options/{made['id']}")).json()["outcome"] == "lose"


async def test_what_is_no_open_option_is_not_forced(market: Edge) -> None:
    made = opened(await market.option(book="demo"))
    spot = opened(await market.order(base_amount="0.001", book="demo"))
    for unknown in (spot["id"], made["id"][:-4] + "0000", "x", "%00"):
        answer = await force(market, unknown)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), unknown
    for outcome in ("", "WIN", "refund", None, 1, ["win"]):
        answer = await force(market, made["id"], outcome)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert answer.json()["errors"][0]["pointer"] == "/outcome"
    path = f"/v1/options/{made['id']}/force"
    assert (await market.post(path, {})).status_code == 400
    for by in ("alice", "eve:auditor", "ada:admin"):
        answer = await force(market, made["id"], by=by)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    await settle(market, "50001")
    late = await force(market, made["id"])
    assert (late.status_code, late.json()["code"]) == (409, "conflict")


async def test_options_are_read_by_their_owner_and_by_auditors(market: Edge) -> None:
    made = opened(await market.option())
    path = f"/v1/options/{made['id']}"
    for by in ("alice", "eve:auditor", "ada:admin"):
        assert (await market.get(path, by=by)).json() == made
    hidden = await market.get(path, by="bob")
    unknown = await market.get(path[:-4] + "0000", by="bob")
    assert (hidden.status_code, unknown.status_code) == (404, 404)
    assert hidden.json()["detail"] == unknown.json()["detail"]
    elsewhere = await market.get(f"/v1/spot/orders/{made['id']}", by="alice")
    assert elsewhere.status_code == 404


async def test_options_are_listed_newest_first_by_status(market: Edge) -> None:
    await market.fund("bob")
    ids = [opened(await market.option(stake="1"))["id"]]
    await settle(market, "50001")
    for user, changed in (("alice", {}), ("bob", {}), ("alice", {"book": "demo"})):
        ids.append(opened(await market.option(user, stake="1", **changed))["id"])
    await market.order(base_amount="0.001")

    async def listed(query: str, by: str = "eve:auditor") -> list[int]:
        answer = await market.get(f"/v1/options{query}", by=by)
        assert answer.status_code == 200, answer.text
        page = msgspec.convert(answer.json(), Options)
        return [ids.index(each.id) for each in page.items]

    assert await listed("") == [3, 2, 1, 0]
    assert await listed("", "alice") == [3, 1, 0]
    assert await listed("?status=open", "alice") == [3, 1]
    assert await listed("?status=open&book=main&user_id=alice") == [1]
    assert await listed("?status=settled") == [0]
    assert await listed("?status=refunded") == []
    first = (await market.get("/v1/options?limit=1&status=open")).json()
    opened(await market.option(stake="1"))
    assert await listed(f"?limit=5&cursor={first['next_cursor']}") == [2, 1]
    assert (await market.get("/v1/options?user_id=bob", by="alice")).status_code == 403
    assert (await market.get("/v1/options?status=won", by="alice")).status_code == 400
