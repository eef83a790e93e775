"""The HTTP edge on a real ledger in SQLite, without sockets: its connections are counted only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from tallywire.api.origins import Origins
from tallywire.api.rates import RateLimits
from tallywire.api.routes import routes_for
from tallywire.api.routing import RouteTable
from tallywire.api.services import Services
from tallywire.asyncapi import encoded_document
from tallywire.auth import Principal, Revocations, Tokens
from tallywire.ledger import open_ledger
from tallywire.ledger.clock import uuid7_source
from tallywire.settings import Settings
from tallywire.webhooks.destinations import LOOPBACK, Destinations
from tallywire.webhooks.registrations import Registrations

SECRET = "a secret of the tests, long enough"


class TestClock:
    """A clock that the test moves."""

    __test__ = False

    def __init__(self) -> None:
        self.moment = datetime(2031, 5, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def forward(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Wire:
    """Stands for bus, feed and hub."""

    is_up: bool = True
    position: int = 0
    on: dict[str, int] = field(default_factory=dict)
    disconnected: list[str] = field(default_factory=list)
    published: list[tuple[str, int]] = field(default_factory=list)

    def connected(self) -> Mapping[str, int]:
        return {"users": 0, "connections": 0}

    async def connections(self) -> Mapping[str, int]:
        return self.on

    def disconnect(self, user_id: str) -> int:
        self.disconnected.append(user_id)
        return 0

    async def open_stream(self, principal: Principal, **wanted: Any) -> Response:
        """A stream that is over at once, and says what it was asked for."""
        return JSONResponse({"user_id": principal.user_id, **wanted})

    async def publish_revocation(self, user_id: str, at: int) -> None:
        self.published.append((user_id, at))


@dataclass
class Edge:
    """A client of the edge, and the objects behind it."""

    http: httpx.AsyncClient
    services: Services
    clock: TestClock
    wire: Wire

    def bearer(self, user_id: str, role: str = "user", ttl: int = 3600) -> dict[str, str]:
        """The header of a fresh token."""
        return {"Authorization": f"Bearer {self.services.tokens.encode(user_id, role, ttl)}"}

    async def call(
        self,
        method: str,
        path: str,
        *,
        by: str = "root:superadmin",
        key: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One call by ``user:role`` (role user where absent)."""
        user_id, _, role = by.partition(":")
        headers = self.bearer(user_id, role or "user") | options.pop("headers", {})
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self.http.request(method, path, headers=headers, **options)

    async def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """A POST of JSON; by a superadmin where `by` is absent."""
        return await self.call("POST", path, json=body, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """A GET; by a superadmin where `by` is absent."""
        return await self.call("GET", path, **options)

    async def fund(
        self, user_id: str, amount: str = "100", asset: str = "USDT", book: str = "main"
    ) -> dict[str, Any]:
        """Deposit for the user; the answer."""
        body = {"user_id": user_id, "asset": asset, "amount": amount, "book": book}
        answer = await self.post("/v1/deposits", body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def hold(self, user_id: str, amount: str = "1", asset: str = "USDT") -> str:
        """Have the user place a hold; its id."""
        body = {"user_id": user_id, "asset": asset, "amount": amount}
        answer = await self.post("/v1/holds", body, by=user_id)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["hold"]["id"])

    async def price(self, price: str = "50000", pair: str = "BTC-USDT") -> None:
        """Push a price of the pair."""
        answer = await self.call("PUT", f"/v1/prices/{pair}", json={"price": price})
        assert answer.status_code == 200, answer.text

    async def order(self, by: str = "alice", **changed: Any) -> httpx.Response:
        """Have the user buy 0.001 BTC, or what is `changed` in that."""
        body = {"pair": "BTC-USDT", "side": "buy", "base_amount": "0.001"} | changed
        return await self.post("/v1/spot/orders", body, by=by)

    async def option(self, by: str = "alice", **changed: Any) -> httpx.Response:
        """Have the user stake 10 USDT on BTC going up in 30 seconds, or what is `changed`."""
        body = {"pair": "BTC-USDT", "direction": "up", "stake": "10", "duration_s": 30}
        return await self.post("/v1/options", body | changed, by=by)

    async def balance(self, user_id: str, account: int = 0) -> str:
        """The balance of the user's first account."""
        answer = await self.get(f"/v1/users/{user_id}/balances")
        return str(answer.json()["balances"][account]["balance"])


@pytest.fixture
def settings() -> Settings:
    """What the edge runs with; a test module may have its own."""
    return Settings(secrets=(SECRET,))


@pytest.fixture
async def edge(sqlite_url: str, settings: Settings) -> AsyncIterator[Edge]:
    """The edge on a fresh ledger."""
    clock, wire = TestClock(), Wire()
    async with open_ledger(sqlite_url, clock=clock) as manager:
        services = Services(
            settings=msgspec.structs.replace(settings, database_url=sqlite_url),
            clock=clock,
            manager=manager,
            tokens=Tokens((SECRET,), clock.now),
            revocations=Revocations(),
            rates=RateLimits(settings.user_rate, lambda: clock.now().timestamp()),
            bus=wire,
            feed=wire,
            hub=wire,
            open_stream=wire.open_stream,
            describe_wire=encoded_document,
            webhooks=Registrations(
                manager.database, clock, uuid7_source(clock), Destinations(LOOPBACK)
            ),
        )
        app = Starlette(
            routes=[RouteTable(routes_for(settings.development))],
            middleware=[Middleware(Origins, origins=settings.origins)],
        )
        app.state.services = services
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield Edge(http, services, clock, wire)
