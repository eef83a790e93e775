"""Holds on the balance sync page: placed, confirmed, voided and expired, all from the stream."""

from __future__ import annotations

import re

from playwright.async_api import Locator, expect

from .conftest import Ledger, NewTab
from .tabs import Tab

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
    await expect(alice.page.locator("#expires_in_s-error")).to_be_visible()
    await alice.move("Hold", "100", expires_in_s="3600")
    await hold(alice).get_by_label("Amount").fill("100.01")
    await hold(alice).locator(".confirm").click()
    await expect(hold(alice).locator(".error")).to_be_visible()
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
