"""Trading control over HTTP: set for the demo book, copied onto options, refused elsewhere."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
from tallywire.api.schemas import TradingControl

from .conftest import Edge

PATH = "/v1/admin/trading-controls"


@pytest.fixture
async def market(edge: Edge) -> Edge:
    """The edge with a price of 50,000; alice has 100 USDT in main and in demo."""
    await edge.fund("alice")
    await edge.fund("alice", book="demo")
    await edge.price("50000")
    return edge


async def control(edge: Edge, user: str = "alice", by: str = "root:superadmin") -> Any:
    """How the user's options end."""
    answer = await edge.get(f"{PATH}/{user}", by=by)
    assert answer.status_code == 200, answer.text
    return msgspec.to_builtins(msgspec.convert(answer.json(), TradingControl))


async def put(
    edge: Edge, mode: Any, user: str = "alice", by: str = "root:superadmin", **more: Any
) -> httpx.Response:
    """Set the user's control."""
    key = more.pop("key", None)
    return await edge.call("PUT", f"{PATH}/{user}", json={"mode": mode, **more}, by=by, key=key)


async def ended(edge: Edge, book: str, price: str, **changed: Any) -> Any:
    """An option on 50,000 going up, after it has expired at `price`."""
    await edge.price("50000")
    made = (await edge.option(book=book, stake="1", **changed)).json()["trade"]
    edge.clock.forward(29)
    await edge.price(price)
    edge.clock.forward(2)
    await edge.services.manager.trading.settle_due()
    return (await edge.get(f"/v1/options/{made['id']}", by="alice")).json()


async def test_it_is_normal_until_it_is_set_and_stays_until_it_is_changed(edge: Edge) -> None:
    assert await control(edge) == {"user_id": "alice", "mode": "normal", "book": "demo"}
    for mode in ("win", "lose", "lose", "normal", "win"):
        answer = await put(edge, mode)
        assert (answer.status_code, answer.json()) == (
            200,
            {"user_id": "alice", "mode": mode, "book": "demo"},
        )
        for by in ("root:superadmin", "ada:admin", "eve:auditor"):
            assert (await control(edge, by=by))["mode"] == mode
    assert (await control(edge, "bob"))["mode"] == "normal"


async def test_options_take_it_along_as_they_open(market: Edge) -> None:
    for mode, price in (("win", "49999"), ("lose", "50001")):
        assert (await put(market, mode)).status_code == 200
        trade = await ended(market, "demo", price)
        assert (trade["outcome"], trade["forced"], trade["control"]) == (mode, True, mode)
        assert trade["settle_price"] == f"{price}.00"
    await market.price("50000")
    opened = (await market.option(book="demo", stake="1")).json()["trade"]
    assert (opened["forced"], opened["control"], opened["outcome"]) == (True, "lose", None)
    await put(market, "normal")
    free = await ended(market, "demo", "50001")
    assert (free["outcome"], free["forced"]) == ("win", False)
    assert "control" not in free
    before = (await market.get(f"/v1/options/{opened['id']}")).json()
    assert (before["outcome"], before["forced"]) == ("lose", True)


@pytest.mark.parametrize("mode", ["win", "lose"])
async def test_in_other_books_options_end_by_the_price(market: Edge, mode: str) -> None:
    await put(market, mode)
    for price, outcome in (("49999", "lose"), ("50001", "win"), ("50000", "tie")):
        trade = await ended(market, "main", price)
        assert (trade["outcome"], trade["forced"]) == (outcome, False)
        assert "control" not in trade


@pytest.mark.parametrize(
    "book", ["main", "demo2", "nowhere", "Demo", " demo", "demo\u200b", "", "@house", "x" * 300]
)
@pytest.mark.parametrize("mode", ["win", "normal"])
async def test_any_other_book_is_refused(edge: Edge, book: str, mode: str) -> None:
    await edge.call("PUT", "/v1/admin/books/demo2", json={})
    answer = await put(edge, mode, book=book)
    assert (answer.status_code, answer.json()["code"]) == (409, "demo_only")
    assert (await control(edge))["mode"] == "normal"
    assert (await edge.get("/v1/admin/transactions")).json()["items"] == []


@pytest.mark.parametrize("mode", ["", "Win", "tie", "always", None, True, 1, ["win"], {}])
async def test_a_mode_is_win_normal_or_lose(edge: Edge, mode: Any) -> None:
    answer = await put(edge, mode)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["errors"][0]["pointer"] == "/mode"


async def test_a_body_says_which_mode(edge: Edge) -> None:
    assert (await edge.call("PUT", f"{PATH}/alice", json={})).status_code == 400
    assert (await edge.call("PUT", f"{PATH}/alice")).status_code == 400
    assert (await put(edge, "win", book=5)).status_code == 400
    assert (await put(edge, "win", book=None)).json()["book"] == "demo"


async def test_only_superadmins_set_it_and_only_from_auditor_up_it_is_read(edge: Edge) -> None:
    for by in ("alice", "eve:auditor", "ada:admin"):
        answer = await put(edge, "win", by=by)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    for user in ("alice", "me"):
        answer = await edge.get(f"{PATH}/{user}", by="alice")
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert (await control(edge))["mode"] == "normal"


@pytest.mark.parametrize(
    ("path", "user_id"), [("me", "root"), ("a%2Fb", "a/b"), ("%C3%A9", "é"), ("a%25", "a%")]
)
async def test_users_are_named_as_everywhere(edge: Edge, path: str, user_id: str) -> None:
    answer = await put(edge, "win", path)
    assert (answer.status_code, answer.json()["user_id"]) == (200, user_id), answer.text
    assert await control(edge, path) == {"user_id": user_id, "mode": "win", "book": "demo"}


@pytest.mark.parametrize("path", ["@house", "%2E%2E", "a%00", "x" * 129])
async def test_what_is_no_user_is_refused(edge: Edge, path: str) -> None:
    for answer in (await put(edge, "win", path), await edge.get(f"{PATH}/{path}")):
        assert answer.status_code == 400, answer.text


async def test_a_repeat_under_a_key_changes_nothing(edge: Edge) -> None:
    first = await put(edge, "win", key="k")
    assert "idempotent-replayed" not in first.headers
    await put(edge, "lose")
    again = await put(edge, "win", key="k", book="demo")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await control(edge))["mode"] == "lose"
    for other in (await put(edge, "normal", key="k"), await put(edge, "win", "bob", key="k")):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_it_is_in_the_journal_in_the_audit_and_before_the_user(edge: Edge) -> None:
    await put(edge, "win")
    (whole,) = (await edge.get("/v1/admin/transactions")).json()["items"]
    assert (whole["change_type"], whole["postings"]) == ("trading_control", [])
    assert whole["control"] == {"mode": "win", "book": "demo"}
    (entry,) = (await edge.get("/v1/admin/audit")).json()["items"]
    assert (entry["actor"], entry["action"]) == ("root", "trading_control")
    assert (entry["target"], entry["details"]["mode"]) == ("demo/alice", "win")
    (told,) = (await edge.get("/v1/users/me/history", by="alice")).json()["items"]
    assert (told["change_type"], told["changes"]) == ("trading_control", [])
    assert told["control"] == {"mode": "win", "book": "demo"}
    path = f"/v1/transactions/{whole['transaction_id']}"
    assert (await edge.get(path, by="alice")).json() == told
    assert (await edge.get(path, by="bob")).status_code == 404
    undone = await edge.post(f"{path}/reversal", {"description": "why"})
    assert (undone.status_code, undone.json()["code"]) == (409, "not_reversible")


async def test_nothing_is_decided_while_paused(edge: Edge) -> None:
    await edge.call("POST", "/v1/admin/pause")
    answer = await put(edge, "win")
    assert (answer.status_code, answer.json()["code"]) == (503, "paused")
    assert (await control(edge))["mode"] == "normal"
