"""Panels of the balance sync page: operators' forms, the log, the cards' lines, the head."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Route, expect

from .conftest import Ledger, NewTab
from .tabs import PAGE

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = r"Failed to load resource: the server responded with a status of 4\d\d"


async def test_an_operator_adjusts_charges_and_recharges(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    account = "main/gina/USDT"
    gina = await (await new_shared_tab()).watch("gina", superadmin=True)
    gina.excuse(REFUSED)
    page = gina.page

    await gina.move("Adjustment", "12.5")
    description = page.get_by_label("Description (required)")
    await expect(description).to_have_accessible_description(re.compile("needs a description"))
    await expect(description).to_be_focused()
    await gina.move("Adjustment", "12.5", description="Found")
    await gina.expect_result(re.compile(r"^Adjusted 12\.5 USDT, position \d+\.$"))
    await gina.expect_balance(account, "12.500000", "verified")
    await gina.move("Adjustment", "-2.25")
    await gina.expect_balance(account, "10.250000", "verified")

    await page.get_by_label("To a new balance").check()
    await expect(page.locator("#quick")).to_be_hidden()
    await page.get_by_label("New balance", exact=True).fill("1000")
    await page.locator("#submit").click()
    await gina.expect_result(re.compile(r"^Adjusted to 1,000 USDT, position \d+\.$"))
    await gina.expect_balance(account, "1,000.000000", "verified")

    await page.get_by_role("radio", name="Charge", exact=True).check(force=True)
    await page.get_by_label("Service").fill("storage")
    await page.get_by_role("button", name="100", exact=True).click()
    await expect(page.locator("#amount")).to_have_value("100")
    await page.keyboard.press("Enter")
    await gina.expect_balance(account, "900.000000", "verified")
    await page.get_by_role("radio", name="Recharge").check(force=True)
    await gina.move("Recharge", "0.5")
    await gina.expect_balance(account, "900.500000", "verified")
    await page.get_by_role("radio", name="Withdrawal").check(force=True)
    await page.get_by_role("button", name="All", exact=True).click()
    await expect(page.locator("#amount")).to_have_value("900.500000")
    assert (await shared_ledger.balances("gina"))[account] == "900.500000"

    for operation in ("Deposit", "Adjustment", "Charge", "Recharge"):
        await page.get_by_role("radio", name=operation, exact=True).check(force=True)
        await expect(page.locator("#submit")).to_be_enabled()
    await page.get_by_label("Operate as superadmin").uncheck()
    await page.get_by_role("button", name="Connect", exact=True).click()
    for operation, words in {"Adjustment": "adjust a balance", "Charge": "charge for"}.items():
        await page.get_by_role("radio", name=operation, exact=True).check(force=True)
        await expect(page.locator("#not-for-users")).to_contain_text(
            f"Only an operator may {words}"
        )
        await expect(page.locator("#submit")).to_be_disabled()


async def test_the_log_is_filtered_paused_opened_and_copied_as_it_is_filtered(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    tab = await new_shared_tab(permissions=["clipboard-read", "clipboard-write"])
    await tab.watch("hugo")
    page = tab.page
    rows = page.locator("#log .row")
    first = await shared_ledger.deposit("hugo", "1")
    await shared_ledger.deposit("hugo", "2")
    await tab.expect_balance("main/hugo/USDT", "3.000000", "verified")

    await page.get_by_role("combobox", name="Show").select_option("Changes")
    await expect(rows).to_have_count(2)
    await page.get_by_label("With the text").fill(f"POSITION {first} ")
    await expect(rows).to_have_count(1)
    await expect(rows.locator(".amount")).to_have_text("+1.000000")
    await expect(page.locator("#log-count")).to_have_text(re.compile(r"^1 of \d+$"))
    await shared_ledger.deposit("hugo", "4")
    await tab.expect_balance("main/hugo/USDT", "7.000000", "verified")
    await expect(rows).to_have_count(1)

    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.locator("#copied")).to_have_text("1 line copied")
    (copied,) = (await page.evaluate("navigator.clipboard.readText()")).split("\n")
    assert json.loads(copied)["data"]["position"] == first

    await rows.click()
    detail = page.locator("#log-detail")
    await expect(detail.locator("pre")).to_contain_text(f'"position": {first}')
    await detail.get_by_role("button", name="Close").click()
    await expect(detail).to_be_hidden()

    await page.get_by_label("With the text").fill("nothing like it")
    await expect(page.locator("#no-entries")).to_have_text("No entry passes the filter.")
    await page.get_by_label("With the text").fill("")
    await expect(rows).to_have_count(3)
    pause = page.get_by_role("button", name="Pause")
    await pause.click()
    await expect(pause).to_have_attribute("aria-pressed", "true")
    await shared_ledger.deposit("hugo", "8")
    await expect(page.locator("#log-newer")).to_have_text("1 new")
    await expect(rows).to_have_count(3)
    await pause.click()
    await expect(rows).to_have_count(4)
    await expect(page.locator("#log-newer")).to_be_hidden()


async def test_a_card_draws_how_its_balance_came_to_be(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    for amount in ("5", "1"):
        await shared_ledger.deposit("ines", amount)
    ines = await (await new_shared_tab()).watch("ines")
    line = ines.account("main/ines/USDT").get_by_role("img")
    await expect(line).to_have_accessible_name(
        re.compile(r"^2 values, from 5\.000000 USDT to 6\.000000 USDT;")
    )
    await ines.move("Withdrawal", "4")
    await expect(line).to_have_accessible_name(
        "3 values, from 5.000000 USDT to 2.000000 USDT;"
        " lowest 2.000000 USDT, highest 6.000000 USDT."
    )
    await expect(line.locator("path")).to_have_attribute(
        "d", re.compile("^M0.00 .*L.*L100.00 24.00$")
    )


async def test_the_head_tells_who_this_tab_is_and_how_it_is_connected(
    new_shared_tab: NewTab,
) -> None:
    alice = await (await new_shared_tab()).watch("alice")
    bob = await (await new_shared_tab()).watch("bob")
    await expect(alice.page).to_have_title("alice · Tallywire")
    await expect(alice.page.locator("#transport")).to_have_text("WebSocket")
    await expect(alice.page.locator("#latency")).to_have_text(re.compile(r"^\d+ ms$"))
    band = "getComputedStyle(document.body).borderTopColor"
    assert await alice.page.evaluate(band) != await bob.page.evaluate(band)

    beside = alice.page.get_by_role("navigation", name="Open beside this tab").get_by_role("link")
    assert await beside.all_inner_texts() == ["bob", "superadmin", "monitor"]
    async with alice.page.context.expect_page() as opened:
        await beside.nth(1).click()
    root = await opened.value
    await expect(root.locator("#state")).to_have_text("Connected")
    await expect(root).to_have_title("root (superadmin) · Tallywire")
    await expect(root.locator("#superadmin-banner")).to_be_visible()


async def test_what_helps_is_told_where_the_client_stops(new_shared_tab: NewTab) -> None:
    alice = await new_shared_tab()
    alice.excuse(r"Failed to load resource|WebSocket connection to")
    await alice.page.route("**/dev/token", lambda route: route.abort("connectionrefused"))
    await alice.page.goto(f"{alice.base_url}{PAGE}?user=alice")
    await alice.expect_state(re.compile("^Reconnecting: the server at .* gives no answer$"))
    await alice.page.unroute("**/dev/token")
    await alice.expect_state("Connected")


async def test_where_a_development_token_is_refused_one_can_be_pasted(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    """As on a page that was opened by a name of this machine which is not a loopback one."""
    tab = await new_shared_tab()
    tab.excuse(r"Failed to load resource: .*403")
    token = await shared_ledger.token("iris", "user")

    async def refuse(route: Route) -> None:
        await route.fulfill(status=403, json={"detail": "for this machine only"})

    await tab.page.route("**/dev/token", refuse)
    await tab.page.goto(f"{tab.base_url}{PAGE}?user=iris")
    await tab.expect_state("Stopped: for this machine only; paste a token")
    await tab.page.get_by_label("Token").fill(token)
    await tab.page.get_by_role("button", name="Connect", exact=True).click()
    await tab.expect_state("Connected")
