"""The monitor: what it shows is what the ledger holds, and each role is offered what it may."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from ..services.server import RunningServer
from .axe import violations
from .conftest import Ledger, NewTab
from .tabs import Tab, Wire

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED_REQUEST = r"Failed to load resource: the server responded with a status of 4\d\d"
LOST_SERVER = (
    r"WebSocket connection to .* failed|ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY"
)


async def _watch(tab: Tab, role: str = "superadmin", view: str = "#live") -> Page:
    await tab.page.goto(f"{tab.base_url}/static/admin.html?user=root&role={role}{view}")
    await tab.expect_state("Connected")
    return tab.page


async def _amounts(page: Page) -> list[str]:
    return await page.locator("#changes .row .amount").all_inner_texts()


async def _filter(page: Page, **conditions: str) -> None:
    for name, value in conditions.items():
        await page.locator(f"#filter [name={name}]").fill(value)


async def _operate(page: Page, kind: str, **fields: str) -> None:
    await page.locator("#operation-kind").select_option(label=kind)
    for name, value in fields.items():
        await page.locator(f"#operation-{name}").fill(value)
    await page.locator("#operation-submit").click()


async def test_the_stream_is_filtered_searched_and_paused_and_its_totals_are_the_ledgers(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    for amount in ("1", "2", "3"):
        await shared_ledger.deposit("mona", amount)
    for _ in range(51):  # more than a monitor begins with
        await shared_ledger.deposit("noise", "1")
    tab = await new_shared_tab()
    wire = await Wire.between(tab)
    page = await _watch(tab)
    await expect(page.locator("#changes .row")).not_to_have_count(0)

    # Older ones come from the server; the totals go on from every change meanwhile.
    await _filter(page, user_id="mona", min_amount="2")
    await expect(page.locator("#changes .row .amount")).to_have_text(["+3.000000", "+2.000000"])
    assert wire.hellos[-1]["filter"] == {"user_id": "mona", "min_amount": "2"}
    await shared_ledger.deposit("mona", "1.999999")
    await shared_ledger.deposit("noise", "500")
    last = await shared_ledger.deposit("mona", "7.5")
    await expect(page.locator("#changes .row").first).to_have_attribute("data-position", str(last))
    assert await _amounts(page) == ["+7.500000", "+3.000000", "+2.000000"]
    await expect(page.locator("#kept")).to_contain_text("user mona, amount at least 2")
    await _filter(page, min_amount="many")
    await expect(page.locator("#filter-error")).to_be_visible()
    await page.get_by_role("button", name="Clear").click()
    await _filter(page, search="NOISE 500.000000")
    await expect(page.locator("#changes .row .amount")).to_have_text(["+500.000000"])
    await page.get_by_role("button", name="Clear").click()

    await page.get_by_role("button", name="Pause", exact=True).click()
    await expect(page.locator("#still-words")).to_have_text("Paused: nothing newer yet.")
    for _ in range(3):
        await shared_ledger.deposit("mona", "9")
    await expect(page.locator("#still-words")).to_have_text("Paused: 3 newer.")
    assert (await _amounts(page))[0] == "+7.500000"
    await _filter(page, user_id="mona", min_amount="2.5")  # also then, older ones are looked for
    await expect(page.locator("#changes .row .amount")).to_have_text(
        ["+9.000000"] * 3 + ["+7.500000", "+3.000000"]
    )
    await page.get_by_role("button", name="Clear").click()
    await page.get_by_role("button", name="Check").click()
    await expect(page.locator("#checked")).to_have_text(re.compile("^Equal to the ledger"))
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator("#changes .row .amount").first).to_have_text("+9.000000")

    # By keyboard: chosen, it stands still; opened, it tells everything; the way back works.
    await page.locator("#changes").focus()
    await page.keyboard.press("End")
    await expect(page.locator("#changes .row:focus")).to_have_attribute("aria-rowindex", "57")
    await page.keyboard.press("Home")
    await shared_ledger.deposit("noise", "4")
    await expect(page.locator("#still-words")).to_have_text(re.compile("1 newer"))
    await page.keyboard.press("Enter")
    dialog = page.locator("#change-dialog")
    await expect(dialog).to_contain_text("main/mona/USDT")
    await expect(dialog.locator("#postings tr")).to_have_count(2)
    await dialog.get_by_role("link", name="mona").click()
    await expect(page.locator("#user-title")).to_have_text("mona")
    await expect(page.locator('[data-account="main/mona/USDT"] .value')).to_have_text("42.499999")
    await page.go_back()
    await page.locator("#show-newest").click()
    await expect(page.locator("#changes .row .amount").first).to_have_text("+4.000000")
    await expect(page.locator("#rate-chart figcaption")).to_contain_text("highest")


async def test_a_superadmin_does_everything_on_a_users_page(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    tab = await new_shared_tab()
    tab.excuse(REFUSED_REQUEST)
    page = await _watch(tab, view="#user=a%2Fdele")
    await expect(page.locator("#no-user-accounts")).to_be_visible()
    account = page.locator('[data-account="main/a%2Fdele/USDT"]')
    balance, result = account.locator(".value"), page.locator("#operation-result .words")

    await _operate(page, "Deposit", amount="100", description="Bank", reference="order-1")
    await expect(result).to_have_text(re.compile(r"^Deposited 100 USDT, position \d+\.$"))
    await expect(balance).to_have_text("100.000000")
    await _operate(page, "Withdraw", amount="100.01")
    await expect(result).to_have_text("Refused: 100.010000 needed, 100.000000 available.")
    await expect(page.locator("#operation-amount")).to_be_focused()
    await _operate(page, "Adjust", amount="-0.5", description="")
    await expect(page.locator("#operation-description-error")).to_be_visible()
    await _operate(page, "Set a new balance", amount="99", description="Counted anew")
    await expect(balance).to_have_text("99.000000")
    await _operate(page, "Charge", amount="9", service_type="sms", description="Messages")
    await _operate(page, "Hold", amount="30", description="A room")
    hold = page.locator("#user-holds .hold")
    await expect(hold.locator(".remaining")).to_have_text("30.000000 USDT")
    await hold.get_by_label("Amount").fill("10")
    await hold.get_by_label("To user").fill("bob")
    await hold.get_by_role("button", name="Confirm").click()
    await expect(balance).to_have_text("80.000000")
    await expect(hold.locator(".remaining")).to_have_text("20.000000 USDT")

    # A lost answer: sent again, it has the same key.
    tab.excuse("ERR_CONNECTION_RESET")
    keys: list[str] = []

    async def lose_first(route: Any) -> None:
        keys.append(route.request.headers["idempotency-key"])
        answer = await route.fetch()
        await (route.fulfill(response=answer) if len(keys) > 1 else route.abort("connectionreset"))

    await page.route("**/v1/recharges", lose_first)
    await _operate(page, "Recharge", amount="5")
    await expect(page.locator("#operation-submit")).to_have_text("Send again")
    await page.locator("#operation-submit").click()
    await expect(result).to_contain_text("nothing moved twice")
    assert len(keys) == 2
    assert len(set(keys)) == 1
    await expect(balance).to_have_text("85.000000")

    await account.get_by_role("button", name="Settings").click()
    await page.locator("#account-settings [name=alert_below]").fill("50")
    await page.locator("#account-settings [name=status]").select_option("frozen")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name="Set to frozen").click()
    await expect(page.locator("#account-result")).to_have_text(re.compile("^Set, position"))
    await page.locator("#account-dialog .close").click()
    await expect(account.locator(".status")).to_have_text("frozen")
    await expect(account.locator(".alert")).to_have_text("50.000000")
    await _operate(page, "Deposit", amount="1")
    await expect(result).to_have_text(re.compile("^Refused: .*frozen"))
    await shared_ledger.change_account("main/a%2Fdele/USDT", status="active")
    await expect(account.locator(".status")).to_be_hidden()

    await page.locator("#history-filter [name=reference]").fill("order-*")
    await page.get_by_role("button", name="Filter", exact=True).click()
    rows = page.locator("#history tr")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("deposit: Bank")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download CSV").click()
    saved = Path(await (await download.value).path()).read_text()
    assert len(saved.splitlines()) == 2
    assert "Bank" in saved
    await rows.get_by_role("button", name="Details").click()
    await page.get_by_label("Why it is reversed").fill("By mistake")
    await page.get_by_role("button", name="Reverse").click()
    await expect(page.locator("#reversal-result")).to_have_text(re.compile("^Refused: "))
    await page.get_by_label("Force it past the floor").check()
    await page.get_by_role("button", name="Reverse").click()
    await expect(page.locator("#reversal-result")).to_have_text(re.compile("^Reversed, position"))
    await expect(page.locator("#reversed-by")).to_be_visible()
    await page.locator("#change-dialog .close").click()
    await expect(balance).to_have_text("-15.000000")
    assert (await shared_ledger.balances("a%2Fdele"))["main/a%2Fdele/USDT"] == "-15.000000"


async def test_each_role_is_offered_what_it_may_and_told_why_not_more(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    await shared_ledger.deposit("rolf", "10")
    await shared_ledger.hold("rolf", "4")
    tab = await new_shared_tab()
    tab.excuse(REFUSED_REQUEST)
    page = await _watch(tab, "auditor", "#user=rolf")
    await expect(page.locator('[data-account="main/rolf/USDT"] .held')).to_have_text("4.000000")
    await expect(
        page.get_by_text("An auditor sees everything and changes nothing.")
    ).to_be_visible()
    for offered in ("#operation", "#user-holds form", ".settings", "#user-disconnect"):
        await expect(page.locator(offered).first).to_be_hidden()
    await page.locator("#role").select_option("admin")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await tab.expect_state("Connected")
    await expect(page.locator("#operation-kind option")).to_have_text(
        ["Deposit", "Withdraw", "Transfer", "Charge", "Recharge", "Payment", "Hold"]
    )
    await expect(page.get_by_text("Adjustments take a superadmin.")).to_be_visible()
    await expect(page.locator(".settings").first).to_be_hidden()
    await page.locator("#user-holds").get_by_role("button", name="Void").click()
    await expect(page.locator("#no-user-holds")).to_be_visible()
    await _operate(page, "Transfer", amount="10", to_user="bob")
    await expect(page.locator('[data-account="main/rolf/USDT"] .value')).to_have_text("0.000000")

    # Where no development tokens are given out, the pasted one says who and what.
    await page.route("**/dev/token", lambda route: route.fulfill(status=404, json={}))
    await page.goto(f"{tab.base_url}/static/admin.html?user=root&role=superadmin#service")
    await expect(page.locator("#identity-error")).to_contain_text("Paste one")
    for role, told in (("user", "The monitor takes an auditor"), ("auditor", "")):
        await page.locator("#token").fill(await shared_ledger.token("eve", role))
        await page.get_by_role("button", name="Connect", exact=True).click()
        await expect(page.locator("#identity-error")).to_contain_text(told)
    await tab.expect_state("Connected")
    await expect(page.locator("#user")).to_have_value("eve")
    await expect(page.get_by_text("Only a superadmin may pause or resume it.")).to_be_visible()
    await expect(page.locator("#ledger-state")).to_have_text("Open: changes are taken.")
    await expect(page.locator("#pause-ledger")).to_be_hidden()


async def test_a_mismatch_is_found_and_fixed_and_a_killed_server_is_outlived(
    new_tab: NewTab, site: RunningServer, ledger: Ledger, empty_sqlite_url: str
) -> None:
    alice = await (await new_tab()).watch("alice")
    tab = await new_tab()
    file = empty_sqlite_url.removeprefix("sqlite+aiosqlite:///")
    with sqlite3.connect(file) as database:
        database.execute(
            "UPDATE accounts SET balance = balance + 500000 WHERE name = 'main/alice/USDT'"
        )
    database.close()
    page = await _watch(tab)
    await page.get_by_role("button", name="Check").click()
    await expect(page.locator("#checked")).to_contain_text("main/USDT is 20000.500000 here")

    await page.get_by_role("link", name="Proof").click()
    await page.get_by_role("button", name="Verify", exact=True).click()
    found = page.locator('[data-mismatch="main/alice/USDT"]')
    await expect(found.first).to_contain_text("0.500000")
    await expect(page.locator("#verifying-words")).to_contain_text("remain")
    await page.get_by_role("button", name="Verify and fix").click()
    dialog = page.get_by_role("alertdialog")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(found.first).to_be_visible()
    await page.get_by_role("button", name="Verify and fix").click()
    await dialog.get_by_role("button", name="Verify and fix").click()
    await expect(page.locator("#verifying-words")).to_contain_text("1 stored row put right")
    await expect(page.locator("#no-discrepancies")).to_be_visible()
    await expect(page.locator("#verifications tr").first).to_contain_text("all is right")
    await alice.expect_balance("main/alice/USDT", "10,000.000000")

    await page.get_by_role("link", name="Users").click()
    row = page.locator("#connections [data-user=alice]")
    await expect(row).to_contain_text("1")
    await row.get_by_role("button", name="Disconnect").click()
    await dialog.get_by_role("button", name="Disconnect").click()
    await alice.expect_state(re.compile("access was revoked"))
    await expect(row).to_have_count(0)

    await page.get_by_role("link", name="Service").click()
    await page.get_by_role("button", name="Pause the ledger").click()
    await dialog.get_by_role("button", name="Pause").click()
    await expect(page.locator("#ledger-state")).to_have_text("Paused: changes are refused.")
    await page.get_by_role("button", name="Resume the ledger").click()
    await dialog.get_by_role("button", name="Resume").click()
    await expect(page.locator("#ledger-state")).to_have_text("Open: changes are taken.")
    await expect(page.locator("[data-check=Queue] dd")).to_have_text("empty")

    tab.excuse(LOST_SERVER)
    tab.excuse("status of 401")  # a restart in development mode ends the tokens
    alice.excuse(LOST_SERVER)
    await site.kill9()
    await expect(page.locator("#health-words")).to_have_text(re.compile("^Away: "))
    await tab.expect_state(re.compile("^Reconnecting"))
    await site.restart()
    await ledger.sign_in()
    await ledger.deposit("bob", "5")
    await page.get_by_text("Try now").dispatch_event("click")
    await tab.expect_state("Connected")
    await expect(page.locator("#health-words")).to_have_text("Ready: everything works.")
    await page.get_by_role("link", name="Live").click()
    await expect(page.locator("#changes .row").first).to_contain_text("bob")
    # The totals were wrong before the repair, which moves them by no amount; the list went on.
    await expect(page.locator("#changes .row", has_text="repair")).to_have_count(1)
    await page.get_by_role("button", name="Check").click()
    await expect(page.locator("#checked")).to_have_text(re.compile("^Equal to the ledger"))

    # A restore takes positions back, and what is shown with them.
    with sqlite3.connect(file) as database, sqlite3.connect(f"{file}.copy") as copy:
        database.backup(copy)
        copy.execute("UPDATE clock SET epoch = 'restored'")
    database.close()
    copy.close()
    await page.evaluate("location.hash = 'user=bob'")
    balance = page.locator('[data-account="main/bob/USDT"] .value')
    await ledger.deposit("bob", "70")
    await expect(balance).to_have_text("10,075.000000")
    await site.kill9()
    for rest in Path(file).parent.glob(f"{Path(file).name}-*"):
        rest.unlink()
    Path(f"{file}.copy").rename(file)
    await site.restart()
    await page.get_by_text("Try now").dispatch_event("click")
    await expect(balance).to_have_text("10,005.000000")


async def test_the_views_are_for_everybody_and_fit_the_screen(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    await shared_ledger.deposit("ida", "1234567890.123456")
    await shared_ledger.hold("ida", "5")
    tab = await new_shared_tab()
    page = await _watch(tab)
    for view, shown in {
        "Users": "#connections tr",
        "Proof": "#verify",
        "Service": "#health div",
        "Live": "#changes .row",
    }.items():
        await page.get_by_role("link", name=view, exact=True).click()
        await expect(page.locator(shown).first).to_be_visible()
    await page.locator("#changes .row").first.click()
    await expect(page.locator("#postings tr")).not_to_have_count(0)
    found = await violations(page)
    await page.locator("#change-user a").click()
    await expect(page.locator("#user-holds .hold")).to_be_visible()
    # All of them at once: axe takes seconds each time.
    await page.locator("[data-of]").evaluate_all(
        "views => views.forEach((v) => { v.hidden = false })"
    )
    assert found + await violations(page) == []
    await page.locator(".skip").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    assert page.url.endswith("#user=ida")
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    # What cannot be read is not said to be none.
    tab.excuse("ERR_FAILED")
    await page.route(re.compile(r"/v1/(holds|users/ivo/history)\?"), lambda route: route.abort())
    await page.evaluate("location.hash = 'user=ivo'")
    for name in ("user-holds", "history"):
        await expect(page.locator(f"#{name}-problem")).to_be_visible()
        await expect(page.locator(f"#no-{name}")).to_be_hidden()
