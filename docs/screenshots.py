"""`python -m docs.screenshots`: takes the pictures of the pages beside this file anew."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, async_playwright, expect

from tests.browser.tabs import Tab
from tests.services.chromium import FLAGS, find_chromium
from tests.services.server import RunningServer, server_environment

FOLDER = Path(__file__).parent
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


async def take(browser: Browser, base_url: str) -> None:
    """Alice, Bob and a superadmin at work, each picture as `balance-sync-*.png`."""
    alice = await Tab.open(browser, base_url, viewport=DESK, color_scheme="light")
    bob = await Tab.open(browser, base_url, viewport=PHONE, color_scheme="dark")
    root = await Tab.open(browser, base_url, viewport=DESK, color_scheme="dark")
    await alice.watch("alice")
    await bob.watch("bob")
    await root.watch("root", superadmin=True)
    main = "main/alice/USDT"

    await root.move("Deposit", "500.25", subject="alice", description="Bank deposit")
    await alice.expect_balance(main, "10,500.250000", "verified")
    await root.move("Deposit", "0.25000000", subject="bob", asset="BTC", description="On chain")
    await bob.expect_balance("main/bob/BTC", "0.25000000", "verified")
    await alice.move("Transfer", "25.5", to_user="bob", description="Lunch")
    await bob.expect_balance("main/bob/USDT", "10,025.500000", "verified")
    await alice.move("Hold", "60", expires_in_s="3600", description="A room")
    await bob.move("Hold", "12.5", description="A table")
    for tab in (alice, bob):
        await expect(tab.page.locator("#holds .hold")).to_have_count(1)
    await alice.page.locator("#holds").get_by_label("Amount").fill("25")
    await alice.page.get_by_role("button", name="Confirm").click()
    await expect(alice.page.locator("#holds .about")).to_contain_text("of 60")
    await alice.move("Withdrawal", "12000")
    await alice.expect_result(re.compile("^Refused: "))

    for name, tab in {"user": alice, "phone": bob, "superadmin": root}.items():
        await tab.page.evaluate("scrollTo(0, 0)")
        file = FOLDER / f"balance-sync-{name}.png"
        await tab.page.screenshot(path=file, full_page=name != "phone", animations="disabled")
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
