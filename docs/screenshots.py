"""`python -m docs.screenshots`: takes the pictures of the pages beside this file anew."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, ViewportSize, async_playwright, expect

from tests.browser.tabs import Tab
from tests.services.chromium import FLAGS, find_chromium
from tests.services.server import RunningServer, server_environment

FOLDER = Path(__file__).parent
DESK: ViewportSize = {"width": 1440, "height": 1000}
PHONE: ViewportSize = {"width": 390, "height": 844}

TRADING = "trading-1440.png"

# By the name of the picture: how wide, and by which colours.
PICTURES: dict[str, tuple[ViewportSize, Literal["light", "dark"]]] = {
    "balance-sync-1440.png": (DESK, "light"),
    "balance-sync-390.png": (PHONE, "dark"),
    "admin-1440.png": (DESK, "dark"),
    "admin-390.png": (PHONE, "light"),
    TRADING: (DESK, "light"),
}

Pages = dict[str, Tab]


async def _open(browser: Browser, base_url: str) -> Pages:
    pages = {}
    for name, (viewport, scheme) in PICTURES.items():
        pages[name] = await Tab.open(
            browser, base_url, viewport=viewport, color_scheme=scheme, timezone_id="UTC"
        )
    return pages


async def _work(alice: Tab, bob: Tab, root: Tab) -> None:
    """Deposits, transfers, holds and a refusal, by the page's own forms."""
    for amount, text in (("500.25", "Bank deposit"), ("120", "Card"), ("79.75", "Bank deposit")):
        await root.move("Deposit", amount, subject="alice", description=text)
        await root.expect_result(re.compile(f"^Deposited {re.escape(amount)} "))
    await root.move("Deposit", "0.25", subject="bob", asset="BTC", description="On chain")
    await bob.expect_balance("main/bob/BTC", "0.25000000", "verified")
    await alice.move("Transfer", "25.5", to_user="bob", description="Lunch")
    await bob.move("Transfer", "8", to_user="alice", asset="USDT", description="Coffee")
    await alice.move("Hold", "60", expires_in_s="3600", description="A room")
    await bob.move("Hold", "12.5", description="A table")
    for tab in (alice, bob):
        await expect(tab.page.locator("#holds .hold")).to_have_count(1)
    await alice.page.locator("#holds").get_by_label("Amount").fill("25")
    await alice.page.get_by_role("button", name="Confirm").click()
    await expect(alice.page.locator("#holds .about")).to_contain_text("of 60")
    await bob.move("Withdrawal", "40", description="To the bank")
    await bob.expect_balance("main/bob/USDT", "9,977.500000", "verified")
    await alice.move("Withdrawal", "12000", description="")
    await alice.expect_result(re.compile("^Refused: "))
    await alice.expect_balance("main/alice/USDT", "10,657.500000", "verified")


async def _trade(tab: Tab, bob: Tab) -> None:
    """Alice buys; then both stake play money on where a price goes."""
    await tab.trade("Spot order", **{"order-amount": "250", "order-book": "main"})
    await tab.expect_trade(re.compile("^Bought "))
    await tab.page.get_by_role("radio", name="Option", exact=True).check()
    await tab.page.locator("#order-book").fill("demo")
    for direction, duration, stake in (("Up", "60 s", "25"), ("Down", "300 s", "40")):
        await tab.page.get_by_role("radio", name=direction, exact=True).check()
        await tab.page.get_by_role("radio", name=duration).check()
        await tab.trade("Option", stake=stake)
        await tab.expect_trade(re.compile(f"^Opened BTC-USDT {direction.lower()}, {stake}"))
    await bob.trade("Option", stake="10")
    await bob.expect_trade(re.compile("^Opened "))


async def take(browser: Browser, base_url: str) -> None:
    """Alice and Bob at work, an operator beside them; each page is pictured as it then is."""
    pages = await _open(browser, base_url)
    alice, bob = pages["balance-sync-1440.png"], pages["balance-sync-390.png"]
    await alice.watch("alice")
    await bob.watch("bob")
    root = await (await Tab.open(browser, base_url)).watch("root", superadmin=True)
    for name, view in {"admin-1440.png": "proof", "admin-390.png": "user=alice"}.items():
        admin = pages[name]
        await admin.page.goto(f"{base_url}/static/admin.html?user=root&role=superadmin#{view}")
        await admin.expect_state("Connected")
    await _work(alice, bob, root)
    await _trade(await pages[TRADING].watch("alice"), bob)
    monitor = pages["admin-1440.png"].page
    await monitor.locator("#verify").get_by_role("button", name="Verify", exact=True).click()
    await expect(monitor.locator("#no-discrepancies")).to_be_visible()
    await monitor.get_by_role("link", name="Live").click()
    await expect(monitor.locator("#discrepancies-now")).to_have_text("0")
    for name, tab in pages.items():
        await tab.page.evaluate("scrollTo(0, 0)")
        if name == TRADING:
            await tab.page.locator("#trading").evaluate("panel => panel.scrollIntoView()")
        file = FOLDER / name
        await tab.page.screenshot(path=file, animations="disabled")
        sys.stdout.write(f"{file}\n")


async def main() -> None:
    """A fresh server in development mode, a browser, the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        environment = server_environment(f"sqlite+aiosqlite:///{folder}/ledger.db", secret=None)
        server = RunningServer(Path(folder), environment, secret=None)
        try:
            await server.start()
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=find_chromium(), args=list(FLAGS)
                )
                await take(browser, server.base_url)
                await browser.close()
        finally:
            server.discard()


if __name__ == "__main__":
    asyncio.run(main())
