"""Every route of the table, asked for by everybody: who is let in is what the table says."""

from __future__ import annotations

from typing import Any

import pytest
from tallywire.api.calls import Route
from tallywire.api.routes import ROUTES, routes_for
from tallywire.ledger.transaction_types import TransactionTypes
from tallywire.operations.batches import OPERATIONS
from tallywire.settings import Settings

from .conftest import Edge

MONEY = {"user_id": "alice", "asset": "USDT", "amount": "1", "description": "why"}
BODIES: dict[str, Any] = {
    "POST /v1/transfers": {"from_user": "alice", "to_user": "zoe", "asset": "USDT", "amount": "1"},
    "POST /v1/shared-charges": {
        "book": "main",
        "asset": "USDT",
        "amount": "1",
        "shares": [{"user_id": "alice", "weight": 1}],
    },
    "POST /v1/holds/{id}/confirm": {},
    "POST /v1/holds/{id}/void": {},
    "POST /v1/spot/orders": {"pair": "BTC-USDT", "side": "buy", "base_amount": "0.001"},
    "POST /v1/options": {
        "pair": "BTC-USDT",
        "direction": "up",
        "stake": "1",
        "duration_s": 30,
    },
    "POST /v1/options/{id}/force": {"outcome": "tie"},
    "PUT /v1/admin/trading-controls/{user}": {"mode": "win"},
    "POST /v1/transactions/{id}/reversal": {"description": "why"},
    "POST /v1/batches": {"items": [{"operation": "deposit", **MONEY}]},
    "PUT /v1/admin/assets/{code}": {"scale": 3},
    "PUT /v1/admin/books/{book}": {},
    "PUT /v1/admin/pairs/{pair}": {"fee_bps": 20},
    "PUT /v1/prices/{pair}": {"price": "64000.00"},
    "POST /v1/admin/accounts": {"book": "main", "user_id": "alice", "asset": "BTC"},
    "PATCH /v1/admin/accounts/{book}/{owner}/{asset}": {"floor": "-1"},
    "POST /v1/admin/verifications": {},
    "PUT /v1/admin/webhooks/{name}": {"url": "http://127.0.0.1:9/hook"},
    "POST /dev/token": {"user_id": "alice", "role": "user"},
}
PATHS = {
    "{code}": "XYZ",
    "{book}": "main",
    "{pair}": "BTC-USDT",
    "{owner}": "alice",
    "{asset}": "USDT",
    "{user}": "alice",
    "{folder}": "parts",
    "{name}": "style.css",
}

# Each caller is not alice's, but for alice herself; `None` needs no token at all.
LET_IN = {
    "open": ("nobody", "alice", "bob", "eve:auditor", "ada:admin", "root:superadmin"),
    "any": ("alice", "bob", "eve:auditor", "ada:admin", "root:superadmin"),
    "own": ("alice", "bob", "ada:admin", "root:superadmin"),
    "own / auditor": ("alice", "eve:auditor", "ada:admin", "root:superadmin"),
    "own / admin": ("alice", "ada:admin", "root:superadmin"),
    "auditor": ("eve:auditor", "ada:admin", "root:superadmin"),
    "admin": ("ada:admin", "root:superadmin"),
    "superadmin": ("root:superadmin",),
}
EVERYBODY = LET_IN["open"]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
class TestWhoIsLetIn:
    @pytest.fixture
    def settings(self, route: Route) -> Settings:
        # Everything is in the table of development mode, and only there is /dev/token.
        return Settings() if route.development else Settings(secrets=("s" * 32,))

    async def test_as_the_table_says(self, route: Route, edge: Edge) -> None:
        made = await make(route.path, edge)
        for caller in EVERYBODY:
            headers = {} if caller == "nobody" else edge.bearer(*split(caller))
            status = await self.ask(route, edge, made, headers)
            let_in = status not in (401, 403)
            theirs = "{id}" in route.path and route.who.label in ("any", "own / admin")
            if theirs and caller == "bob":
                # Another user's transaction, hold or trade does not exist for him.
                assert status == 404
                continue
            assert let_in is (caller in LET_IN[route.who.label]), (caller, status)
            assert status < 500
            if not let_in:
                assert status == (401 if caller == "nobody" else 403)

    async def test_no_token_that_is_not_valid(self, route: Route, edge: Edge) -> None:
        if route.who.least is None:
            return
        expired = edge.bearer("root", "superadmin", ttl=60)
        revoked = edge.bearer("mallory", "superadmin")
        edge.services.revocations.revoke("mallory", int(edge.clock.now().timestamp()))
        edge.clock.forward(60)
        fresh = edge.bearer("root", "superadmin")["Authorization"]
        for authorization in (
            expired["Authorization"],
            revoked["Authorization"],
            fresh[:-3] + "abc",
            fresh.removeprefix("Bearer "),
            f"Basic {fresh.removeprefix('Bearer ')}",
            "Bearer ",
        ):
            status = await self.ask(route, edge, "x", {"Authorization": authorization})
            assert status == 401, authorization
        assert (await self.ask(route, edge, "x", {"Authorization": fresh})) != 401

    async def ask(
        self, route: Route, edge: Edge, transaction_id: str, headers: dict[str, str]
    ) -> int:
        path = route.path.replace("{id}", transaction_id)
        for parameter, value in PATHS.items():
            path = path.replace(parameter, value)
        body = BODIES.get(name_of(route), MONEY if route.takes and route.method != "GET" else None)
        answer = await edge.http.request(route.method, path, headers=headers, json=body)
        return answer.status_code


async def make(path: str, edge: Edge) -> str:
    """The id of something of alice's that `path` may name."""
    funded = await edge.fund("alice")
    if path.startswith("/v1/holds/"):
        return await edge.hold("alice")
    if path.startswith(("/v1/spot/", "/v1/options")):
        await edge.fund("alice", book="demo")
        await edge.price()
        asked = edge.order if path.startswith("/v1/spot/") else edge.option
        made = await asked(book="demo")
        assert made.status_code == 201, made.text
        return str(made.json()["trade"]["id"])
    return str(funded["transaction_id"])


def split(caller: str) -> tuple[str, str]:
    user_id, _, role = caller.partition(":")
    return user_id, role or "user"


def test_the_table_agrees_with_the_registry_of_types() -> None:
    """A batch item is refused by its type's role, a single call by the table's: they are one."""
    types = TransactionTypes()
    by_form = {route.takes: route.who.label for route in ROUTES}
    for name, each in OPERATIONS.items():
        expected = {"user": "own / admin"}.get(types[name].role, types[name].role)
        assert by_form[each.request] == expected


def test_no_route_stands_twice_and_paths_differ_by_more_than_their_parameters() -> None:
    shapes = [
        (route.method, tuple("{}" if s[:1] == "{" else s for s in route.path.split("/")))
        for route in ROUTES
    ]
    assert len(set(shapes)) == len(shapes)


def test_outside_development_mode_there_is_no_token_for_the_asking() -> None:
    only = {name_of(r) for r in routes_for(True)} - {name_of(r) for r in routes_for(False)}
    assert only == {"POST /dev/token"}
