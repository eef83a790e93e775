"""Holds on the balance sync page: placed, confirmed, voided and expired, all from the stream."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing

import pytest
from playwright.async_api import Locator, Route, expect
from sqlalchemy import make_url

from ..conftest import RunTallywire
from .conftest import Ledger, NewTab
from .tabs import Posts, Tab, Wire

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAIN = "main/alice/USDT"


def hold(tab: Tab) -> Locator:
    """The one hold that the tab shows."""
    return tab.page.locator("#holds .hold")


async def expect_funds(tab: Tab, balance: str, held: str, available: str) -> None:
    card = tab.account(MAIN)
    await expect(card.locator(".value")).to_have_text(balance)
    await expect(card.locator(".held")).to_have_text(held)
    await expect(card.locator(".available")).to_have_text(available)
    await expect(card.locator(".mark")).to_have_text("verified")


async def test_a_hold_is_confirmed_in_part_and_the_rest_voided(
    new_tab: NewTab, ledger: Ledger
) -> None:
    alice = await (await new_tab()).watch("alice")
    bob = await (await new_tab()).watch("bob")
    await expect(alice.page.locator("#no-holds")).to_be_visible()

    await alice.move("Hold", "60", description="A room")
    await alice.expect_result(re.compile(r"^Held 60 USDT, position \d+\.$"))
    await expect_funds(alice, "10,000.000000", "60.000000", "9,940.000000")
    await expect(hold(alice).locator(".remaining")).to_have_text("60.000000 USDT")
    await expect(hold(alice).locator(".expiry")).to_have_text("until it is confirmed or voided")
    await expect(alice.page.locator("#no-holds")).to_be_hidden()

    await hold(alice).get_by_label("Amount").fill("25")
    await hold(alice).get_by_label("To user").fill("bob")
    await alice.page.get_by_role("button", name="Confirm the hold of 60.000000 USDT").click()
    await expect_funds(alice, "9,975.000000", "35.000000", "9,940.000000")
    await bob.expect_balance("main/bob/USDT", "10,025.000000", "verified")
    await expect(hold(bob)).to_have_count(0)
    await expect(hold(alice).locator(".remaining")).to_have_text("35.000000 USDT")
    await expect(hold(alice).locator(".about")).to_contain_text("of 60.000000")

    await alice.page.reload()
    await expect(hold(alice).locator(".remaining")).to_have_text("35.000000 USDT")
    await alice.page.get_by_role("button", name="Void the hold of 35.000000 USDT").click()
    await expect(hold(alice)).to_have_count(0)
    await expect_funds(alice, "9,975.000000", "0.000000", "9,975.000000")
    await expect(alice.page.locator("#log .row").filter(has_text="Hold voided main")).to_have_count(
        1
    )
    assert (await ledger.balances("alice"))[MAIN] == "9975.000000"


async def test_too_much_is_refused_in_words(new_tab: NewTab) -> None:
    alice = await (await new_tab()).watch("alice")
    alice.excuse(r"Failed to load resource: the server responded with a status of 4\d\d")
    await alice.move("Hold", "10000.01")
    await expect(alice.page.locator("#amount-error")).to_have_text(
        "10,000.010000 needed, 10,000.000000 available."
    )
    await alice.move("Hold", "1", expires_in_s="soon")
    await expect(alice.page.locator("#expires_in_s-error")).to_contain_text("a whole number")
    await expect(alice.page.locator("#expires_in_s")).to_be_focused()
    await alice.move("Hold", "100", expires_in_s="3600")
    await hold(alice).get_by_label("Amount").fill("100.01")
    await hold(alice).locator(".confirm").click()
    await expect(hold(alice).get_by_role("alert")).to_have_text(
        "The amount is more than what remains of the hold."
    )
    amount = hold(alice).get_by_label("Amount")
    await expect(amount).to_be_focused()
    await expect(amount).to_have_attribute("aria-invalid", "true")
    await expect(amount).to_have_accessible_description(re.compile("more than what remains"))
    await amount.fill("")
    await hold(alice).get_by_label("To user").fill("alice")
    await hold(alice).locator(".confirm").click()
    await expect(hold(alice).get_by_role("alert")).to_contain_text("somebody else")
    await expect(amount).not_to_have_attribute("aria-invalid", "true")
    await expect_funds(alice, "10,000.000000", "100.000000", "9,900.000000")


async def test_its_time_runs_out_before_ones_eyes(new_tab: NewTab) -> None:
    """An admin places it; the owner sees it go, and nobody reloads anything."""
    alice = await (await new_tab()).watch("alice")
    root = await (await new_tab()).watch("alice", superadmin=True)
    await root.move("Hold", "40", subject="alice", expires_in_s="2")
    await expect(hold(alice).locator(".expiry")).to_have_text(re.compile(r"^expire[sd]"))
    await expect(hold(root)).to_have_count(1)
    await expect(hold(alice)).to_have_count(0, timeout=20_000)
    await expect(hold(root)).to_have_count(0)
    await expect_funds(alice, "10,000.000000", "0.000000", "10,000.000000")
    log = alice.page.locator("#log .row").filter(has_text="Hold expired main")
    await expect(log).to_have_count(1)


async def test_what_became_of_holds_is_seen_after_being_away(
    new_tab: NewTab, ledger: Ledger
) -> None:
    kept, gone = [await ledger.hold("alice", amount) for amount in ("1", "2")]
    alice = await new_tab()
    wire = await Wire.between(alice)
    await alice.watch("alice")
    await expect(hold(alice)).to_have_count(2)
    wire.let_through = False
    await wire.cut()
    await alice.expect_state(re.compile("^Reconnecting"))
    await ledger.void(gone)
    new = await ledger.hold("alice", "3")
    wire.let_through = True
    await alice.page.get_by_text("Try now").dispatch_event("click")
    await expect(alice.page.locator("#log [data-kind=resumed]")).to_contain_text("2 missed")
    await expect(hold(alice)).to_have_count(2)
    for index, id in enumerate((new, kept)):
        await expect(hold(alice).nth(index)).to_have_attribute("data-hold", id)
    await expect(alice.account(MAIN).locator(".held")).to_have_text("4.000000")


async def test_a_lost_confirmation_of_a_part_is_asked_for_again_with_the_same_key(
    new_tab: NewTab, ledger: Ledger
) -> None:
    """Else a part would move twice: the hold is still open for the rest."""
    alice = await (await new_tab()).watch("alice")
    alice.excuse("ERR_CONNECTION_RESET")
    posts = await Posts.of(alice, "/confirm")
    posts.lose = 1
    await alice.move("Hold", "60")
    await hold(alice).get_by_label("Amount").fill("25")
    await hold(alice).locator(".confirm").click()
    await expect(hold(alice).get_by_role("alert")).to_have_text(re.compile("^No answer came"))
    await hold(alice).locator(".confirm").click()
    log = alice.page.locator("#log [data-kind=request]")
    await expect(log.filter(has_text="nothing moved twice")).to_have_count(1)
    await expect_funds(alice, "9,975.000000", "35.000000", "9,940.000000")
    assert len(posts.keys) == 2
    assert len(set(posts.keys)) == 1

    await hold(alice).get_by_label("Amount").fill("25")
    await hold(alice).locator(".confirm").click()
    await expect_funds(alice, "9,950.000000", "10.000000", "9,940.000000")
    assert len(set(posts.keys)) == 2
    step = alice.page.locator("#log [data-kind=update]").filter(has_text="Hold confirmed").first
    await expect(step).to_contain_text("10.000000 of 60.000000 still held")


async def test_a_hold_is_confirmed_and_voided_from_the_keyboard(
    new_tab: NewTab, ledger: Ledger
) -> None:
    await ledger.hold("alice", "60")
    alice = await (await new_tab()).watch("alice")
    await expect(hold(alice)).to_contain_text("An operator ends it")
    await expect(hold(alice).get_by_role("button")).to_have_count(0)
    await alice.page.get_by_label("Operate as superadmin").check()
    await alice.page.get_by_role("button", name="Connect", exact=True).click()
    await expect(hold(alice).locator(".about")).to_contain_text("placed by root")
    await hold(alice).get_by_label("Amount").focus()
    for text in ("7", "bob"):
        await alice.page.keyboard.type(text)
        await alice.page.keyboard.press("Tab")
    await alice.page.keyboard.press("Enter")
    await expect(hold(alice).locator(".remaining")).to_have_text("53.000000 USDT")
    await expect(hold(alice).locator(".confirm")).to_be_focused()
    await alice.page.keyboard.press("Tab")
    await alice.page.keyboard.press("Enter")
    await expect(hold(alice)).to_have_count(0)
    await expect(alice.page.get_by_role("heading", name="Holds")).to_be_focused()


async def test_holds_that_cannot_be_read_are_told_and_read_again(
    new_tab: NewTab, ledger: Ledger
) -> None:
    await ledger.hold("alice", "60")
    alice = await new_tab()
    alice.excuse("ERR_FAILED")

    async def lose(route: Route) -> None:
        await route.abort()

    await alice.page.route("**/v1/holds?*", lose)
    await alice.watch("alice")
    unread = alice.page.get_by_role("alert").filter(has_text="could not be read")
    await expect(unread).to_be_visible()
    await expect(alice.page.locator("#no-holds")).to_be_hidden()
    await alice.page.unroute("**/v1/holds?*")
    await alice.page.get_by_role("button", name="Read again").click()
    await expect(hold(alice)).to_have_count(1)
    await expect(unread).to_be_hidden()


async def test_what_the_stream_tells_while_the_holds_are_read_is_not_lost(
    new_tab: NewTab, ledger: Ledger
) -> None:
    gone = await ledger.hold("alice", "1")
    alice = await new_tab()
    placed: list[str] = []

    async def answer_late(route: Route) -> None:
        answer = await route.fetch()
        await ledger.void(gone)
        placed.append(await ledger.hold("alice", "2"))
        await alice.expect_state("Connected")
        await expect(alice.account(MAIN).locator(".held")).to_have_text("2.000000")
        await route.fulfill(response=answer)

    await alice.page.route("**/v1/holds?*", answer_late)
    async with alice.page.expect_response("**/v1/holds?*") as response:
        await alice.watch("alice")
    await (await response.value).finished()
    await expect(hold(alice)).to_have_count(1)
    await expect(hold(alice)).to_have_attribute("data-hold", placed[0])
    await alice.page.wait_for_function("() => new Promise((done) => setTimeout(done, 0, true))")
    await expect(hold(alice)).to_have_count(1)


async def test_status_and_low_balance_are_told_in_words(new_tab: NewTab, ledger: Ledger) -> None:
    await ledger.change_account(MAIN, alert_below="100", suspend_below="50")
    alice = await (await new_tab()).watch("alice")
    alice.excuse(r"Failed to load resource: the server responded with a status of 409")
    warning = alice.account(MAIN).locator(".warning")
    await expect(warning).to_be_hidden()
    await alice.move("Withdrawal", "9920")
    await expect(warning).to_have_text("Low balance: available is below 100.000000.")
    crossing = alice.page.locator("#log [data-kind=update]").first
    await expect(crossing).to_contain_text("low balance")
    await alice.move("Withdrawal", "31")
    await expect(warning).to_have_text(re.compile("^Suspended: no money goes out until a recharge"))
    await expect(alice.account(MAIN).locator(".status")).to_have_text("suspended")
    await alice.move("Hold", "1")
    await alice.expect_result(re.compile("^Refused: .*suspended"))
    await ledger.change_account(MAIN, status="frozen")
    await expect(warning).to_have_text(re.compile("^Frozen by an operator"))
    await ledger.change_account("demo/alice/USDT", alert_below="10001")
    await expect(alice.account("demo/alice/USDT").locator(".warning")).to_contain_text("10,001")


async def test_a_repair_is_told_in_words(
    new_tab: NewTab, empty_sqlite_url: str, tallywire: RunTallywire
) -> None:
    alice = await (await new_tab()).watch("alice")
    await alice.move("Hold", "60")
    await expect(hold(alice)).to_have_count(1)
    file = make_url(empty_sqlite_url).database
    assert file is not None
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE accounts SET balance = 7 WHERE name = ?", (MAIN,))
    done = await asyncio.to_thread(
        tallywire, "verify", "--fix", database_url=empty_sqlite_url, secret=None
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = alice.page.locator("#log [data-kind=init]").filter(has_text="Repaired")
    await expect(told).to_contain_text("rebuilt from the ledger's entries")
    await alice.expect_balance(MAIN, "10,000.000000", "snapshot")
    await expect(hold(alice)).to_have_count(1)


async def test_holds_fit_the_screen(new_tab: NewTab, ledger: Ledger) -> None:
    await ledger.deposit("alice", "1234567890.123456")
    await ledger.hold("alice", "1234567890.123456")
    root = await (await new_tab()).watch("alice", superadmin=True)
    await expect(hold(root).locator(".remaining")).to_have_text("1,234,567,890.123456 USDT")
    for width in (320, 390, 768, 1440):
        await root.page.set_viewport_size({"width": width, "height": 900})
        overflow = await root.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{width} px wide"
