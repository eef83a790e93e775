"""
Several people at work at once, while the network and the server fail: in the end every screen is
the ledger, by what it answers over HTTP and by what its database holds.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest
from playwright.async_api import expect
from sqlalchemy import make_url

from ..services.relay import Relay
from ..services.server import RunningServer
from .axe import DESK, PHONE
from .conftest import Ledger, NewTab
from .tabs import Tab

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALICE = "main/alice/USDT"
BOB = "main/bob/USDT"
LOST_SERVER = "WebSocket connection to .* failed|net::ERR_|status of 401"


def stored(database_url: str) -> dict[str, tuple[int, int]]:
    """Of each user's account in the database: balance and held, in minor units."""
    file = make_url(database_url).database
    assert file is not None
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute(
            "SELECT name, balance, held FROM accounts WHERE owner NOT LIKE '@%'"
        )
        return {name: (balance, held) for name, balance, held in rows}


async def shown(tab: Tab) -> dict[str, tuple[int, int]]:
    """The same of each account on the tab's screen."""
    cards = await tab.page.locator("#accounts [data-account]").evaluate_all(
        """cards => cards.map((card) => [card.dataset.account,
          ...["value", "held"].map((part) => card.querySelector(`.${part}`).textContent)])"""
    )
    return {name: (_minor(balance), _minor(held)) for name, balance, held in cards}


def _minor(text: str) -> int:
    return int(re.sub("[,.]", "", text))


async def test_every_screen_is_the_ledger_after_lost_networks_kills_and_restarts(
    new_tab: NewTab, site: RunningServer, ledger: Ledger, empty_sqlite_url: str
) -> None:
    async with Relay(site.port) as relay:
        alice = await new_tab(viewport=DESK)
        alice.base_url = relay.url
        bob = await new_tab(viewport=PHONE, color_scheme="dark")
        root = await new_tab(viewport=DESK, color_scheme="dark")
        start = await ledger.position()
        admin = await new_tab(viewport=PHONE)
        screens = (alice, bob, root, admin)
        for tab in screens:
            tab.excuse(LOST_SERVER)
            # Full jitter at its shorter end: the test need not wait for the longer one.
            await tab.page.add_init_script("Math.random = () => 0.05")
        await alice.watch("alice")
        await bob.watch("bob")
        await root.watch("root", superadmin=True)
        await admin.page.goto(f"{site.base_url}/static/admin.html?user=root&role=admin")
        await admin.expect_state("Connected")

        await root.move("Deposit", "500.25", subject="alice", description="Bank deposit")
        await alice.expect_balance(ALICE, "10,500.250000", "verified")
        await alice.move("Transfer", "25.5", to_user="bob")
        await bob.expect_balance(BOB, "10,025.500000", "verified")

        # Alice's network is away, and it is her browser that says so.
        relay.down = True
        relay.cut()
        await alice.page.context.set_offline(True)
        await alice.expect_state(re.compile("^Reconnecting"))
        await bob.move("Transfer", "5.5", to_user="alice")
        await bob.expect_balance(BOB, "10,020.000000", "verified")
        await alice.move("Withdrawal", "100")
        await alice.expect_result(re.compile("^No answer came"))
        relay.down = False
        await alice.page.context.set_offline(False)
        await alice.expect_balance(ALICE, "10,480.250000", "verified")
        await alice.page.get_by_role("button", name="Send again").click()
        await alice.expect_balance(ALICE, "10,380.250000", "verified")

        # The server is killed: its tokens end with it, so pages fetch fresh ones by themselves.
        await site.kill9()
        for tab in screens:
            await tab.expect_state(re.compile("^Reconnecting"))
        await site.start()
        for tab in screens:
            await tab.expect_state("Connected", within=30)
        await bob.move("Hold", "20", description="A table")
        await bob.expect_balance(BOB, "10,020.000000", "verified")

        # It is told to end: the screens say so, and come back once it is there again.
        assert await site.terminate() == 0
        await expect(
            bob.page.locator("#log [data-kind=status]").filter(has_text="restarting")
        ).to_have_count(1)
        await site.start()
        await ledger.sign_in()
        await ledger.deposit("bob", "1")
        for tab in screens:
            await tab.expect_state("Connected", within=30)
        await bob.expect_balance(BOB, "10,021.000000", "verified")
        await alice.move("Transfer", "0.25", to_user="bob")
        await alice.expect_balance(ALICE, "10,380.000000", "verified")
        await bob.expect_balance(BOB, "10,021.250000", "verified")

        in_database = stored(empty_sqlite_url)
        for tab, user in ((alice, "alice"), (bob, "bob")):
            own = {name: held for name, held in in_database.items() if f"/{user}/" in name}
            assert await shown(tab) == own
            over_http = await ledger.balances(user)
            assert {name: _minor(text) for name, text in over_http.items()} == {
                name: balance for name, (balance, _) in own.items()
            }
            assert await tab.logged_positions() == await ledger.positions(user, after=start)
        total = root.page.locator('[data-total="main/USDT"] td')
        await expect(total.nth(2)).to_have_text("20,401.250000")
        assert in_database[ALICE][0] + in_database[BOB][0] == 20_401_250_000
        await expect(total.nth(3)).to_have_text("20.000000")
        await admin.page.get_by_role("button", name="Check").click()
        await expect(admin.page.locator("#checked")).to_have_text(
            re.compile("^Equal to the ledger")
        )
        rows = admin.page.locator("#changes .row")
        monitored = await rows.evaluate_all("rows => rows.map((row) => row.dataset.position)")
        # Newest first, and both users' changes of a transfer: each once, and as far as it draws.
        moved = [position for user in ("alice", "bob") for position in await ledger.positions(user)]
        assert [int(position) for position in monitored] == sorted(moved)[::-1][: len(monitored)]
        head = str(await ledger.position())
        for tab in screens:
            await expect(tab.page.locator("#position")).to_have_text(head)


async def test_where_no_websocket_comes_through_a_page_goes_on_over_sse_and_says_so(
    new_tab: NewTab, site: RunningServer, ledger: Ledger
) -> None:
    async with Relay(site.port) as relay:
        relay.upgrades = False
        alice = await new_tab()
        alice.base_url = relay.url
        alice.excuse(LOST_SERVER)
        await alice.page.add_init_script("Math.random = () => 0.05")
        start = await ledger.position()
        await alice.watch("alice")
        await expect(alice.page.locator("#transport")).to_have_text("SSE")
        await ledger.deposit("alice", "1")
        await alice.expect_balance(ALICE, "10,001.000000", "verified")

        relay.cut()
        await expect(alice.page.locator("#log [data-kind=resumed]")).to_have_count(
            1, timeout=30_000
        )
        await ledger.deposit("alice", "1")
        await alice.expect_balance(ALICE, "10,002.000000", "verified")
        await expect(alice.page.locator("#transport")).to_have_text("SSE")
        assert await alice.logged_positions() == await ledger.positions("alice", after=start)

        altered = re.compile(rb'("digest":")[0-9a-f]{64}')
        relay.alter = lambda data: altered.sub(rb"\g<1>" + b"0" * 64, data)
        await ledger.deposit("alice", "1")
        card = alice.account(ALICE)
        await expect(card.locator(".mark")).to_have_text("does not fit")
        await expect(card).to_have_class(re.compile("broken"))
        await expect(alice.page.get_by_role("alert").filter(has_text=ALICE)).to_be_visible()

        relay.alter = bytes
        await alice.page.get_by_role("button", name="Load afresh").click()
        await alice.expect_balance(ALICE, "10,003.000000", "snapshot")
