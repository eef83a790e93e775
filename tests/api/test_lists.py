"""Reads: balances as of then, history and lists by page, the catalog, the audit."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from tallywire.api import schemas

from .conftest import Edge


async def items(edge: Edge, path: str, **query: Any) -> list[Any]:
    """Every item of a list, page by page; the cursor alone continues it."""
    found: list[Any] = []
    given = {name.replace("__", "."): value for name, value in query.items()}
    while True:
        answer = await edge.get(f"{path}?{urlencode(given)}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= int(query.get("limit", 100))
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        given = {"cursor": page["next_cursor"]}
        if "limit" in query:
            given["limit"] = query["limit"]


async def test_balances_of_nobody_are_empty(edge: Edge) -> None:
    answer = (await edge.get("/v1/users/nobody/balances")).json()
    assert (answer["user_id"], answer["position"], answer["balances"]) == ("nobody", 0, [])


async def test_balances_as_of_then(edge: Edge) -> None:
    await edge.fund("alice", "1")
    edge.clock.forward(60)
    await edge.fund("alice", "2")
    path = "/v1/users/alice/balances"
    for query, balance in (
        ({"as_of_position": 1}, "1.000000"),
        ({"as_of_position": 2}, "3.000000"),
        ({"as_of_time": "2031-05-01T12:00:59Z"}, "1.000000"),
        ({"as_of_time": "2031-05-01T14:01:00+02:00"}, "3.000000"),
        ({"book": "main"}, "3.000000"),
    ):
        answer = (await edge.get(f"{path}?{urlencode(query)}")).json()
        msgspec.convert(answer, schemas.Balances)
        assert [each["balance"] for each in answer["balances"]] == [balance], query
    for empty in ("as_of_position=0", "as_of_time=2026-01-01T00:00:00Z", "book=demo"):
        assert (await edge.get(f"{path}?{empty}")).json()["balances"] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("as_of_position=1", 422),
        ("as_of_time=2032-01-01T00:00:00Z", 422),
        ("as_of_time=yesterday", 400),
        ("as_of_time=2026-01-01", 400),
        ("as_of_position=0&as_of_time=2026-01-01T00:00:00Z", 400),
        ("book=nowhere", 422),
        ("book=nowhere&as_of_position=0", 422),
        ("book=", 422),
    ],
)
async def test_balances_that_cannot_be_are_refused(edge: Edge, query: str, status: int) -> None:
    answer = await edge.get(f"/v1/users/alice/balances?{query}")
    assert answer.status_code == status


async def test_history_is_newest_first_by_pages_that_later_rows_never_enter(edge: Edge) -> None:
    for number in range(7):
        await edge.fund("alice", str(number + 1))
    path = "/v1/users/alice/history"
    first = (await edge.get(f"{path}?limit=3")).json()
    assert [each["position"] for each in first["items"]] == [7, 6, 5]
    await edge.fund("alice")
    second = (await edge.get(f"{path}?limit=4&cursor={first['next_cursor']}")).json()
    assert [each["position"] for each in second["items"]] == [4, 3, 2, 1]
    assert second["next_cursor"] is None
    for item in first["items"]:
        msgspec.convert(item, schemas.SeenUpdate)


async def test_history_is_filtered_and_its_cursor_carries_the_filters(edge: Edge) -> None:
    for number in range(6):
        body = {
            "user_id": "alice",
            "asset": "USDT",
            "amount": "1",
            "reference": f"r-{number % 2}",
            "metadata": {"via": "bank" if number < 4 else "card", "n": number},
        }
        await edge.post("/v1/recharges" if number == 5 else "/v1/deposits", body)
        edge.clock.forward(60)
    path = "/v1/users/alice/history"
    for query, positions in (
        ({"metadata__via": "bank"}, [4, 3, 2, 1]),
        ({"metadata__n": "3"}, [4]),
        ({"reference": "r-1"}, [6, 4, 2]),
        ({"reference": "r-*"}, [6, 5, 4, 3, 2, 1]),
        ({"type": "recharge"}, [6]),
        ({"type": "deposit", "reference": "r-0"}, [5, 3, 1]),
        ({"asset": "USD"}, []),
        ({"book": "main", "from": "2031-05-01T12:01:00Z", "to": "2031-05-01T12:03:00Z"}, [3, 2]),
    ):
        for limit in (1, 2, 100):
            found = await items(edge, path, limit=limit, **query)
            assert [each["position"] for each in found] == positions, (query, limit)


async def test_a_cursor_does_not_fit_other_filters_or_users(edge: Edge) -> None:
    for _ in range(3):
        await edge.fund("alice")
    page = (await edge.get("/v1/users/alice/history?limit=1&type=deposit")).json()
    cursor = page["next_cursor"]
    for path in (
        f"/v1/users/alice/history?type=charge&cursor={cursor}",
        f"/v1/users/bob/history?cursor={cursor}",
        f"/v1/admin/transactions?cursor={cursor}",
        "/v1/users/alice/history?cursor=nonsense",
    ):
        answer = await edge.get(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


async def test_history_shows_admin_fields_to_auditors_only(edge: Edge) -> None:
    await edge.fund("alice")
    own = (await edge.get("/v1/users/me/history", by="alice")).json()["items"][0]
    audited = (await edge.get("/v1/users/alice/history", by="eve:auditor")).json()["items"][0]
    assert "actor" not in own
    assert audited["actor"] == "root"


async def test_transactions_and_audit_are_listed(edge: Edge) -> None:
    for _ in range(3):
        await edge.fund("alice")
    listed = await items(edge, "/v1/admin/transactions", limit=2)
    assert [each["position"] for each in listed] == [3, 2, 1]
    msgspec.convert(listed, list[schemas.Transaction])
    await edge.call("PUT", "/v1/admin/assets/GOLD", json={"scale": 3})
    await edge.call("PUT", "/v1/admin/books/shop", json={"self_service": True})
    await edge.call("POST", "/v1/admin/pause")
    await edge.call("POST", "/v1/admin/resume")
    audit = await items(edge, "/v1/admin/audit", limit=3)
    msgspec.convert(audit, list[schemas.AuditEntry])
    assert {each["actor"] for each in audit} == {"root"}
    assert [each["target"] for each in audit][-2:] == ["shop", "GOLD"]
    assert len(audit) == 4


async def test_the_trial_balance_sums_to_zero(edge: Edge) -> None:
    await edge.fund("alice", "5")
    await edge.fund("bob", "7")
    now = (await edge.get("/v1/admin/trial-balance")).json()
    msgspec.convert(now, schemas.TrialBalance)
    assert now["sums"] == {"main/USDT": "0.000000"}
    balances = {each["owner_kind"]: each["balance"] for each in now["rows"]}
    assert balances == {"user": "12.000000", "@world": "-12.000000"}
    then = (await edge.get("/v1/admin/trial-balance?as_of_position=1")).json()
    assert {each["balance"] for each in then["rows"]} == {"5.000000", "-5.000000"}
    assert (await edge.get("/v1/admin/trial-balance?as_of_position=9")).status_code == 422


async def test_assets_and_books_are_made_listed_and_changed(edge: Edge) -> None:
    made = await edge.call("PUT", "/v1/admin/assets/GOLD", json={"scale": 3})
    assert (made.status_code, made.json()) == (200, {"code": "GOLD", "scale": 3})
    assets = (await edge.get("/v1/assets", by="alice")).json()
    msgspec.convert(assets, schemas.Assets)
    assert {each["code"]: each["scale"] for each in assets["items"]} == {
        "USD": 2,
        "EUR": 2,
        "USDT": 6,
        "BTC": 8,
        "ETH": 9,
        "COIN": 0,
        "GOLD": 3,
    }
    await edge.call("PUT", "/v1/admin/books/game:42", json={"accounts": "strict"})
    changed = await edge.call("PUT", "/v1/admin/books/game:42", json={"self_service": True})
    assert changed.json()["accounts"] == "strict"
    books = (await edge.get("/v1/books", by="alice")).json()
    msgspec.convert(books, schemas.Books)
    assert [each["name"] for each in books["items"]] == ["demo", "game:42", "main"]
    refused = await edge.post(
        "/v1/deposits", {"user_id": "alice", "asset": "GOLD", "amount": "1", "book": "game:42"}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_user")


@pytest.mark.parametrize(("listed", "name"), [("assets", "code"), ("books", "name")])
async def test_assets_and_books_are_listed_by_page(edge: Edge, listed: str, name: str) -> None:
    for code in ("GOLD", "A1", "Z9"):
        await edge.call("PUT", f"/v1/admin/assets/{code}", json={"scale": 3})
        await edge.call("PUT", f"/v1/admin/books/{code.lower()}", json={})
    path = f"/v1/{listed}"
    whole = (await edge.get(path)).json()
    assert whole["next_cursor"] is None
    names = [each[name] for each in whole["items"]]
    assert names == sorted(names)
    assert await items(edge, path, limit=2) == whole["items"]
    assert await items(edge, path, limit=len(names)) == whole["items"]
    first = (await edge.get(f"{path}?limit=2")).json()
    other = "books" if listed == "assets" else "assets"
    for wrong, status in (
        (f"{other}?cursor={first['next_cursor']}", 422),
        (f"{listed}?cursor=x", 422),
        (f"{listed}?limit=0", 400),
    ):
        assert (await edge.get(f"/v1/{wrong}")).status_code == status


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/admin/assets/gold", {"scale": 3}, 400, "invalid_request"),
        ("/v1/admin/assets/GOLD", {"scale": 13}, 400, "invalid_request"),
        ("/v1/admin/assets/GOLD", {}, 400, "invalid_request"),
        ("/v1/admin/books/Shop", {}, 400, "invalid_request"),
        ("/v1/admin/books/shop", {"side": "left"}, 400, "invalid_request"),
        ("/v1/admin/books/shop", {"timezone": "Mars/Base"}, 400, "invalid_request"),
        ("/v1/admin/books/shop", {"starts_on": "May"}, 400, "invalid_request"),
        ("/v1/admin/books/shop", {"default_floor": 5}, 422, "invalid_amount"),
        ("/v1/admin/books/main", {"side": "debit"}, 409, "conflict"),
    ],
)
async def test_settings_that_cannot_be_are_refused(
    edge: Edge, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await edge.call("PUT", path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("path", ["/v1/users/alice/balances", "/v1/admin/trial-balance"])
@pytest.mark.parametrize("position", [1, 2**63, 10**30])
async def test_no_position_lies_beyond_the_head(edge: Edge, path: str, position: int) -> None:
    answer = await edge.call("GET", f"{path}?as_of_position={position}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")
