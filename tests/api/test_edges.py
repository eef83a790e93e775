"""The edges of HTTP: paths, methods, media types, sizes, rates, origins."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tallywire.api.bodies import LARGEST_BATCH_BODY, LARGEST_BODY
from tallywire.settings import Settings

from .conftest import Edge

DEPOSIT = b'{"user_id":"alice","asset":"USDT","amount":"1"}'
JSON = {"Content-Type": "application/json"}


def code(answer: object) -> tuple[int, str]:
    document = answer.json()  # type: ignore[attr-defined]
    assert answer.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    assert document["status"] == answer.status_code  # type: ignore[attr-defined]
    return document["status"], document["code"]


@pytest.mark.parametrize("user_id", ["a/b", "ünï", "100%", "a b", "%2F", "a?b#c", "..."])
async def test_an_id_may_hold_anything_that_is_encoded(edge: Edge, user_id: str) -> None:
    from urllib.parse import quote

    await edge.fund(user_id)
    answer = await edge.get(f"/v1/users/{quote(user_id, safe='')}/balances", by=user_id)
    assert answer.json()["user_id"] == user_id
    assert answer.json()["balances"][0]["balance"] == "100.000000"


@pytest.mark.parametrize("path", ["/v1/users/%6De/balances", "/v1/users/me/balances"])
async def test_me_is_the_caller(edge: Edge, path: str) -> None:
    assert (await edge.get(path, by="alice")).json()["user_id"] == "alice"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/nothing",
        "/v1",
        "/v1/",
        "/v1/deposits/",
        "/v1/users/a/b/balances",
        "/v1/users//balances",
        "//healthz",
        "/v1/spot",
        "/static/../pyproject.toml",
        "/static/%2e%2e/pyproject.toml",
        "/static/..%2fpyproject.toml",
        "/static/../server/cli.py",
        "/static/%2e%2e/server/cli.py",
        "/static/none.html",
        "/dev/token",
    ],
)
async def test_what_does_not_exist_is_not_found(edge: Edge, path: str) -> None:
    assert code(await edge.http.get("http://127.0.0.1" + path)) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/users/%ff/balances", 400), ("/v1/users/@house/balances", 400)]
)
async def test_a_path_that_names_no_user_is_refused(edge: Edge, path: str, status: int) -> None:
    assert code(await edge.get(path, by="eve:auditor")) == (status, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/deposits", "POST"),
        ("DELETE", "/v1/users/alice/balances", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/v1/admin/accounts/main/alice/USDT", "PATCH"),
        ("OPTIONS", "/v1/deposits", "POST"),
    ],
)
async def test_another_method_is_refused_and_the_right_ones_named(
    edge: Edge, method: str, path: str, allowed: str
) -> None:
    answer = await edge.http.request(method, path)
    assert code(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'],
)
async def test_json_is_taken(edge: Edge, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    answer = await edge.call("POST", "/v1/deposits", content=DEPOSIT, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/jsonp"},
    ],
)
async def test_nothing_but_json_is_taken(edge: Edge, headers: dict[str, str]) -> None:
    answer = await edge.call("POST", "/v1/deposits", content=DEPOSIT, headers=headers)
    assert code(answer) == (415, "unsupported_media_type")


async def test_a_call_without_a_body_needs_no_media_type(edge: Edge) -> None:
    assert (await edge.call("POST", "/v1/stream-tickets", by="alice")).status_code == 200
    await edge.fund("alice")
    for step in ("confirm", "void"):
        hold = await edge.hold("alice")
        answer = await edge.call("POST", f"/v1/holds/{hold}/{step}", by="alice")
        assert answer.status_code == 201, answer.text
    answer = await edge.call("POST", "/v1/deposits")
    assert code(answer) == (400, "invalid_request")


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1024 + 1):
        yield b" " * 1024


@pytest.mark.parametrize(
    ("path", "limit"), [("/v1/deposits", LARGEST_BODY), ("/v1/batches", LARGEST_BATCH_BODY)]
)
async def test_a_body_is_bounded_declared_or_not(edge: Edge, path: str, limit: int) -> None:
    fits = await edge.call("POST", path, content=b" " * limit, headers=JSON)
    assert code(fits) == (400, "invalid_request")
    declared = await edge.call("POST", path, content=b" " * (limit + 1), headers=JSON)
    chunked = await edge.call("POST", path, content=chunks(limit), headers=JSON)
    for answer in (declared, chunked):
        assert code(answer) == (413, "body_too_large")
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("headers", [{"Expect": "100-continue"}, {"Content-Length": str(2**40)}])
async def test_a_body_too_large_to_send_is_refused_unread(
    edge: Edge, headers: dict[str, str]
) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    headers = {"Content-Length": str(LARGEST_BODY + 1)} | JSON | headers
    answer = await edge.call("POST", "/v1/deposits", content=unread(), headers=headers)
    assert code(answer) == (413, "body_too_large")


async def test_a_user_is_limited_and_told_so(edge: Edge) -> None:
    body = {"user_id": "me", "asset": "USDT", "amount": "1"}
    first = await edge.post("/v1/withdrawals", body, by="alice")
    assert first.headers["ratelimit-policy"] == '"user";q=50;w=1'
    assert first.headers["ratelimit"] == '"user";r=49;t=1'
    for _ in range(49):
        answer = await edge.post("/v1/withdrawals", body, by="alice")
        assert answer.status_code == 422
    limited = await edge.post("/v1/withdrawals", body, by="alice")
    assert code(limited) == (429, "too_many_requests")
    assert limited.headers["retry-after"] == "1"
    assert limited.headers["ratelimit"] == '"user";r=0;t=1'
    assert (await edge.get("/v1/users/me/balances", by="alice")).status_code == 200
    assert (await edge.post("/v1/withdrawals", body, by="bob")).status_code == 422
    edge.clock.forward(1)
    assert (await edge.post("/v1/withdrawals", body, by="alice")).status_code == 422


async def test_admins_are_not_limited(edge: Edge) -> None:
    for _ in range(60):
        answer = await edge.post("/v1/deposits", {}, by="ada:admin")
        assert answer.status_code == 400
    assert "ratelimit" not in answer.headers


async def test_an_error_that_nobody_foresaw_tells_nothing(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("secret details")

    monkeypatch.setattr(edge.services.manager.reader, "head", broken)
    answer = await edge.get("/v1/admin/transactions")
    assert code(answer) == (500, "internal_error")
    assert "secret" not in answer.text


class TestOrigins:
    PAGE = "https://app.example.com"

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(secrets=("s" * 32,), origins=(self.PAGE,))

    async def test_a_preflight_of_an_allowed_origin(self, edge: Edge) -> None:
        answer = await edge.http.options(
            "/v1/deposits", headers={"Origin": self.PAGE, "Access-Control-Request-Method": "POST"}
        )
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == self.PAGE
        assert "Idempotency-Key" in answer.headers["access-control-allow-headers"]
        assert "POST" in answer.headers["access-control-allow-methods"]

    async def test_answers_and_refusals_are_marked(self, edge: Edge) -> None:
        for path in ("/healthz", "/v1/assets"):
            answer = await edge.http.get(path, headers={"Origin": self.PAGE})
            assert answer.headers["access-control-allow-origin"] == self.PAGE
            assert answer.headers["vary"] == "Origin"
            assert "Location" in answer.headers["access-control-expose-headers"]

    async def test_other_origins_get_no_marks(self, edge: Edge) -> None:
        preflight = await edge.http.options(
            "/v1/deposits",
            headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
        )
        assert code(preflight) == (405, "method_not_allowed")
        answer = await edge.http.get("/healthz", headers={"Origin": "https://evil.example"})
        for each in (preflight, answer):
            assert "access-control-allow-origin" not in each.headers
