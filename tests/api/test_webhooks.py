"""Webhooks over HTTP: what is absent stays, what is secret stays secret."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from tests.logged import logged

from .conftest import Edge

PATH = "/v1/admin/webhooks/shop"
URL = "http://127.0.0.1:9/hook"
SECRET = "whsec_" + base64.b64encode(b"q" * 24).decode()


async def put(edge: Edge, path: str = PATH, **settings: Any) -> dict[str, Any]:
    answer = await edge.call("PUT", path, json=settings)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_new_webhook_begins_at_the_head_with_a_secret_of_its_own(edge: Edge) -> None:
    await edge.fund("alice")
    made = await put(edge, url=URL)
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and len(base64.b64decode(secret[6:])) == 32
    assert made == {
        "name": "shop",
        "url": URL,
        "filter": {},
        "status": "active",
        "position": 1,
        "head": 1,
        "lag": 0,
        "attempts": 0,
        "failing_since": None,
        "next_attempt_at": None,
        "last_error": None,
        "last_delivered_at": None,
    }
    await edge.fund("alice")
    for by in ("eve:auditor", "root:superadmin"):
        read = (await edge.get(PATH, by=by)).json()
        assert read == {**made, "head": 2, "lag": 1}
        assert (await edge.get("/v1/admin/webhooks", by=by)).json()["items"] == [read]


async def test_what_is_absent_stays(edge: Edge) -> None:
    await edge.fund("alice")
    made = await put(edge, url=URL, filter={"asset": "EUR"}, secret=SECRET, position=0)
    assert "secret" not in made
    assert (made["position"], made["lag"], made["filter"]) == (0, 1, {"asset": "EUR"})
    assert await put(edge) == made
    assert await put(edge, filter=None, url=None, status=None) == made
    changes: list[dict[str, Any]] = [
        {"url": "http://localhost/other"},
        {"filter": {}},
        {"filter": {"user_id": "bob", "min_amount": "5"}},
        {"position": 1},
        {"status": "paused"},
    ]
    for change in changes:
        changed = await put(edge, **change)
        made = {**made, **change, "lag": changed["lag"]}
        assert changed == made
    assert made["lag"] == 0
    rows = edge.services.webhooks
    assert (await rows.get("shop")).secret.text == SECRET
    await put(edge, secret="another secret, in words")
    assert (await rows.get("shop")).secret.text == "another secret, in words"


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "/url"),
    ({"filter": {}}, 400, "/url"),
    ({"url": 5}, 400, "/url"),
    ({"url": "ftp://127.0.0.1/"}, 400, "/url"),
    ({"url": "https://hooks.example.com/"}, 400, "/url"),
    ({"url": URL, "filter": []}, 400, "/filter"),
    ({"url": URL, "filter": {"colour": "red"}}, 400, "/filter/colour"),
    ({"url": URL, "filter": {"min_amount": "much"}}, 400, "/filter/min_amount"),
    ({"url": URL, "secret": "short"}, 400, "/secret"),
    ({"url": URL, "secret": ""}, 400, "/secret"),
    ({"url": URL, "secret": "whsec_short"}, 400, "/secret"),
    ({"url": URL, "status": "gone"}, 400, "/status"),
    ({"url": URL, "position": -1}, 400, "/position"),
    ({"url": URL, "position": True}, 400, "/position"),
    ({"url": URL, "position": "1"}, 400, "/position"),
    ({"url": URL, "position": 2}, 422, "/position"),
    ({"url": URL, "position": 2**70}, 422, "/position"),
]


async def test_what_cannot_be_is_refused_and_nothing_is_made(edge: Edge) -> None:
    await edge.fund("alice")
    for body, status, pointer in REFUSED:
        answer = await edge.call("PUT", PATH, json=body)
        assert answer.status_code == status, (body, answer.text)
        problem = answer.json()
        assert problem["errors"][0]["pointer"] == pointer
        assert problem["code"] == ("invalid_cursor" if status == 422 else "invalid_request")
    assert (await edge.get("/v1/admin/webhooks")).json()["items"] == []
    assert (await edge.get("/v1/admin/audit")).json()["items"] == []


async def test_an_address_that_is_not_allowed_names_the_variable(edge: Edge) -> None:
    answer = await edge.call("PUT", PATH, json={"url": "https://hooks.example.com/"})
    assert "TALLYWIRE_WEBHOOK_HOSTS" in answer.json()["detail"]


async def test_names_are_those_of_books(edge: Edge) -> None:
    for name in ("Shop", "-shop", "a b", "a" * 65, "ü", "a%2Fb", "%00"):
        answer = await edge.call("PUT", f"/v1/admin/webhooks/{name}", json={"url": URL})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        for method in ("GET", "DELETE"):
            answer = await edge.call(method, f"/v1/admin/webhooks/{name}")
            assert answer.status_code == 404


async def test_the_list_is_by_name_page_by_page(edge: Edge) -> None:
    for name in ("c", "a", "b"):
        await put(edge, f"/v1/admin/webhooks/{name}", url=URL)
    first = (await edge.get("/v1/admin/webhooks?limit=2")).json()
    assert [each["name"] for each in first["items"]] == ["a", "b"]
    second = (await edge.get(f"/v1/admin/webhooks?cursor={first['next_cursor']}")).json()
    assert [each["name"] for each in second["items"]] == ["c"]
    assert second["next_cursor"] is None


async def test_a_removed_webhook_is_gone(edge: Edge) -> None:
    await put(edge, url=URL)
    answer = await edge.call("DELETE", PATH)
    assert (answer.status_code, answer.json()) == (200, {"name": "shop"})
    for method in ("GET", "DELETE"):
        answer = await edge.call(method, PATH)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_operators_are_in_the_audit_and_secrets_nowhere(edge: Edge) -> None:
    with logged() as lines:
        generated = (await put(edge, url=URL, filter={"asset": "EUR"}))["secret"]
        await put(edge, secret=SECRET, position=0, status="paused")
        await edge.call("PUT", PATH, json={"secret": SECRET[:-3]})
        await edge.call("DELETE", PATH)
    audited = (await edge.get("/v1/admin/audit")).json()["items"]
    assert [(each["action"], each["target"], each["actor"]) for each in audited] == [
        ("webhook_removed", "shop", "root"),
        ("webhook_set", "shop", "root"),
        ("webhook_set", "shop", "root"),
    ]
    assert audited[1]["details"] == {"position": 0, "status": "paused", "secret": "new"}
    assert audited[2]["details"] == {"url": URL, "filter": {"asset": "EUR"}, "secret": "new"}
    for secret in (generated, SECRET):
        assert secret[6:20] not in str(audited) + str(lines)


async def test_two_who_make_it_at_once_make_one(edge: Edge) -> None:
    made = await asyncio.gather(*(put(edge, url=f"{URL}/{number}") for number in range(4)))
    assert sum("secret" in each for each in made) == 1
    (one,) = (await edge.get("/v1/admin/webhooks")).json()["items"]
    assert one["url"] in {each["url"] for each in made}
    assert len((await edge.get("/v1/admin/audit")).json()["items"]) == 4


async def test_metrics_show_how_each_stands(edge: Edge) -> None:
    await edge.fund("alice")
    await put(edge, url=URL, position=0)
    await put(edge, "/v1/admin/webhooks/gone", url=URL)
    await put(edge, "/v1/admin/webhooks/other", url=URL, status="paused")
    await edge.call("DELETE", "/v1/admin/webhooks/gone")
    shop = await edge.services.webhooks.get("shop")
    await edge.services.webhooks.failed(shop, "answered 500", "2031-05-01T12:00:00.000000Z")
    text = (await edge.http.get("/metrics")).text
    shown = "tallywire_webhook_"
    assert sorted(line for line in text.splitlines() if line.startswith(shown)) == [
        'tallywire_webhook_failed_attempts{webhook="other"} 0.0',
        'tallywire_webhook_failed_attempts{webhook="shop"} 1.0',
        'tallywire_webhook_lag_positions{webhook="other"} 0.0',
        'tallywire_webhook_lag_positions{webhook="shop"} 1.0',
        'tallywire_webhook_paused{webhook="other"} 1.0',
        'tallywire_webhook_paused{webhook="shop"} 0.0',
    ]
