"""
Pages that were put away and come back: in the back/forward cache, and asleep in a hidden tab.

Playwright turns both off: it starts Chromium without the cache, and has every page believe that it
is seen. So this Chromium is started with the cache, and its pages are those of its own window.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from ..services.chromium import FLAGS, find_chromium
from ..services.processes import free_port
from ..services.server import RunningServer
from .conftest import Ledger
from .tabs import Tab

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAIN = "main/alice/USDT"
_LISTEN = """
window.told = [];
for (const name of ["freeze", "resume", "visibilitychange"]) {
  document.addEventListener(name, () => told.push(`${name} ${document.visibilityState}`));
}
addEventListener("pageshow", (event) => told.push(`pageshow ${event.persisted}`));
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def window() -> AsyncIterator[BrowserContext]:
    """The window of a Chromium that hides, freezes and caches pages as a user's does."""
    port = free_port()
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=find_chromium(),
            args=[*FLAGS, f"--remote-debugging-port={port}"],
            ignore_default_args=["--disable-back-forward-cache"],
        )
        seen = await playwright.chromium.connect_over_cdp(
            f"http://127.0.0.1:{port}", no_defaults=True
        )
        yield seen.contexts[0]
        await seen.close()
        await started.close()


NewPage = Callable[[str], Awaitable[Tab]]


@pytest_asyncio.fixture(loop_scope="session")
async def new_tab(window: BrowserContext) -> AsyncIterator[NewPage]:
    """`await new_tab(base_url)`: a tab of that window; the test fails for what went wrong in it."""
    tabs: list[Tab] = []

    async def new(base_url: str) -> Tab:
        tab = await Tab.of(await window.new_page(), base_url)
        await tab.page.add_init_script(_LISTEN)
        tabs.append(tab)
        return tab

    yield new
    for page in window.pages:
        await page.close()
    assert [fault for tab in tabs for fault in tab.faults] == []


async def told(page: Page) -> list[str]:
    """What the page has been told of its life so far."""
    events: list[str] = await page.evaluate("told")
    return events


class Behind:
    """`async with Behind(window, tab, frozen=…):` the tab lies behind another one of its window."""

    def __init__(self, window: BrowserContext, tab: Tab, *, frozen: bool) -> None:
        """frozen: asleep as after some minutes there, when Chromium also closes its sockets."""
        self._window = window
        self._page = tab.page
        self._frozen = frozen

    async def __aenter__(self) -> None:
        self._cover = await self._window.new_page()
        self._life = await self._window.new_cdp_session(self._page)
        await self._until("hidden")
        if self._frozen:
            await self._life.send("Page.setWebLifecycleState", {"state": "frozen"})
            assert (await told(self._page))[-1] == "freeze hidden"

    async def __aexit__(self, *_: object) -> None:
        if self._frozen:
            await self._life.send("Page.setWebLifecycleState", {"state": "active"})
            assert (await told(self._page))[-1] == "resume hidden"
        await self._page.bring_to_front()
        await self._cover.close()
        await self._until("visible")

    async def _until(self, state: str) -> None:
        # By a timer: a hidden page draws no frames, by which Playwright would look else.
        await self._page.wait_for_function(
            "(state) => document.visibilityState === state", arg=state, polling=20
        )


async def test_a_page_that_was_put_away_comes_back_with_what_happened_meanwhile(
    new_tab: NewPage, window: BrowserContext, site: RunningServer, ledger: Ledger
) -> None:
    alice = await (await new_tab(site.base_url)).watch("alice")
    start = await ledger.position()
    resumed = alice.page.locator("#log [data-kind=resumed]")

    async with Behind(window, alice, frozen=False):
        await ledger.deposit("alice", "1")
    await alice.expect_balance(MAIN, "10,001.000000", "verified")
    await expect(resumed).to_have_count(0)

    alice.excuse("WebSocket .* Page entered Back-Forward Cache")
    async with Behind(window, alice, frozen=True):
        await ledger.deposit("alice", "1")
        await ledger.deposit("alice", "1")
        await alice.expect_balance(MAIN, "10,001.000000")
    await alice.expect_balance(MAIN, "10,003.000000", "verified")
    await expect(resumed.first).to_contain_text("2 missed")

    await alice.page.goto(f"{site.base_url}/")
    await ledger.deposit("alice", "1")
    # A page from the cache was loaded long ago: there is no "load" to wait for.
    await alice.page.go_back(wait_until="commit")
    shows = [event for event in await told(alice.page) if event.startswith("pageshow")]
    assert shows == ["pageshow false", "pageshow true"]
    await alice.expect_state("Connected")
    await alice.expect_balance(MAIN, "10,004.000000", "verified")
    await expect(resumed.first).to_contain_text("1 missed")

    await ledger.deposit("alice", "1")
    await alice.expect_balance(MAIN, "10,005.000000", "verified")
    assert await alice.logged_positions() == await ledger.positions("alice", after=start)
