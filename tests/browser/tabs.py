"""Browser tabs as the tests see them: a page, and everything that went wrong in it."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode

from playwright.async_api import Browser, Locator, Page, Route, WebSocketRoute, expect

PAGE = "/static/test-balance-sync.html"

_WATCH_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  tellViolation(`${event.violatedDirective} ${event.blockedURI}`);
});
"""

_COPY_LOG = """
() => {
  let copied = "";
  navigator.clipboard.writeText = async (text) => { copied = text; };
  document.getElementById("copy").click();
  delete navigator.clipboard.writeText;
  return copied;
}
"""


class Tab:
    """
    One tab with a profile of its own.

    faults: console errors and warnings, uncaught exceptions and CSP violations, as they come.
    excuse(pattern): console messages that this test brings about on purpose.
    """

    def __init__(self, page: Page, base_url: str) -> None:
        self.page = page
        self.base_url = base_url
        self.faults: list[str] = []
        self._excused: list[re.Pattern[str]] = []

    @classmethod
    async def open(cls, browser: Browser, base_url: str, **context: Any) -> Tab:
        """A new tab in a new profile, nothing loaded yet; context: options of the profile."""
        return await cls.of(await (await browser.new_context(**context)).new_page(), base_url)

    @classmethod
    async def of(cls, page: Page, base_url: str) -> Tab:
        """A tab of `page`, which has nothing loaded yet."""
        tab = cls(page, base_url)
        page.on("console", lambda message: tab._console(message.type, message.text))
        page.on("pageerror", lambda error: tab.faults.append(f"uncaught: {error}"))
        await page.expose_function(
            "tellViolation", lambda text: tab.faults.append(f"violation: {text}")
        )
        await page.add_init_script(_WATCH_VIOLATIONS)
        return tab

    def excuse(self, pattern: str) -> None:
        """From now on console messages with `pattern` are no faults."""
        self._excused.append(re.compile(pattern))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(e.search(text) for e in self._excused):
            self.faults.append(f"{kind}: {text}")

    async def watch(self, user: str, *, superadmin: bool = False) -> Tab:
        """Open the balance sync page as `user` and wait until it is connected."""
        query = {"user": user} | ({"operate": "superadmin"} if superadmin else {})
        await self.page.goto(f"{self.base_url}{PAGE}?{urlencode(query)}")
        await self.expect_state("Connected")
        await expect(self.page.locator("#log [data-kind=init]")).to_have_count(1)
        return self

    async def expect_state(self, text: str | re.Pattern[str], *, within: float = 5) -> None:
        """Wait for the words of the connection light, at most that many seconds."""
        await expect(self.page.locator("#state")).to_have_text(text, timeout=within * 1000)

    def account(self, name: str) -> Locator:
        """The card of the account called `name`."""
        return self.page.locator(f'[data-account="{name}"]')

    async def expect_balance(self, name: str, balance: str, proof: str | None = None) -> None:
        """Wait until that account shows `balance` and, if given, the mark `proof`."""
        card = self.account(name)
        await expect(card.locator(".value")).to_have_text(balance)
        if proof is not None:
            await expect(card.locator(".mark")).to_have_text(proof)

    async def move(self, operation: str, amount: str, **fields: str) -> None:
        """Fill in the form and send it; fields: by the ids of the inputs."""
        await self.page.get_by_role("radio", name=operation, exact=True).check()
        for name, value in {"amount": amount, **fields}.items():
            await self.page.locator(f"#{name}").fill(value)
        await self.page.locator("#submit").click()

    async def expect_result(self, text: str | re.Pattern[str]) -> None:
        """Wait for the words below the form."""
        await expect(self.page.locator("#result-words")).to_have_text(text)

    async def trade(self, kind: str, **fields: str) -> None:
        """Fill in the form of trades and send it; kind: Option or Spot order; fields: by ids."""
        await self.page.get_by_role("radio", name=kind).check()
        for name, value in fields.items():
            await self.page.locator(f"#{name}").fill(value)
        await self.page.locator("#order-submit").click()

    async def expect_trade(self, text: str | re.Pattern[str]) -> None:
        """Wait for the words below the form of trades."""
        await expect(self.page.locator("#order-result p").first).to_have_text(text)

    async def logged_positions(self) -> list[int]:
        """The positions of the updates in the log, oldest first: also of rows out of view."""
        text: str = await self.page.evaluate(_COPY_LOG)
        lines = [json.loads(line) for line in text.splitlines()]
        return [line["data"]["position"] for line in lines if line["kind"] == "update"]


class Wire:
    """
    The tab's WebSocket in the test's hands: `await Wire.between(tab)` before the page is opened.

    alter: changes a server's message on its way; the result is what the page gets, [] = nothing.
    let_through: whether new connections reach the server; else they are closed with `refuse`.
    """

    def __init__(self) -> None:
        self.let_through = True
        self.refuse = 1001
        self.hellos: list[dict[str, Any]] = []
        self._routes: list[WebSocketRoute] = []

    @classmethod
    async def between(cls, tab: Tab) -> Wire:
        """A wire between `tab` and its server."""
        wire = cls()
        await tab.page.route_web_socket(re.compile(r"/ws$"), wire._connected)
        return wire

    def alter(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Replace this on the object."""
        return [message]

    async def cut(self, code: int = 1001) -> None:
        """Close the newest connection on the page's side."""
        await self._routes[-1].close(code=code)

    def tell(self, message: dict[str, Any]) -> None:
        """Send the page a message as if it came from the server."""
        self._routes[-1].send(json.dumps(message))

    async def _connected(self, route: WebSocketRoute) -> None:
        if not self.let_through:
            await route.close(code=self.refuse)
            return
        self._routes.append(route)
        server = route.connect_to_server()

        def from_page(text: str | bytes) -> None:
            message = json.loads(text)
            if message["type"] == "connect":
                self.hellos.append(message)
            server.send(text)

        def from_server(text: str | bytes) -> None:
            for message in self.alter(json.loads(text)):
                route.send(json.dumps(message))

        route.on_message(from_page)
        server.on_message(from_server)


class Posts:
    """The tab's POSTs to one path, with the keys that they carried; `lose` drops answers."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.lose = 0

    @classmethod
    async def of(cls, tab: Tab, path: str) -> Posts:
        """Watch the POSTs of `tab` to `path`."""
        posts = cls()
        await tab.page.route(f"**{path}", posts._asked)
        return posts

    async def _asked(self, route: Route) -> None:
        self.keys.append(route.request.headers["idempotency-key"])
        answer = await route.fetch()
        if self.lose:
            self.lose -= 1
            await route.abort("connectionreset")
        else:
            await route.fulfill(response=answer)
