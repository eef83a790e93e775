"""Disconnecting, tickets, development tokens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tallywire.ledger.clock import rfc3339
from tallywire.ledger.errors import NotAuthenticated
from tallywire.settings import Settings

from .conftest import Edge


async def test_a_disconnected_user_needs_a_new_token(edge: Edge) -> None:
    old = edge.bearer("alice")
    edge.clock.forward(1)
    answer = await edge.call("POST", "/v1/admin/users/alice/disconnect")
    assert answer.status_code == 200
    assert edge.wire.disconnected == ["alice"]
    assert edge.wire.published == list(
        (await edge.services.manager.access.load_revocations()).items()
    )
    same_second = edge.bearer("alice")
    edge.clock.forward(1)
    for headers, status in ((old, 401), (same_second, 401), (edge.bearer("alice"), 200)):
        got = await edge.http.get("/v1/users/me/balances", headers=headers)
        assert got.status_code == status
    assert set(await edge.services.manager.access.load_revocations()) == {"alice"}
    (entry,) = (await edge.get("/v1/admin/audit")).json()["items"]
    assert (entry["action"], entry["actor"], entry["target"]) == ("disconnect", "root", "alice")


async def test_who_is_on_is_listed_by_name(edge: Edge) -> None:
    edge.wire.on = {"zoe": 1, "alice": 2, "ünï": 1}
    whole = (await edge.get("/v1/admin/connections", by="eve:auditor")).json()
    assert whole == {
        "users": 3,
        "connections": 4,
        "items": [
            {"user_id": "alice", "connections": 2},
            {"user_id": "zoe", "connections": 1},
            {"user_id": "ünï", "connections": 1},
        ],
        "next_cursor": None,
    }
    first = (await edge.get("/v1/admin/connections?limit=2")).json()
    assert first["items"] == whole["items"][:2]
    path = f"/v1/admin/connections?limit=2&cursor={first['next_cursor']}"
    second = (await edge.get(path)).json()
    assert second == {**whole, "items": whole["items"][2:]}


async def test_readiness_tells_how_many_changes_wait(edge: Edge) -> None:
    edge.services.manager._committer._count_waiting(3)
    assert (await edge.http.get("/readyz")).json()["checks"]["queue"] == {"changes": 3}
    edge.services.manager._committer._count_waiting(-3)


async def test_a_books_new_settings_hold_from_the_next_call_on(edge: Edge) -> None:
    body = {"user_id": "alice", "asset": "USDT", "amount": "1"}
    assert (await edge.call("POST", "/v1/deposits", json=body)).status_code == 201
    for self_service, status in ((False, 403), (True, 201)):
        settings = {"self_service": self_service}
        await edge.call("PUT", "/v1/admin/books/main", json=settings)
        answer = await edge.call("POST", "/v1/withdrawals", by="alice", json=body)
        assert answer.status_code == status


async def test_a_ticket_stands_for_its_token_once(edge: Edge) -> None:
    now = edge.clock.now()
    ticket = (await edge.call("POST", "/v1/stream-tickets", by="alice:auditor")).json()
    assert ticket["expires_at"] == rfc3339(now + timedelta(seconds=60))
    principal = await edge.services.redeem(ticket["ticket"])
    assert (principal.user_id, principal.role) == ("alice", "auditor")
    assert principal.expires_at == int(now.timestamp()) + 3600
    with pytest.raises(NotAuthenticated):
        await edge.services.redeem(ticket["ticket"])


async def test_a_ticket_is_no_token(edge: Edge) -> None:
    ticket = (await edge.call("POST", "/v1/stream-tickets", by="alice")).json()["ticket"]
    headers = {"Authorization": f"Bearer {ticket}"}
    assert (await edge.http.get("/v1/assets", headers=headers)).status_code == 401
    assert (await edge.http.get(f"/v1/assets?ticket={ticket}")).status_code == 401


async def test_a_ticket_ends_with_its_minute_and_with_its_token(edge: Edge) -> None:
    late = (await edge.call("POST", "/v1/stream-tickets", by="alice")).json()["ticket"]
    edge.clock.forward(60)
    with pytest.raises(NotAuthenticated):
        await edge.services.redeem(late)
    headers = edge.bearer("alice", ttl=10)
    short = (await edge.http.post("/v1/stream-tickets", headers=headers)).json()
    assert short["expires_at"] == rfc3339(edge.clock.now() + timedelta(seconds=10))
    revoked = (await edge.call("POST", "/v1/stream-tickets", by="bob")).json()["ticket"]
    edge.services.revocations.revoke("bob", int(edge.clock.now().timestamp()))
    with pytest.raises(NotAuthenticated):
        await edge.services.redeem(revoked)


class TestDevelopmentMode:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings()

    async def test_tokens_for_the_asking(self, edge: Edge) -> None:
        body = {"user_id": "zoe", "role": "auditor"}
        token = (await edge.http.post("/dev/token", json=body)).json()["token"]
        principal = edge.services.authenticate(token)
        assert (principal.user_id, principal.role) == ("zoe", "auditor")
        for usual in ({"user_id": "zoe"}, {"user_id": "zoe", "role": None}):
            token = (await edge.http.post("/dev/token", json=usual)).json()["token"]
            assert edge.services.authenticate(token).role == "user"

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"user_id": "@house"},
            {"user_id": "me"},
            {"user_id": "a", "role": "root"},
            {"user_id": "a", "role": ""},
        ],
    )
    async def test_for_users_and_roles_that_exist(self, edge: Edge, body: dict[str, str]) -> None:
        assert (await edge.http.post("/dev/token", json=body)).status_code == 400

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("localhost:3000", 200),
            ("127.0.0.1", 200),
            ("[::1]:3000", 200),
            ("[::1]", 200),
            ("rebound.example", 403),
            ("rebound.example:3000", 403),
            ("127.0.0.1.rebound.example", 403),
            ("", 403),
        ],
    )
    async def test_for_this_machine_only(self, edge: Edge, host: str, status: int) -> None:
        answer = await edge.http.post("/dev/token", json={"user_id": "a"}, headers={"Host": host})
        assert answer.status_code == status
