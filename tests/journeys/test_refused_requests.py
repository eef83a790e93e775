"""What HTTP refuses, as tables: the right problem each time, and nothing has changed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest

from ..services.server import SECRET
from .client import Json, accepted, check_problem, refused
from .conftest import Outside
from .test_client import VECTORS

MISSING = object()


@asynccontextmanager
async def nothing_changes(outside: Outside, *users: str) -> AsyncIterator[None]:
    """The head and the balances are afterwards what they were."""
    head = await outside.admin.head()
    balances = [await outside.admin.balances(user) for user in users]
    yield
    assert await outside.admin.head() == head, "a refused request made a transaction"
    assert [await outside.admin.balances(user) for user in users] == balances


async def _deposit_with(outside: Outside, user: str, changes: Json) -> httpx.Response:
    body = {"user_id": user, "asset": "USDT", "amount": "1", **changes}
    body = {field: value for field, value in body.items() if value is not MISSING}
    # Not httpx's encoder, which refuses NaN and lone surrogates: that is the server's work here.
    return await outside.admin.post_raw("/v1/deposits", json.dumps(body).encode("ascii"))


AMOUNTS: list[object] = [
    *VECTORS["amounts"]["refused"],
    "0",
    "-0",
    "0.000000",
    "-1",
    "1\u0660",
    "١٢",
    "1,5",
    "1.5.",
    "0x10",
    "1" * 400,
    "-9223372036854.775808",
    1,
    1.5,
    0,
    -3,
    10**30,
    True,
    [],
    {},
]


@pytest.mark.parametrize("amount", AMOUNTS, ids=repr)
async def test_an_amount_is_refused(outside: Outside, amount: object) -> None:
    alice = outside.new_user("alice")
    async with nothing_changes(outside, alice):
        answer = await _deposit_with(outside, alice, {"amount": amount})
        problem = refused(answer, 422, "invalid_amount")
        assert [error["pointer"] for error in problem.get("errors", [])] in ([], ["/amount"])


@pytest.mark.parametrize("text", VECTORS["amounts"]["accepted"])
async def test_an_amount_is_accepted(outside: Outside, text: str) -> None:
    minor = VECTORS["amounts"]["accepted"][text]
    # The largest amount fills its system account too, so each goes to an asset of its own.
    asset = await outside.new_asset(6)
    alice = outside.new_user("alice")
    answer = await outside.admin.deposit(alice, text, asset=asset)
    if minor > 0:
        balance = accepted(answer)["updates"][0]["changes"][0]["balance"]
        assert int(balance.replace(".", "")) == minor
    else:
        refused(answer, 422, "invalid_amount")


DEEP: Any = {"5": {"4": {"3": {"2": {"1": {"0": 1}}}}}}

FIELDS: dict[str, tuple[Json, int, str]] = {
    "amount with NUL": ({"amount": "1\u0000"}, 400, "invalid_request"),
    "amount with a lone surrogate": ({"amount": "\ud800"}, 400, "invalid_request"),
    "no amount": ({"amount": MISSING}, 400, "invalid_request"),
    "no user": ({"user_id": MISSING}, 400, "invalid_request"),
    "no asset": ({"asset": MISSING}, 400, "invalid_request"),
    "user is a number": ({"user_id": 7}, 400, "invalid_request"),
    "user is null": ({"user_id": None}, 400, "invalid_request"),
    "user is empty": ({"user_id": ""}, 400, "invalid_request"),
    "user is a dot": ({"user_id": "."}, 400, "invalid_request"),
    "user is two dots": ({"user_id": ".."}, 400, "invalid_request"),
    "user is a system account": ({"user_id": "@world"}, 400, "invalid_request"),
    "user is too long": ({"user_id": "u" * 129}, 400, "invalid_request"),
    "user with a line feed": ({"user_id": "a\nb"}, 400, "invalid_request"),
    "user with NUL": ({"user_id": "a\u0000b"}, 400, "invalid_request"),
    "user with DEL": ({"user_id": "a\u007fb"}, 400, "invalid_request"),
    "user with a C1 control": ({"user_id": "a\u0085b"}, 400, "invalid_request"),
    "user with a lone surrogate": ({"user_id": "a\ud800"}, 400, "invalid_request"),
    "asset is a number": ({"asset": 1}, 400, "invalid_request"),
    "asset is unknown": ({"asset": "NOPE"}, 422, "unknown_asset"),
    "book is unknown": ({"book": "nowhere"}, 422, "unknown_book"),
    "book is a number": ({"book": 1}, 400, "invalid_request"),
    "description is a number": ({"description": 1}, 400, "invalid_request"),
    "description is too long": ({"description": "d" * 501}, 400, "invalid_request"),
    "description with NUL": ({"description": "a\u0000"}, 400, "invalid_request"),
    "description with a lone surrogate": ({"description": "\udfff"}, 400, "invalid_request"),
    "reference is a list": ({"reference": []}, 400, "invalid_request"),
    "reference with NUL": ({"reference": "\u0000"}, 400, "invalid_request"),
    "metadata is a list": ({"metadata": []}, 400, "invalid_request"),
    "metadata is a text": ({"metadata": "{}"}, 400, "invalid_request"),
    "metadata is too large": ({"metadata": {"k": "v" * 4097}}, 400, "invalid_request"),
    "metadata is too deep": ({"metadata": DEEP}, 400, "invalid_request"),
    "metadata with NUL": ({"metadata": {"k": "\u0000"}}, 400, "invalid_request"),
    "metadata with NUL in a name": ({"metadata": {"\u0000": 1}}, 400, "invalid_request"),
    "metadata with a lone surrogate": ({"metadata": {"k": ["\ud800"]}}, 400, "invalid_request"),
    "metadata with NaN": ({"metadata": {"k": float("nan")}}, 400, "invalid_request"),
    "metadata with Infinity": ({"metadata": {"k": float("inf")}}, 400, "invalid_request"),
    "effective_at to come": ({"effective_at": "2999-01-01T00:00:00Z"}, 400, "invalid_request"),
    "effective_at is no time": ({"effective_at": "yesterday"}, 400, "invalid_request"),
    "effective_at is a number": ({"effective_at": 0}, 400, "invalid_request"),
}


@pytest.mark.parametrize("case", FIELDS)
async def test_a_field_is_refused(outside: Outside, case: str) -> None:
    changes, status, code = FIELDS[case]
    alice = outside.new_user("alice")
    async with nothing_changes(outside, alice):
        refused(await _deposit_with(outside, alice, changes), status, code)


async def test_metadata_at_its_limits_is_taken(outside: Outside) -> None:
    alice = outside.new_user("alice")
    limits: list[Json] = [
        {"k": "v" * 4000},
        {"4": {"3": {"2": {"1": {}}}}},
        {"ключ": ["☃", None, 1.5]},
    ]
    for metadata in limits:
        body = accepted(await outside.admin.deposit(alice, "1", metadata=metadata))
        assert body["updates"][0]["metadata"] == metadata


BODIES: dict[str, tuple[bytes, str, int, str]] = {
    "nothing": (b"", "application/json", 400, "invalid_request"),
    "half an object": (b'{"user_id":', "application/json", 400, "invalid_request"),
    "a list": (b"[]", "application/json", 400, "invalid_request"),
    "a text": (b'"alice"', "application/json", 400, "invalid_request"),
    "null": (b"null", "application/json", 400, "invalid_request"),
    "not UTF-8": (b'{"user_id":"\xff\xfe"}', "application/json", 400, "invalid_request"),
    "two objects": (b"{}{}", "application/json", 400, "invalid_request"),
    "sixty thousand brackets": (b"[" * 60_000, "application/json", 400, "invalid_request"),
    "brackets in a field": (
        b'{"metadata":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
        "application/json",
        400,
        "invalid_request",
    ),
    "too large": (b'{"a":"' + b"x" * 200_000 + b'"}', "application/json", 413, "body_too_large"),
    # More than sockets buffer: whoever is still sending must get to read the answer.
    "far too large": (b" " * 12_000_000, "application/json", 413, "body_too_large"),
    "plain text": (b"{}", "text/plain", 415, "unsupported_media_type"),
    "a form": (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_is_refused(outside: Outside, case: str) -> None:
    content, content_type, status, code = BODIES[case]
    async with nothing_changes(outside):
        answer = await outside.admin.post_raw("/v1/deposits", content, content_type)
        refused(answer, status, code)


async def test_a_body_with_a_charset_is_taken(outside: Outside) -> None:
    body = json.dumps({"user_id": outside.new_user(), "asset": "USDT", "amount": "1"}).encode()
    accepted(await outside.admin.post_raw("/v1/deposits", body, "application/json; charset=utf-8"))


async def test_a_field_twice_or_unknown_never_pays_twice(outside: Outside) -> None:
    alice = outside.new_user("alice")
    body = f'{{"user_id":"{alice}","asset":"USDT","amount":"1","amount":"2","amuont":"3"}}'
    answer = await outside.admin.post_raw("/v1/deposits", body.encode())
    assert answer.status_code in (201, 400)
    balances = await outside.admin.balances(alice)
    assert len(balances) == (1 if answer.status_code == 201 else 0)


PLACES: dict[str, tuple[str, str, int, str]] = {
    "no such page": ("GET", "/v1/nothing", 404, "not_found"),
    "no such page to post to": ("POST", "/v2/deposits", 404, "not_found"),
    "deposits are not read": ("GET", "/v1/deposits", 405, "method_not_allowed"),
    "deposits are not deleted": ("DELETE", "/v1/deposits", 405, "method_not_allowed"),
    "no such transaction": (
        "GET",
        "/v1/transactions/01900000-0000-7000-8000-000000000001",
        404,
        "not_found",
    ),
    "a transaction without an id": ("GET", "/v1/transactions/x", 404, "not_found"),
    "limit 0": ("GET", "/v1/users/me/history?limit=0", 400, "invalid_request"),
    "limit 1001": ("GET", "/v1/users/me/history?limit=1001", 400, "invalid_request"),
    "limit ten": ("GET", "/v1/users/me/history?limit=ten", 400, "invalid_request"),
    "a cursor of one's own making": (
        "GET",
        "/v1/users/me/history?cursor=abc",
        422,
        "invalid_cursor",
    ),
    "a cursor of NUL": ("GET", "/v1/users/me/history?cursor=%00", 400, "invalid_request"),
    "from is no time": ("GET", "/v1/users/me/history?from=today", 400, "invalid_request"),
    "position x": ("GET", "/v1/users/me/balances?as_of_position=x", 400, "invalid_request"),
    "position -1": ("GET", "/v1/users/me/balances?as_of_position=-1", 400, "invalid_request"),
    "both as_of": (
        "GET",
        "/v1/users/me/balances?as_of_position=1&before=2026-01-01",
        400,
        "invalid_request",
    ),
    "no such day": ("GET", "/v1/users/me/balances?before=2026-02-30", 400, "invalid_request"),
    "a system account's balances": ("GET", "/v1/users/@world/balances", 400, "invalid_request"),
    "a user with NUL": ("GET", "/v1/users/a%00b/balances", 400, "invalid_request"),
    "a user that is not UTF-8": ("GET", "/v1/users/%FF/balances", 400, "invalid_request"),
}


@pytest.mark.parametrize("case", PLACES)
async def test_a_place_or_query_is_refused(outside: Outside, case: str) -> None:
    method, place, status, code = PLACES[case]
    answer = await outside.http.request(
        method, place, headers={"Authorization": f"Bearer {outside.root.token}"}
    )
    refused(answer, status, code)
    if status == 405:
        assert "POST" in answer.headers["allow"]


async def test_beyond_the_head_is_no_balance(outside: Outside) -> None:
    head = await outside.admin.head()
    answer = await outside.admin.get("/v1/users/me/balances", as_of_position=head + 1)
    assert answer.status_code == 422
    check_problem(answer.json(), 422, answer.json()["code"])


def _claims(**changes: Any) -> Json:
    now = int(time.time())
    claims = {"sub": "ada", "role": "admin", "iat": now, "exp": now + 600, **changes}
    return {name: claim for name, claim in claims.items() if claim is not MISSING}


def _signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(_claims(**changes), secret, algorithm=algorithm)


TOKENS: dict[str, str] = {
    "no scheme": "",
    "another scheme": "Basic YWRhOmFkYQ==",
    "empty": "Bearer",
    "nonsense": "Bearer nonsense",
    "another secret": "Bearer " + _signed("another-secret-of-32-characters-or-more"),
    "expired": "Bearer " + _signed(exp=int(time.time()) - 60),
    "without an end": "Bearer " + _signed(exp=MISSING),
    "without a subject": "Bearer " + _signed(sub=MISSING),
    "without a role": "Bearer " + _signed(role=MISSING),
    "without iat": "Bearer " + _signed(iat=MISSING),
    "an unknown role": "Bearer " + _signed(role="god"),
    "a subject that is no user": "Bearer " + _signed(sub="@world"),
    "another algorithm": "Bearer " + _signed(algorithm="HS512", secret=SECRET * 2),
    "none as the algorithm": "Bearer " + jwt.encode(_claims(), "", algorithm="none"),
}


@pytest.mark.parametrize("case", TOKENS)
async def test_a_token_is_refused(outside: Outside, case: str) -> None:
    headers = {"Authorization": TOKENS[case]} if TOKENS[case] else {}
    body = {"user_id": "alice", "asset": "USDT", "amount": "1"}
    async with nothing_changes(outside, "alice"):
        for answer in (
            await outside.http.post("/v1/deposits", json=body, headers=headers),
            await outside.http.get("/v1/users/me/balances", headers=headers),
        ):
            refused(answer, 401, "not_authenticated")
            assert "bearer" in answer.headers["www-authenticate"].lower()


async def test_what_a_user_may_not(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    accepted(await outside.admin.deposit(alice, "100"))
    bobs = accepted(await outside.admin.deposit(bob, "100"))
    closed_shop = await outside.new_book(accounts="open")
    accepted(await outside.admin.deposit(alice, "100", book=closed_shop))
    caller = outside.caller(alice)
    money = {"asset": "USDT", "amount": "1"}
    item = {"operation": "deposit", "user_id": alice, **money}
    posts: list[tuple[str, Json]] = [
        ("/v1/deposits", {"user_id": alice, **money}),
        ("/v1/charges", {"user_id": alice, **money}),
        ("/v1/recharges", {"user_id": alice, **money}),
        ("/v1/payments", {"user_id": alice, **money}),
        ("/v1/adjustments", {"user_id": alice, **money, "description": "d"}),
        ("/v1/withdrawals", {"user_id": bob, **money}),
        ("/v1/withdrawals", {"user_id": alice, **money, "internal": "note"}),
        ("/v1/withdrawals", {"user_id": alice, **money, "effective_at": "2026-01-01T00:00:00Z"}),
        ("/v1/withdrawals", {"user_id": alice, **money, "book": closed_shop}),
        ("/v1/transfers", {"from_user": bob, "to_user": alice, **money}),
        ("/v1/transfers", {"from_user": alice, "to_user": bob, **money, "book": closed_shop}),
        ("/v1/batches", {"atomic": False, "items": [item]}),
        ("/v1/admin/accounts", {"book": "main", "user_id": alice, "asset": "BTC"}),
        ("/v1/admin/pause", {}),
        (f"/v1/admin/users/{bob}/disconnect", {}),
    ]
    gets = [
        f"/v1/users/{bob}/balances",
        f"/v1/users/{bob}/history",
        "/v1/admin/transactions",
        "/v1/admin/trial-balance",
        "/v1/admin/audit",
    ]
    async with nothing_changes(outside, alice, bob):
        for path, body in posts:
            refused(await caller.post(path, body), 403, "not_allowed")
        for path in gets:
            refused(await caller.get(path), 403, "not_allowed")
        refused(await caller.put("/v1/admin/assets/EVIL", {"scale": 2}), 403, "not_allowed")
        path = f"/v1/admin/accounts/main/{alice}/USDT"
        refused(await caller.patch(path, {"floor": None}), 403, "not_allowed")
        path = f"/v1/transactions/{bobs['transaction_id']}"
        refused(await caller.get(path), 404, "not_found")


async def test_what_an_auditor_and_an_admin_may_not(outside: Outside) -> None:
    accepted(await outside.admin.deposit("audit", "100"))
    money = {"asset": "USDT", "amount": "1"}
    async with nothing_changes(outside, "audit"):
        for path, body in (
            ("/v1/withdrawals", {"user_id": "me", **money}),
            ("/v1/deposits", {"user_id": "me", **money}),
            ("/v1/transfers", {"from_user": "me", "to_user": "ada", **money}),
            ("/v1/batches", {"atomic": False, "items": []}),
        ):
            refused(await outside.auditor.post(path, body), 403, "not_allowed")
        adjustment = {"user_id": "audit", **money, "description": "d"}
        refused(await outside.admin.post("/v1/adjustments", adjustment), 403, "not_allowed")
        item = {"operation": "adjustment", **adjustment}
        results = (await outside.admin.batch([item])).json()["results"]
        assert [result["status"] for result in results] == [403]
        check_problem(results[0]["problem"], 403, "not_allowed")
        refused(await outside.admin.put("/v1/admin/assets/EVIL", {"scale": 2}), 403, "not_allowed")


BATCHES: dict[str, Json] = {
    "no items": {"atomic": False},
    "items is an object": {"atomic": False, "items": {}},
    "too many items": {
        "atomic": False,
        "items": [{"operation": "deposit", "user_id": "a", "asset": "USD", "amount": "1"}] * 1001,
    },
    "atomic is a text": {"atomic": "yes", "items": []},
}


@pytest.mark.parametrize("case", BATCHES)
async def test_a_batch_is_refused(outside: Outside, case: str) -> None:
    async with nothing_changes(outside):
        answer = await outside.admin.post("/v1/batches", BATCHES[case])
        refused(answer, 400, "invalid_request")


async def test_a_bad_item_is_refused_alone_and_refuses_an_atomic_batch(outside: Outside) -> None:
    alice = outside.new_user("alice")
    good = {"operation": "deposit", "user_id": alice, "asset": "USD", "amount": "1"}
    bad: list[tuple[Json, int, str]] = [
        ({**good, "operation": "gift"}, 400, "invalid_request"),
        ({**good, "amount": 1}, 422, "invalid_amount"),
        ({**good, "asset": "NOPE"}, 422, "unknown_asset"),
        ({**good, "user_id": "@house"}, 400, "invalid_request"),
        ({**good, "operation": "withdrawal", "amount": "9"}, 422, "insufficient_funds"),
        ({"operation": "deposit"}, 400, "invalid_request"),
    ]
    items = [good, *(item for item, _, _ in bad), good]
    results = (await outside.admin.batch(items)).json()["results"]
    assert [result["status"] for result in results] == [201, *(s for _, s, _ in bad), 201]
    for result, (_, status, code) in zip(results[1:-1], bad, strict=True):
        check_problem(result["problem"], status, code)
    assert results[-1]["position"] == results[0]["position"] + 1

    async with nothing_changes(outside, alice):
        for item, status, code in bad:
            answer = await outside.admin.batch([good, item, good], atomic=True)
            assert refused(answer, status, code)["item"] == 1


async def test_a_strict_book_knows_its_users(outside: Outside) -> None:
    alice = outside.new_user("alice")
    book = await outside.new_book(accounts="strict")
    async with nothing_changes(outside, alice):
        answer = await outside.admin.deposit(alice, "1", asset="USD", book=book)
        refused(answer, 422, "unknown_user")
    made = {"book": book, "user_id": alice, "asset": "USD"}
    accepted(await outside.root.post("/v1/admin/accounts", made))
    accepted(await outside.admin.deposit(alice, "1", asset="USD", book=book))
    async with nothing_changes(outside, alice):
        answer = await outside.admin.deposit(alice, "1", asset="EUR", book=book)
        refused(answer, 422, "unknown_user")


async def test_no_balance_and_no_total_goes_out_of_range(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    asset = await outside.new_asset(0)
    largest = str(2**63 - 1)
    accepted(await outside.admin.deposit(alice, largest, asset=asset))
    async with nothing_changes(outside, alice, bob):
        refused(await outside.admin.deposit(alice, "1", asset=asset), 422, "invalid_amount")
        # @world owes the whole range already.
        refused(await outside.admin.deposit(bob, "1", asset=asset), 422, "invalid_amount")
    accepted(await outside.admin.withdraw(alice, "10", asset=asset))
    async with nothing_changes(outside, alice):
        # The balance would fit; total_in would not.
        refused(await outside.admin.deposit(alice, "1", asset=asset), 422, "invalid_amount")
    accepted(await outside.admin.deposit(bob, "1", asset=asset))
    answers = await asyncio.gather(
        *(outside.admin.deposit(outside.new_user(), "3", asset=asset) for _ in range(8))
    )
    # 9 are left of @world's range; three fit, together with what they were committed with.
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 5


async def test_a_transfer_to_oneself_and_a_wrong_sequence(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "10"))
    async with nothing_changes(outside, alice):
        refused(await outside.admin.transfer(alice, alice, "1"), 400, "invalid_request")
        own = await outside.caller(alice).transfer("me", alice, "1")
        refused(own, 400, "invalid_request")
        fix = {"user_id": alice, "asset": "USDT", "new_balance": "3", "description": "d"}
        stale = await outside.root.post("/v1/adjustments", {**fix, "if_seq": 2})
        refused(stale, 409, "conflict")
        del fix["description"]
        refused(await outside.root.post("/v1/adjustments", fix), 400, "invalid_request")
    same = {"user_id": alice, "asset": "USDT", "new_balance": "10", "description": "d"}
    settled = accepted(await outside.root.post("/v1/adjustments", {**same, "if_seq": 1}))
    assert settled["updates"][0]["changes"][0]["amount"] == "0.000000"


async def test_a_key_is_refused(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with nothing_changes(outside, alice):
        for key in ("", '""', "k" * 256):
            answer = await outside.admin.deposit(alice, "1", key=key)
            refused(answer, 400, "invalid_request")
    accepted(await outside.admin.deposit(alice, "1", key="k" * 255))


async def test_reasons_come_in_their_order(outside: Outside) -> None:
    """Not found, closed, frozen, suspended, amount, funds."""
    alice = outside.new_user("alice")
    made = {"book": "main", "user_id": alice, "asset": "USD", "suspend_below": "5"}
    accepted(await outside.root.post("/v1/admin/accounts", made))
    accepted(await outside.admin.deposit(alice, "5", asset="USD"))
    accepted(await outside.admin.withdraw(alice, "1", asset="USD"))
    path = f"/v1/admin/accounts/main/{alice}/USD"
    async with nothing_changes(outside, alice):
        for amount in ("9", "0", "-1", "much"):
            late = await outside.admin.withdraw(alice, amount, asset="USD")
            refused(late, 409, "account_suspended")
    accepted(await outside.root.patch(path, {"status": "frozen"}))
    async with nothing_changes(outside, alice):
        for amount in ("9", "0", "-1", "much"):
            late = await outside.admin.withdraw(alice, amount, asset="USD")
            refused(late, 409, "account_frozen")
