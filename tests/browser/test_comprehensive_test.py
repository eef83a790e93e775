"""The page's comprehensive test: it passes where all is well, else it says what to look at."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from ..conftest import StartServer
from .conftest import Ledger, NewTab
from .tabs import PAGE, Tab, Wire

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = r"Failed to load resource: the server responded with a status of 4(09|22)"
STEPS = 36
Message = dict[str, Any]


async def run(tab: Tab, *, until: str) -> None:
    """Run it, on a page that does nothing else, until it has `until` (passed, failed)."""
    tab.excuse(REFUSED)
    await tab.page.goto(f"{tab.base_url}{PAGE}?test=run")
    await expect(tab.page.locator("#trial")).to_have_attribute("data-state", until, timeout=60_000)


async def steps(tab: Tab, state: str) -> list[str]:
    """The names of the steps with that result."""
    return await tab.page.locator(f'#trial-table [data-state="{state}"] .name').all_inner_texts()


async def failure(tab: Tab) -> tuple[str, str, str]:
    """Of the first step that failed: its name, why, and what to look at."""
    row = tab.page.locator("#trial-table [data-state=failed]").first
    parts = [await row.locator(part).inner_text() for part in (".name", ".words", ".look")]
    return parts[0], parts[1], parts[2]


async def test_every_step_passes_twice_and_leaves_its_users_with_nothing(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    tab = await new_shared_tab(permissions=["clipboard-read", "clipboard-write"])
    await run(tab, until="passed")
    summary = tab.page.locator("#trial-summary")
    await expect(summary).to_have_text(re.compile(rf"^All {STEPS} steps passed in \d+\.\d s\.$"))
    await expect(summary).to_have_role("status")
    times = tab.page.locator("#trial-times")
    await expect(times).to_have_text(re.compile(r"^Request to answer: median \d+\.\d ms"))
    assert await tab.page.evaluate("scrollY") > 0
    await tab.page.set_viewport_size({"width": 390, "height": 800})
    assert await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    named = await tab.page.locator("#trial-table .name").first.evaluate("cell => cell.offsetWidth")
    assert named > 300
    timed = tab.page.locator("#trial-table .screen").filter(has_text=re.compile("ms"))
    assert await timed.count() >= 27

    await tab.page.get_by_role("button", name="Copy report").click()
    await expect(tab.page.locator("#trial-copied")).to_have_text("Report copied")
    report = await tab.page.evaluate("navigator.clipboard.readText()")
    assert report.count("\npassed") == STEPS
    assert tab.base_url in report

    again = tab.page.get_by_role("button", name="Run again")
    await again.focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#trial")).to_have_attribute("data-state", "running")
    await expect(tab.page.get_by_role("button", name="Stop")).to_be_focused()
    await expect(tab.page.locator("#trial")).to_have_attribute(
        "data-state", "passed", timeout=60_000
    )
    await expect(again).to_be_focused()
    users = set(re.findall(r"test-(?:ann|ben)-\w+", report))
    await tab.page.get_by_role("button", name="Copy report").click()
    second = await tab.page.evaluate("navigator.clipboard.readText()")
    others = set(re.findall(r"test-(?:ann|ben)-\w+", second))
    assert len(users | others) == 4
    for user in users | others:
        balances = await shared_ledger.balances(user)
        assert balances
        assert {balance.strip("0.") for balance in balances.values()} == {""}, user


async def test_a_stopped_run_says_what_was_left_out(new_shared_tab: NewTab) -> None:
    tab = await new_shared_tab()

    async def stop(route: Route) -> None:
        await tab.page.get_by_role("button", name="Stop").click()
        await route.continue_()

    await tab.page.route("**/v1/withdrawals", stop)
    await run(tab, until="failed")
    assert await steps(tab, "passed") == [
        "Open the streams of two new users",
        "Deposit",
        "Withdrawal",
    ]
    assert len(await steps(tab, "left out")) == STEPS - 3
    summary = tab.page.locator("#trial-summary")
    await expect(summary).to_have_text(re.compile(rf"3 of {STEPS} .*, {STEPS - 3} left out\.$"))


def _other_digest(message: Message) -> list[Message]:
    if message.get("change_type") == "charge":
        message["changes"][0]["digest"] = "0" * 64
    return [message]


def _other_amount(message: Message) -> list[Message]:
    if message.get("change_type") == "charge":
        message["changes"][0]["amount"] = "25.000000"
    return [message]


def _lost_while_away() -> Any:
    lost: list[int] = []

    def alter(message: Message) -> list[Message]:
        if message.get("replayed") and not lost:
            lost.append(message["position"])
            return []
        return [message]

    return alter


@pytest.mark.parametrize(
    ("alter", "step", "words"),
    [
        (_other_digest, "Charge", "the digest does not fit"),
        (_other_amount, "Charge", "the balance does not follow from the one before"),
        (_lost_while_away(), "Disconnected", "entry 17 came where 16 was due"),
    ],
    ids=["digest", "amount", "lost"],
)
async def test_what_is_altered_on_the_way_fails_the_step_that_shows_it(
    new_shared_tab: NewTab, alter: Any, step: str, words: str
) -> None:
    tab = await new_shared_tab()
    wire = await Wire.between(tab)
    wire.alter = alter  # type: ignore[method-assign]
    await run(tab, until="failed")
    name, why, look = await failure(tab)
    assert name.startswith(step)
    assert words in why
    assert re.match(r"What to look at: Run `tallywire verify --user-id test-ann-\w+`", look)
    passed, left_out = await steps(tab, "passed"), await steps(tab, "left out")
    assert passed
    assert len(passed) + len(left_out) == STEPS - 1


async def test_what_comes_twice_is_shown_once(new_shared_tab: NewTab) -> None:
    tab = await new_shared_tab()
    wire = await Wire.between(tab)
    wire.alter = lambda message: (  # type: ignore[method-assign]
        [message, message] if message["type"] == "balance_update" else [message]
    )
    await run(tab, until="passed")


async def test_an_option_that_ends_otherwise_than_decided_is_told(new_shared_tab: NewTab) -> None:
    def alter(message: Message) -> list[Message]:
        if message.get("change_type") == "option_settled" and message["trade"].get("control"):
            message["trade"]["outcome"] = "tie"
        return [message]

    tab = await new_shared_tab()
    wire = await Wire.between(tab)
    wire.alter = alter  # type: ignore[method-assign]
    await run(tab, until="failed")
    name, why, look = await failure(tab)
    assert name == "The option under “win” is won"
    assert 'to be "win"; it is "tie".' in why
    assert "`tallywire verify` holds every trade" in look
    last = ["The option under “lose” is lost", "The trades on the screens equal those over HTTP"]
    assert await steps(tab, "failed") == [name, *last]


async def test_without_a_fresh_price_trades_are_left_out_and_the_rest_passes(
    new_shared_tab: NewTab,
) -> None:
    tab = await new_shared_tab()

    async def none(route: Route) -> None:
        await route.fulfill(json={"items": [], "next_cursor": None})

    await tab.page.route("**/v1/prices", none)
    await run(tab, until="passed")
    assert len(await steps(tab, "left out")) == 15
    row = tab.page.locator('#trial-table [data-state="left out"]').first
    await expect(row).to_contain_text("No pair against USDT has a fresh price")


async def test_a_server_that_refuses_or_gives_no_answer_is_told_in_words(
    new_shared_tab: NewTab,
) -> None:
    tab = await new_shared_tab()
    tab.excuse(r"Failed to load resource: .*(409|502|503|ERR_CONNECTION_REFUSED)")

    async def refuse(route: Route) -> None:
        problem = {"status": 503, "detail": "too many changes wait", "code": "overloaded"}
        await route.fulfill(status=503, json=problem)

    async def stand_in(route: Route) -> None:
        await route.fulfill(status=502, content_type="text/html", body="<h1>Bad gateway</h1>")

    async def inconsistent(route: Route) -> None:
        problem = {"status": 409, "detail": "…", "code": "account_inconsistent"}
        await route.fulfill(status=409, json=problem)

    async def drop(route: Route) -> None:
        await route.abort("connectionrefused")

    await tab.page.route("**/v1/recharges", refuse)
    await tab.page.route("**/v1/charges", stand_in)
    await tab.page.route("**/v1/holds", drop)
    await run(tab, until="failed")
    told = {
        await row.locator(".name").inner_text(): await row.locator(".why").inner_text()
        for row in await tab.page.locator("#trial-table [data-state=failed]").all()
    }
    assert "POST /v1/recharges to be accepted; it was refused with 503 over" in told["Recharge"]
    assert "its line in the server's log" in told["Recharge"]
    assert re.search("No answer from .*: the server is down", told["Hold placed"], re.IGNORECASE)
    assert "Is the server running?" in told["Hold placed"]
    assert "look at the proxy's log" in told["Charge"]
    assert len(told) == 3
    assert await steps(tab, "left out") == [
        "Reversal of the charge",
        "Hold confirmed in part, to the other user",
        "The rest of the hold voided",
    ]
    assert "Every digest, from the first entry on" in await steps(tab, "passed")

    await tab.page.route("**/v1/withdrawals", inconsistent)
    await run(tab, until="failed")
    _, why, look = await failure(tab)
    assert "409 account_inconsistent" in why
    assert "tallywire verify --fix" in look
    assert len(await steps(tab, "left out")) == STEPS - 3


DIFFER = """
async () => {
  const { same } = await import("/static/balance-sync/trial-failures.js");
  try {
    same("it to be", [{ a: 1, b: [1, 2], c: { d: "x" } }], [{ a: 1, b: [1], c: {} }], "");
  } catch (error) {
    return error.message;
  }
}
"""


async def test_of_what_differs_only_that_is_told(new_shared_tab: NewTab) -> None:
    tab = await new_shared_tab()
    await tab.page.goto(f"{tab.base_url}{PAGE}")
    told = await tab.page.evaluate(DIFFER)
    assert told == 'Expected it to be 0.b [1,2], 0.c.d "x"; it is 0.b [1], 0.c.d absent.'


async def test_a_pasted_superadmins_token_watches_the_users(
    server: StartServer, browser: Browser
) -> None:
    """Without development mode nobody gets a token of the users, who belong to the test alone."""
    site = await server()
    tab = await Tab.open(browser, site.base_url)
    tab.excuse(r"Failed to load resource: .*(404|422)")
    await tab.page.goto(f"{site.base_url}{PAGE}?test=run")
    await expect(tab.page.locator("#trial")).to_have_attribute("data-state", "failed")
    _, why, look = await failure(tab)
    assert "no development tokens" in why
    assert "paste a superadmin's token" in look
    assert len(await steps(tab, "left out")) == STEPS - 1

    await tab.page.get_by_label("Token").fill(site.token("erin", "auditor"))
    await tab.page.get_by_role("button", name="Run again").click()
    reason = tab.page.locator("#trial-table [data-state=failed] .why")
    await expect(reason).to_contain_text("is for the role auditor")

    await tab.page.get_by_label("Token").fill(site.token("erin", "superadmin"))
    await tab.page.get_by_role("button", name="Run again").click()
    await expect(tab.page.locator("#trial")).to_have_attribute(
        "data-state", "passed", timeout=60_000
    )
    left_out = await steps(tab, "left out")
    assert "A screen in mode “latest”" in left_out
    assert len(left_out) == 16
    await tab.page.get_by_role("button", name="Connect", exact=True).click()
    await tab.expect_state("Connected")
    await expect(tab.page.locator("#owner")).to_have_text("erin, as superadmin")
    assert tab.faults == []
