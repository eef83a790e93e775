"""
The pages in a real browser against a real server in development mode.

  site      the server: alice and bob have 10,000 USDT each in `main` and `demo`
  ledger    what that server answers over HTTP, asked as the superadmin `root`
  new_tab   `tab = await new_tab()`; a test in which a tab had a fault fails at its end
  shared_site, shared_ledger, new_shared_tab
            the same with one server for all tests that only look or have users of their own
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from ..conftest import StartServer
from ..services.forks import Forks
from ..services.server import RunningServer, server_environment
from .tabs import Tab

NewTab = Callable[..., Awaitable[Tab]]


class Ledger:
    """The ledger over HTTP, whatever the pages show."""

    def __init__(self, http: httpx.AsyncClient, server: RunningServer) -> None:
        self._http = http
        self._server = server

    async def sign_in(self) -> None:
        """Get a token, also a new one: a restart in development mode ends the old ones."""
        token = await self._server.dev_token("root", "superadmin")
        self._http.headers["Authorization"] = f"Bearer {token}"

    async def token(self, user: str, role: str) -> str:
        """A token of that role."""
        return await self._server.dev_token(user, role)

    async def deposit(self, user: str, amount: str, book: str = "main") -> int:
        """Deposit USDT into `book`; the result is its position."""
        body = {"user_id": user, "asset": "USDT", "amount": amount, "book": book}
        answer = await self._http.post("/v1/deposits", json=body)
        position: int = answer.raise_for_status().json()["position"]
        return position

    async def trade(self, user: str, path: str, **body: Any) -> dict[str, Any]:
        """Ask for a trade as `user`; the result is the TRADE."""
        headers = {"Authorization": f"Bearer {await self.token(user, 'user')}"}
        answer = await self._http.post(path, json=body, headers=headers)
        trade: dict[str, Any] = answer.raise_for_status().json()["trade"]
        return trade

    async def set_control(self, user: str, mode: str) -> None:
        """Set the trading control of `user` in `demo`."""
        path = f"/v1/admin/trading-controls/{user}"
        (await self._http.put(path, json={"mode": mode})).raise_for_status()

    async def offer(self, pair: str, *seconds: int) -> None:
        """Let options of `pair` last so many seconds, each paying 0.9."""
        durations = [{"duration_s": each, "payout_rate": "0.9"} for each in seconds]
        path = f"/v1/admin/pairs/{pair}"
        (await self._http.put(path, json={"durations": durations})).raise_for_status()

    async def hold(self, user: str, amount: str) -> str:
        """Hold USDT of `user` in `main`; the result is the hold's id."""
        body = {"user_id": user, "asset": "USDT", "amount": amount}
        answer = await self._http.post("/v1/holds", json=body)
        hold: str = answer.raise_for_status().json()["hold"]["id"]
        return hold

    async def void(self, hold: str) -> None:
        """Release the hold with that id."""
        (await self._http.post(f"/v1/holds/{hold}/void", json={})).raise_for_status()

    async def change_account(self, account: str, **settings: str) -> None:
        """Set an account's thresholds or status; account: ``book/owner/asset``."""
        path = f"/v1/admin/accounts/{account}"
        (await self._http.patch(path, json=settings)).raise_for_status()

    async def balances(self, user: str) -> dict[str, str]:
        """Account name to balance."""
        answer = await self._http.get(f"/v1/users/{user}/balances")
        found = answer.raise_for_status().json()["balances"]
        return {balance["account"]: balance["balance"] for balance in found}

    async def positions(self, user: str, *, after: int = 0) -> list[int]:
        """The positions of `user`'s history above `after`, oldest first."""
        answer = await self._http.get(f"/v1/users/{user}/history", params={"limit": 1000})
        items = answer.raise_for_status().json()["items"]
        return sorted(item["position"] for item in items if item["position"] > after)

    async def position(self) -> int:
        """The journal's head."""
        answer = await self._http.get("/v1/users/root/balances")
        head: int = answer.raise_for_status().json()["position"]
        return head


@pytest_asyncio.fixture(loop_scope="session")
async def site(server: StartServer, empty_sqlite_url: str) -> RunningServer:
    """A fresh server in development mode."""
    return await server(database_url=empty_sqlite_url, secret=None)


@pytest_asyncio.fixture(loop_scope="session")
async def ledger(site: RunningServer) -> AsyncIterator[Ledger]:
    """What the server of `site` holds."""
    async with _ledger(site) as ledger:
        yield ledger


@pytest_asyncio.fixture(loop_scope="session")
async def shared_ledger(shared_site: RunningServer) -> AsyncIterator[Ledger]:
    """What the server of `shared_site` holds."""
    async with _ledger(shared_site) as ledger:
        yield ledger


@asynccontextmanager
async def _ledger(site: RunningServer) -> AsyncIterator[Ledger]:
    async with httpx.AsyncClient(base_url=site.base_url) as http:
        ledger = Ledger(http, site)
        await ledger.sign_in()
        yield ledger


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_site(
    tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> AsyncIterator[RunningServer]:
    """A server in development mode, started once for many tests; options may last a second."""
    folder = tmp_path_factory.mktemp("site")
    url = f"sqlite+aiosqlite:///{folder / 'ledger.db'}"
    environment = server_environment(url, secret=None)
    running = RunningServer(folder, environment, secret=None, forks=forks)
    try:
        await running.start()
        async with _ledger(running) as ledger:
            await ledger.offer("BTC-USDT", 1, 30, 300)  # so that nobody waits for the shortest
        yield running
    finally:
        running.discard()


@pytest_asyncio.fixture(loop_scope="session")
async def new_tab(site: RunningServer, browser: Browser) -> AsyncIterator[NewTab]:
    """Opens tabs on `site` and fails the test for what went wrong in them."""
    async with _tabs(browser, site) as new:
        yield new


@pytest_asyncio.fixture(loop_scope="session")
async def new_shared_tab(shared_site: RunningServer, browser: Browser) -> AsyncIterator[NewTab]:
    """Opens tabs on `shared_site` and fails the test for what went wrong in them."""
    async with _tabs(browser, shared_site) as new:
        yield new


@asynccontextmanager
async def _tabs(browser: Browser, site: RunningServer) -> AsyncIterator[NewTab]:
    tabs: list[Tab] = []

    async def new(**context: Any) -> Tab:
        tab = await Tab.open(browser, site.base_url, **context)
        tabs.append(tab)
        return tab

    yield new
    assert [fault for tab in tabs for fault in tab.faults] == []
