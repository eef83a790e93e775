"""Changes of money over HTTP: what is answered, to whom, and repeated how."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tallywire.api.schemas import Accepted, SeenUpdate

from .conftest import Edge


async def test_a_deposit_is_answered_with_its_update(edge: Edge) -> None:
    answer = await edge.post(
        "/v1/deposits",
        {
            "user_id": "alice",
            "asset": "USDT",
            "amount": "12.5",
            "description": "Bank deposit",
            "reference": "b-1",
            "metadata": {"via": "bank"},
            "internal": {"desk": 4},
        },
    )
    assert answer.status_code == 201
    accepted = answer.json()
    assert answer.headers["location"] == f"/v1/transactions/{accepted['transaction_id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "idempotent-replayed" not in answer.headers
    (update,) = accepted["updates"]
    assert list(update)[:2] == ["epoch", "position"]
    assert (update["user_id"], update["change_type"]) == ("alice", "deposit")
    assert (update["metadata"], update["internal"]) == ({"via": "bank"}, {"desk": 4})
    assert (update["actor"], update["actor_role"]) == ("root", "superadmin")
    (change,) = update["changes"]
    assert (change["account"], change["amount"]) == ("main/alice/USDT", "12.500000")
    msgspec.convert(accepted, Accepted)
    assert await edge.balance("alice") == "12.500000"


async def test_a_user_sees_the_own_update_only_without_admin_fields(edge: Edge) -> None:
    await edge.fund("alice")
    body = {"from_user": "me", "to_user": "bob", "asset": "USDT", "amount": "40"}
    answer = await edge.post("/v1/transfers", body, by="alice")
    assert answer.status_code == 201
    (update,) = answer.json()["updates"]
    assert update["user_id"] == "alice"
    assert not {"internal", "actor", "actor_role", "idempotency_key"} & set(update)
    answer = await edge.post("/v1/transfers", body | {"from_user": "alice"})
    assert [each["user_id"] for each in answer.json()["updates"]] == ["alice", "bob"]
    assert await edge.balance("bob") == "80.000000"


@pytest.mark.parametrize(
    ("path", "book", "sign"),
    [
        ("/v1/charges", "main", "-"),
        ("/v1/recharges", "main", ""),
        ("/v1/charges", "rent", ""),
        ("/v1/payments", "rent", "-"),
    ],
)
async def test_services_are_charged_and_paid_for(
    edge: Edge, path: str, book: str, sign: str
) -> None:
    await edge.call("PUT", "/v1/admin/books/rent", json={"side": "debit"})
    await edge.fund("alice")
    body = {"user_id": "alice", "asset": "USDT", "amount": "3", "book": book}
    answer = await edge.post(path, body | {"service_type": "vps", "metadata": {"plan": "s"}})
    assert answer.status_code == 201, answer.text
    (update,) = answer.json()["updates"]
    assert update["metadata"] == {"plan": "s", "service_type": "vps"}
    assert update["changes"][0]["amount"] == f"{sign}3.000000"


async def test_a_shared_charge_is_one_transaction(edge: Edge) -> None:
    await edge.call("PUT", "/v1/admin/books/rent", json={"side": "debit"})
    shares = [{"user_id": user, "weight": 1} for user in ("carol", "alice", "bob")]
    body = {"book": "rent", "asset": "USD", "amount": "1", "shares": shares, "category": "water"}
    answer = await edge.post("/v1/shared-charges", body)
    assert answer.status_code == 201, answer.text
    amounts = {each["user_id"]: each["changes"][0]["amount"] for each in answer.json()["updates"]}
    assert amounts == {"alice": "0.33", "bob": "0.33", "carol": "0.34"}
    assert {each["metadata"]["category"] for each in answer.json()["updates"]} == {"water"}


async def test_an_adjustment_moves_by_or_to(edge: Edge) -> None:
    why = {"user_id": "alice", "asset": "COIN", "description": "count"}
    assert (await edge.post("/v1/adjustments", why | {"amount": "7"})).status_code == 201
    stale = await edge.post("/v1/adjustments", why | {"new_balance": "9", "if_seq": 4})
    assert (stale.status_code, stale.json()["code"]) == (409, "conflict")
    done = await edge.post("/v1/adjustments", why | {"new_balance": "3", "if_seq": 1})
    assert done.json()["updates"][0]["changes"][0]["amount"] == "-4"


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"description": ""}, "/description"),
        ({"new_balance": "1"}, "/amount"),
        ({"amount": None}, "/amount"),
        ({"if_seq": 1}, "/if_seq"),
    ],
)
async def test_an_adjustment_says_what_and_why(
    edge: Edge, changed: dict[str, object], pointer: str
) -> None:
    body = {"user_id": "alice", "asset": "COIN", "description": "count", "amount": "7"} | changed
    answer = await edge.post("/v1/adjustments", body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)


async def test_a_repeat_under_a_key_answers_the_first_result(edge: Edge) -> None:
    body = {"user_id": "alice", "asset": "USDT", "amount": "5"}
    first = await edge.post("/v1/deposits", body, key="k 1")
    same = await edge.post("/v1/deposits", body | {"amount": "5.00", "book": "main"}, key='"k 1"')
    assert same.headers["idempotent-replayed"] == "true"
    assert (same.status_code, same.content) == (201, first.content)
    other = await edge.post("/v1/deposits", body | {"amount": "6"}, key="k 1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = await edge.post("/v1/deposits", body, key="k 1", by="other:admin")
    assert elsewhere.json()["position"] == 2


@pytest.mark.parametrize(
    "key", [b"", b'"open', b'""', b"k" * 256, b'"\xc2\x80"', b"\xe9", b"\xff", b"a\tb"]
)
async def test_a_key_that_is_none_is_refused(edge: Edge, key: bytes) -> None:
    body = {"user_id": "alice", "asset": "USDT", "amount": "5"}
    answer = await edge.post("/v1/deposits", body, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("key", [b"k" * 255, "é".encode() * 255, b'"a \\" b"', b"0"])
async def test_a_key_has_1_to_255_characters(edge: Edge, key: bytes) -> None:
    body = {"user_id": "alice", "asset": "USDT", "amount": "5"}
    for replayed in (None, "true"):
        answer = await edge.post("/v1/deposits", body, headers={"Idempotency-Key": key})
        assert answer.status_code == 201
        assert answer.headers.get("idempotent-replayed") == replayed


async def test_users_serve_themselves_within_bounds(edge: Edge) -> None:
    await edge.fund("alice")
    await edge.call("PUT", "/v1/admin/books/shop", json={})
    body = {"user_id": "me", "asset": "USDT", "amount": "1"}
    assert (await edge.post("/v1/withdrawals", body, by="alice")).status_code == 201
    not_for_users: list[dict[str, Any]] = [
        {"user_id": "bob"},
        {"internal": {}},
        {"effective_at": "2026-01-01T00:00:00Z"},
        {"book": "shop"},
    ]
    for refused in not_for_users:
        answer = await edge.post("/v1/withdrawals", body | refused, by="alice")
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), refused
    auditor = await edge.post("/v1/withdrawals", body, by="alice:auditor")
    assert auditor.status_code == 403
    funds = await edge.post("/v1/withdrawals", body | {"amount": "100"}, by="alice")
    assert (funds.status_code, funds.json()["code"]) == (422, "insufficient_funds")
    assert (funds.json()["required"], funds.json()["available"]) == ("100.000000", "99.000000")


async def test_effective_at_lies_in_the_past(edge: Edge) -> None:
    body = {"user_id": "alice", "asset": "USDT", "amount": "5"}
    past = await edge.post("/v1/deposits", body | {"effective_at": "2031-04-01T10:00:00+02:00"})
    assert past.json()["updates"][0]["effective_at"] == "2031-04-01T08:00:00.000000Z"
    for time in ("2032-01-01T00:00:00Z", "2031-04-01", "yesterday"):
        answer = await edge.post("/v1/deposits", body | {"effective_at": time})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["pointer"] == "/effective_at"


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"amount": "0"}, 422, "invalid_amount"),
        ({"amount": "-1"}, 422, "invalid_amount"),
        ({"amount": "1.0000000"}, 422, "invalid_amount"),
        ({"amount": 5}, 422, "invalid_amount"),
        ({"asset": "NONE"}, 422, "unknown_asset"),
        ({"book": "none"}, 422, "unknown_book"),
        ({"user_id": "@house"}, 400, "invalid_request"),
        ({"user_id": ""}, 400, "invalid_request"),
        ({"description": "x" * 501}, 400, "invalid_request"),
        ({"metadata": {"x": "y" * 4096}}, 400, "invalid_request"),
        ({"metadata": {"1": {"2": {"3": {"4": {"5": {}}}}}}}, 400, "invalid_request"),
    ],
)
async def test_a_deposit_that_cannot_be_is_refused(
    edge: Edge, changed: dict[str, object], status: int, code: str
) -> None:
    body = {"user_id": "alice", "asset": "USDT", "amount": "5"} | changed
    answer = await edge.post("/v1/deposits", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == "/v1/deposits"


async def test_null_is_absent(edge: Edge) -> None:
    body = {"user_id": "alice", "asset": "USDT", "amount": "5"}
    options = ("book", "description", "reference", "metadata", "internal", "effective_at")
    nothing = dict.fromkeys(options)
    plain = await edge.post("/v1/deposits", body, key="k")
    assert plain.status_code == 201, plain.text
    same = await edge.post("/v1/deposits", body | nothing, key="k")
    assert (same.status_code, same.content) == (201, plain.content)
    for path, more in (
        ("/v1/withdrawals", {}),
        ("/v1/charges", {"service_type": None}),
        ("/v1/adjustments", {"description": "why", "new_balance": None, "if_seq": None}),
    ):
        answer = await edge.post(path, body | nothing | {"amount": "1"} | more)
        assert answer.status_code == 201, answer.text
    sent = {"from_user": "alice", "to_user": "bob", "asset": "USDT", "amount": "1"}
    assert (await edge.post("/v1/transfers", sent | nothing)).status_code == 201
    batch = {"atomic": None, "items": [{"operation": "deposit", **body, **nothing}]}
    assert (await edge.post("/v1/batches", batch)).json()["results"][0]["status"] == 201
    without = await edge.post("/v1/adjustments", body | {"description": None})
    assert (without.status_code, without.json()["errors"][0]["pointer"]) == (400, "/description")


async def test_null_of_a_setting_is_absent_where_it_does_not_mean_none(edge: Edge) -> None:
    await edge.fund("alice")
    path = "/v1/admin/accounts/main/alice/USDT"
    changed = await edge.call("PATCH", path, json={"status": None, "floor": None})
    assert changed.status_code == 201, changed.text
    change = changed.json()["updates"][0]["changes"][0]
    assert (change["status"], change["floor"]) == ("active", None)
    assert (await edge.call("PATCH", path, json={"status": None})).status_code == 400
    book = "/v1/admin/books/flats"
    given = {"side": "debit", "accounts": "strict", "self_service": True, "timezone": "Asia/Tokyo"}
    period = {"starts_on": "2026-01-01", "closed_through": "2026-02-01"}
    made = (await edge.call("PUT", book, json=given | period)).json()
    same = await edge.call("PUT", book, json=dict.fromkeys(given))
    assert (same.status_code, same.json()) == (200, made)
    cleared = await edge.call("PUT", book, json=dict.fromkeys(period))
    assert cleared.json() == made | dict.fromkeys(period)


@pytest.mark.parametrize("amount", ["0", "-1", "x", "1.0000000", "99999999999999999999"])
async def test_the_account_is_looked_at_before_the_amount(edge: Edge, amount: str) -> None:
    await edge.fund("alice")
    path = "/v1/admin/accounts/main/alice/USDT"
    assert (await edge.call("PATCH", path, json={"status": "frozen"})).status_code == 201
    await edge.call("PUT", "/v1/admin/books/flats", json={"accounts": "strict"})
    body = {"user_id": "alice", "asset": "USDT", "amount": amount}
    for book, status, code in (("main", 409, "account_frozen"), ("flats", 422, "unknown_user")):
        answer = await edge.post("/v1/deposits", body | {"book": book})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    absent = await edge.call("PATCH", path.replace("alice", "bob"), json={"floor": "x"})
    assert (absent.status_code, absent.json()["code"]) == (404, "not_found")


async def test_accounts_are_made_and_set(edge: Edge) -> None:
    body = {"book": "main", "user_id": "a/b", "asset": "COIN", "floor": "-5"}
    made = await edge.post("/v1/admin/accounts", body)
    assert made.status_code == 201, made.text
    assert made.json()["updates"][0]["changes"][0]["floor"] == "-5"
    path = "/v1/admin/accounts/main/a%2Fb/COIN"
    changed = await edge.call("PATCH", path, json={"floor": None, "status": "frozen"})
    assert changed.status_code == 201, changed.text
    change = changed.json()["updates"][0]["changes"][0]
    assert (change["floor"], change["status"], change["seq"]) == (None, "frozen", 2)
    nothing = await edge.call("PATCH", path, json={})
    assert nothing.status_code == 400
    absent = await edge.call("PATCH", path.replace("COIN", "USD"), json={"floor": None})
    assert (absent.status_code, absent.json()["code"]) == (404, "not_found")


async def test_changes_are_refused_while_paused(edge: Edge) -> None:
    await edge.fund("alice")
    assert (await edge.call("GET", "/v1/admin/pause")).json() == {"paused": False}
    assert (await edge.call("POST", "/v1/admin/pause")).json() == {"paused": True}
    assert (await edge.call("GET", "/v1/admin/pause")).json() == {"paused": True}
    body = {"user_id": "alice", "asset": "USDT", "amount": "5"}
    answer = await edge.post("/v1/deposits", body)
    assert (answer.status_code, answer.json()["code"]) == (503, "paused")
    assert answer.headers["retry-after"]
    batch = await edge.post("/v1/batches", {"items": [{"operation": "deposit", **body}]})
    assert (batch.status_code, batch.json()["code"]) == (503, "paused")
    assert (await edge.get("/v1/users/alice/balances")).status_code == 200
    assert (await edge.call("POST", "/v1/admin/resume")).json() == {"paused": False}
    assert (await edge.post("/v1/deposits", body)).status_code == 201


async def test_transactions_are_read_by_those_who_may(edge: Edge) -> None:
    made = await edge.fund("alice")
    path = f"/v1/transactions/{made['transaction_id']}"
    whole = (await edge.get(path, by="eve:auditor")).json()
    assert {each["account"] for each in whole["postings"]} == {
        "main/@world/USDT",
        "main/alice/USDT",
    }
    assert (whole["reversed_by"], whole["actor"]) == (None, "root")
    own = (await edge.get(path, by="alice")).json()
    assert msgspec.convert(own, SeenUpdate).user_id == "alice"
    assert "actor" not in own
    for by, other in (
        ("bob", path),
        ("alice", "/v1/transactions/%00"),
        ("eve:auditor", f"{path}0"),
    ):
        answer = await edge.get(other, by=by)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
