"""The monitor tells of trades, prices and controls; what is forced, is forced with play money."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, Route, expect

from .axe import violations
from .conftest import Ledger, NewTab
from .tabs import Tab

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED_REQUEST = r"Failed to load resource: the server responded with a status of 4\d\d"


async def _watch(tab: Tab, role: str, view: str) -> Page:
    await tab.page.goto(f"{tab.base_url}/static/admin.html?user=root&role={role}{view}")
    await tab.expect_state("Connected")
    return tab.page


async def _option(ledger: Ledger, user: str, book: str, duration_s: int = 300) -> str:
    """Open an option of 10 USDT up; the result is its id."""
    body = {"pair": "BTC-USDT", "direction": "up", "stake": "10", "duration_s": duration_s}
    trade = await ledger.trade(user, "/v1/options", **body, book=book)
    opened: str = trade["id"]
    return opened


async def test_trades_are_watched_forced_and_controlled_as_the_role_may(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    ledger = shared_ledger
    for book in ("main", "demo"):
        await ledger.deposit("tess", "1000", book=book)
    real, play = [await _option(ledger, "tess", book) for book in ("main", "demo")]
    tess = await (await new_shared_tab()).watch("tess")
    tab = await new_shared_tab()
    page = await _watch(tab, "superadmin", "#user=tess")

    of_play, of_real = (
        page.locator(f'#user-trades [data-trade="{each}"]') for each in (play, real)
    )
    await expect(of_play.locator(".what")).to_have_text("BTC-USDT up, 10.000000 USDT")
    await expect(of_play.locator(".ending")).to_have_text(re.compile(r"^[45]:\d\d left$"))
    await expect(of_play.locator(".about")).to_have_text(
        re.compile(r"^demo · opened at [\d,.]+ \(simulated\) · a win pays 9\.000000 besides")
    )
    await expect(page.locator("#user-trades-simulated")).to_be_visible()
    await expect(of_play.locator(".force")).to_be_visible()
    await expect(of_real).to_be_visible()
    await expect(of_real.locator(".force")).to_be_hidden()

    # By keyboard, and only once it was confirmed; its owner is told.
    dialog = page.get_by_role("alertdialog")
    await of_play.get_by_role("button", name="Win").focus()
    await page.keyboard.press("Enter")
    await expect(dialog).to_contain_text("This is play money")
    await expect(dialog).to_contain_text("tess's own screen is told")
    await page.keyboard.press("Enter")  # the first button cancels
    await expect(of_play).to_have_attribute("data-status", "open")
    await of_play.get_by_role("button", name="Win").click()
    await dialog.get_by_role("button", name="End it as a win").click()
    await expect(of_play.locator(".ending")).to_have_text(
        "won 9.000000 USDT, decided by a superadmin"
    )
    await expect(page.get_by_role("heading", name="Trades")).to_be_focused()
    await expect(page.locator('[data-account="demo/tess/USDT"] .value')).to_have_text(
        "1,009.000000"
    )
    await tess.expect_balance("demo/tess/USDT", "1,009.000000", "verified")

    # The control: said to be of play money, set once it was confirmed, copied as an option opens.
    state = page.locator("#control-state")
    await expect(state).to_have_text("Options in demo end by the price.")
    await page.get_by_role("radio", name="Lose").check()
    await page.get_by_role("button", name="Set", exact=True).click()
    await expect(dialog).to_contain_text("for play money only")
    await expect(dialog).to_contain_text("tess's own screen is told")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(state).to_have_text("Options in demo end by the price.")
    await page.get_by_role("button", name="Set", exact=True).click()
    await dialog.get_by_role("button", name="Set to lose").click()
    await expect(state).to_have_text("Options in demo lose, whatever the price does.")
    controlled = page.locator(f'[data-trade="{await _option(ledger, "tess", "demo")}"]')
    await expect(controlled.locator(".about")).to_contain_text("a lose, decided beforehand")
    await controlled.get_by_role("button", name="Loss").click()
    await dialog.get_by_role("button", name="End it as a loss").click()
    await expect(controlled.locator(".ending")).to_contain_text("lost 10.000000 USDT")

    # In the stream: what changed no balance is found by its book, and tells its trade.
    await page.get_by_role("link", name="Live").click()
    rows = page.locator("#changes .row")
    await page.locator("#filter [name=user_id]").fill("tess")
    await page.locator("#filter [name=book]").fill("demo")
    await expect(rows.first).to_contain_text("lost 10.000000")
    await page.locator("#filter [name=change_type]").fill("trading control")
    await expect(rows).to_have_count(1)
    await expect(rows.locator(".amount")).to_have_text("lose")
    await page.locator("#filter [name=change_type]").fill("option settled")
    await expect(rows.locator(".amount")).to_have_text(["lost 10.000000", "+19.000000"])
    await rows.first.click()
    about = page.locator("#change-facts")
    await expect(about).to_contain_text("BTC-USDT up, 10.000000 USDT: lost 10.000000 USDT")
    await expect(about).to_contain_text("(simulated)")
    await expect(page.locator("#postings tr")).to_have_count(2)
    await page.locator("#change-dialog .close").click()

    # An auditor sees the same, and is offered none of it; another's control is told live.
    still_open = page.locator(f'[data-trade="{await _option(ledger, "tess", "demo")}"]')
    await page.goto(f"{tab.base_url}/static/admin.html?user=eve&role=auditor#user=tess")
    await expect(state).to_have_text("Options in demo lose, whatever the price does.")
    await expect(still_open).to_have_attribute("data-status", "open")
    for offered in ("#control", ".force", "#push"):
        assert await page.locator(offered).locator("visible=true").count() == 0, offered
    await expect(page.get_by_text("Only a superadmin may set it")).to_be_visible()
    await ledger.set_control("tess", "normal")
    await expect(state).to_have_text("Options in demo end by the price.")
    await expect(page.locator("#history-again")).to_be_visible()
    await page.locator("#history-again").click()
    await expect(page.locator("#history tr").first).to_contain_text(
        "options in demo end by the price"
    )


async def test_prices_tell_their_source_and_age_and_are_pushed_by_superadmins(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    await shared_ledger.deposit("toni", "1000")
    tab = await new_shared_tab()
    tab.excuse(REFUSED_REQUEST)
    page = await _watch(tab, "superadmin", "#service")
    pair = page.locator("#prices tr").filter(has_text="ETH-USDT")
    await expect(pair).to_contain_text("simulated")
    await expect(pair.locator("[data-tone=good]")).to_have_text(re.compile(r"^\d+ s$"))
    await expect(page.locator("#prices-simulated")).to_contain_text("of no market")
    rules = page.locator("#pairs tr").filter(has_text="ETH-USDT")
    await expect(rules).to_contain_text("30 s 80 %, 60 s 85 %")

    await page.locator("#push-pair").select_option("ETH-USDT")
    await page.locator("#push-price").fill("3200.123")
    await page.get_by_role("button", name="Push", exact=True).click()
    await expect(page.locator("#push-result")).to_have_text(re.compile("^Refused: "))
    await expect(page.locator("#push-price")).to_be_focused()
    await page.locator("#push-price").fill("4200.5")
    await page.keyboard.press("Enter")
    await expect(page.locator("#push-result")).to_have_text("ETH-USDT is 4,200.50 now, pushed.")
    await expect(pair.locator(".number")).to_have_text(re.compile(r"^4,2\d\d\.\d\d$"))

    bought = await shared_ledger.trade(
        "toni", "/v1/spot/orders", pair="ETH-USDT", side="buy", base_amount="0.1"
    )
    await page.evaluate("location.hash = 'user=toni'")
    row = page.locator(f'[data-trade="{bought["id"]}"]')
    await expect(row.locator(".what")).to_contain_text("Bought 0.100000000 ETH for 4")
    await expect(row.locator(".ending")).to_have_text("filled")
    await _option(shared_ledger, "toni", "main")
    await expect(page.locator("#user-trades .trade")).to_have_count(2)
    await page.locator("[data-of]").evaluate_all(
        "views => views.forEach((v) => { v.hidden = v.id === 'live' })"
    )
    assert await violations(page) == []
    for width in (320, 390, 1440):
        await page.set_viewport_size({"width": width, "height": 900})
        overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{width} px wide"

    # What cannot be read is not said to be none.
    tab.excuse("ERR_FAILED")

    async def lose(route: Route) -> None:
        await route.abort()

    await page.route(re.compile(r"/v1/(options|prices|admin/trading-controls)"), lose)
    await page.evaluate("location.hash = 'user=ivo'")
    await expect(page.locator("#user-trades-problem")).to_be_visible()
    await expect(page.locator("#no-user-trades")).to_be_hidden()
    await expect(page.locator("#control-problem")).to_contain_text("could not be read")
    await expect(page.locator("#control-state")).to_have_text("Not known yet.")
    await page.evaluate("location.hash = 'service'")
    await expect(page.locator("#prices-problem")).to_be_visible()
