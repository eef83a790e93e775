"""Trading on the balance sync page: spot orders, options, prices and trading control, all live."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Locator, Route, expect

from .conftest import Ledger, NewTab
from .tabs import Posts, Tab, Wire

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = r"Failed to load resource: the server responded with a status of 4\d\d"
AS_THE_LEDGER = """
async ({ pair, trade, asked }) => {
  const { spotCost } = await import("/static/balance-sync/costs.js");
  const { base, quote, fee } = spotCost(pair, trade.price, asked);
  return [base, quote, fee];
}
"""


def trades(tab: Tab, text: str | re.Pattern[str] = "") -> Locator:
    return tab.page.locator("#trades .trade").filter(has_text=text)


def logged(tab: Tab, kind: str, text: str) -> Locator:
    return tab.page.locator(f"#log [data-kind={kind}]").filter(has_text=text)


async def test_an_option_is_paid_at_once_counted_down_and_settled(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    await shared_ledger.deposit("olga", "1000", book="demo")
    tab = await (await new_shared_tab()).watch("olga")
    page = tab.page
    await expect(page.locator('#prices [data-pair="BTC-USDT"] .source')).to_have_text("simulated")
    await expect(page.locator("#simulated")).to_contain_text("of no market")
    await expect(page.locator("#no-trades")).to_be_visible()
    await expect(page.locator("#durations label")).to_have_text(
        ["1 s, pays 90 %", "30 s, pays 90 %", "300 s, pays 90 %"]
    )

    # From the keyboard: the direction, the duration, the stake.
    await page.get_by_role("radio", name="Up", exact=True).focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("radio", name="Down", exact=True)).to_be_checked()
    await page.keyboard.press("Tab")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Tab")
    await page.keyboard.type("100")
    await expect(page.locator("#preview")).to_have_text(
        re.compile(
            r"^If BTC-USDT is below [\d,.]+ \(simulated\) after 300 s, you win 90\.000000 USDT"
        )
    )
    await page.keyboard.press("Enter")
    await tab.expect_trade(
        re.compile(
            r"^Opened BTC-USDT down, 100\.000000 USDT, for 300 s, opened at .*position \d+\.$"
        )
    )
    await tab.expect_balance("demo/olga/USDT", "900.000000", "verified")
    await expect(trades(tab).locator(".ending")).to_have_text(re.compile(r"^[34]:\d\d left$"))
    await expect(page.locator("#trades-open")).to_have_text("1 open")

    await page.get_by_role("radio", name="1 s, pays 90 %", exact=True).check(force=True)
    await tab.trade("Option", stake="10")
    settled = trades(tab, re.compile("10.000000 USDT.*(won|lost|tie)"))
    await expect(settled.locator(".ending")).to_have_text(
        re.compile(r"^(won 9\.000000 USDT|lost 10\.000000 USDT|tie, stake returned)$"),
        timeout=10_000,
    )
    await expect(settled.locator(".about")).to_contain_text("(simulated)")
    ended = logged(tab, "update", "Option settled demo")
    await expect(ended).to_contain_text("BTC-USDT down, 10.000000 USDT, ")
    await expect(page.locator("#announcer")).to_contain_text("option settled: BTC-USDT down")
    (balance,) = (await shared_ledger.balances("olga")).values()
    await tab.expect_balance("demo/olga/USDT", balance, "verified")

    await page.reload()
    await expect(trades(tab)).to_have_count(2)
    await expect(trades(tab).nth(0).locator(".ending")).to_contain_text("left")


async def test_spot_orders_come_to_what_the_preview_says_and_are_refused_in_words(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    await shared_ledger.deposit("paul", "1000")
    tab = await (await new_shared_tab()).watch("paul")
    tab.excuse(REFUSED)
    page = tab.page
    preview = page.locator("#preview")
    await page.get_by_role("radio", name="Spot order").check()
    await page.locator("#order-book").fill("main")
    await page.locator("#order-amount").fill("150")
    await expect(preview).to_have_text(
        re.compile(r"^Buys 0\.\d{8} BTC at .* \(simulated\) for 1[45].*, fee 0\.1.* USDT in all\.$")
    )
    await expect(page.locator("#order-submit")).to_have_accessible_description(re.compile("^Buys"))
    async with page.expect_response("**/v1/spot/orders") as answer:
        await page.keyboard.press("Enter")
    trade = (await (await answer.value).json())["trade"]
    pair = {
        "minimum": "0.00001000",
        "maximum_stake": "1000.000000",
        "price_decimals": 2,
        "fee_bps": 10,
    }
    asked = {"side": "buy", "by": "quote", "amount": "150", "limit": ""}
    reckoned = await page.evaluate(AS_THE_LEDGER, {"pair": pair, "trade": trade, "asked": asked})
    assert reckoned == [trade["base_amount"], trade["quote_amount"], trade["fee"]]
    await tab.expect_balance("main/paul/BTC", trade["base_amount"], "verified")
    bought = f"Bought {trade['base_amount']} BTC for {trade['quote_amount']} USDT"
    await expect(trades(tab).locator(".what")).to_have_text(bought)
    await tab.expect_trade(re.compile(rf"^{re.escape(bought)}, at .*, fee .*; position \d+\.$"))
    await expect(logged(tab, "update", bought)).to_have_count(2)

    # In words beside the field: too low a limit, too little, more than there is.
    await tab.trade("Spot order", **{"order-amount": "10", "limit": "1"})
    limit = page.locator("#limit")
    await expect(preview).to_contain_text("the limit is not met")
    await expect(limit).to_have_accessible_description(re.compile("^the price is "))
    await expect(limit).to_be_focused()
    await tab.trade("Spot order", **{"order-amount": "0.1", "limit": ""})
    amount = page.locator("#order-amount")
    await expect(preview).to_contain_text("at least 0.00001000 are traded")
    await expect(amount).to_have_accessible_description(re.compile("at least 0.00001000 BTC"))
    await tab.trade("Spot order", **{"order-amount": "100000"})
    await expect(amount).to_have_accessible_description(re.compile(r"needed, [\d.]+ available"))
    await tab.trade("Spot order", **{"order-amount": ""})
    await tab.expect_trade("Not sent: Name an amount.")

    await page.get_by_role("radio", name="Sell").check()
    await page.get_by_role("radio", name="In BTC").check()
    await expect(page.locator("#order-amount-label")).to_have_text("Amount in BTC")
    await tab.trade("Spot order", **{"order-amount": trade["base_amount"]})
    await tab.expect_balance("main/paul/BTC", "0.00000000", "verified")
    usdt = (await shared_ledger.balances("paul"))["main/paul/USDT"]
    await tab.expect_balance("main/paul/USDT", usdt, "verified")


async def test_trading_control_is_set_by_a_superadmin_and_told_to_the_user(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    await shared_ledger.deposit("rosa", "1000", book="demo")
    rosa = await (await new_shared_tab()).watch("rosa")
    root = await (await new_shared_tab()).watch("rosa", superadmin=True)
    notice = rosa.page.locator("#control-on")
    await expect(notice).to_be_hidden()
    await expect(rosa.page.locator("#control")).to_be_hidden()
    await expect(rosa.page.locator("#control-not-yours")).to_be_visible()
    state = root.page.locator("#control-state")
    await expect(state).to_have_text("Options that rosa opens in demo end by the price.")

    modes = root.page.locator("#control-modes")
    for mode, ends, stake in (("Win", "are won", "10"), ("Lose", "are lost", "20")):
        await modes.get_by_role("button", name=mode).click()
        await expect(modes.locator("[aria-pressed=true]")).to_have_text(mode)
        words = f"that rosa opens in the book demo {ends}, whatever the price does"
        await expect(notice).to_contain_text(words)
        await expect(state).to_contain_text(ends)
        await rosa.trade("Option", stake=stake)
        await rosa.expect_trade(re.compile("decided beforehand by trading control; position"))
    won, lost = trades(rosa, "won"), trades(rosa, "lost")
    told = "decided beforehand by trading control"
    await expect(won.locator(".ending")).to_have_text(f"won 9.000000 USDT, {told}", timeout=10_000)
    await expect(lost.locator(".ending")).to_have_text(f"lost 20.000000 USDT, {told}")
    await rosa.expect_balance("demo/rosa/USDT", "989.000000", "verified")
    lose = logged(rosa, "control", "Trading control: options in demo lose")
    await expect(lose).to_have_count(1)
    await rosa.page.reload()
    await expect(notice).to_contain_text("are lost")

    # Another tab's change is seen, the user named is asked for, and normal takes the notice away.
    await shared_ledger.set_control("rosa", "normal")
    await expect(notice).to_be_hidden()
    await expect(modes.locator("[aria-pressed=true]")).to_have_text("Normal")
    await root.page.locator("#control-user").fill("sven")
    await root.page.keyboard.press("Enter")
    await expect(state).to_have_text("Options that sven opens in demo end by the price.")

    # What is open is ended by hand, in demo alone, and its owner is told by whom.
    await rosa.page.get_by_role("radio", name="300 s").check(force=True)
    await rosa.trade("Option", stake="30")
    forced = trades(root, "30.000000 USDT")
    await forced.get_by_role("button", name="Tie").focus()
    await root.page.keyboard.press("Enter")
    ending = trades(rosa, "30.000000 USDT").locator(".ending")
    await expect(ending).to_have_text("tie, decided by a superadmin, stake returned")
    await expect(root.page.get_by_role("heading", name=re.compile("^Trades"))).to_be_focused()
    await expect(rosa.page.locator("#trades .force:visible")).to_have_count(0)


async def test_stale_prices_unread_pairs_and_lost_answers_are_told(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    await shared_ledger.deposit("tina", "1000", book="demo")
    tab = await new_shared_tab()
    tab.excuse("ERR_FAILED|ERR_CONNECTION_RESET")
    page = tab.page
    wire = await Wire.between(tab)
    posts = await Posts.of(tab, "/v1/options")

    async def lose(route: Route) -> None:
        await route.abort()

    await page.route("**/v1/pairs?*", lose)
    await tab.watch("tina")
    unread = page.locator("#trading-unread")
    await expect(unread).to_contain_text("Pairs and trades could not be read")
    await expect(page.locator("#order-submit")).to_be_disabled()
    await page.unroute("**/v1/pairs?*")
    await unread.get_by_role("button", name="Read again").click()
    await expect(unread).to_be_hidden()

    posts.lose = 1
    await page.get_by_role("radio", name="300 s").check(force=True)
    await tab.trade("Option", stake="25")
    await tab.expect_trade(re.compile("^No answer came"))
    await expect(page.locator("#order-submit")).to_have_text("Send again")
    await page.locator("#order-submit").click()
    await tab.expect_trade(re.compile("nothing moved twice"))
    assert len(posts.keys) == 2
    assert len(set(posts.keys)) == 1
    await expect(trades(tab)).to_have_count(1)
    await tab.expect_balance("demo/tina/USDT", "975.000000", "verified")

    # By the server's clock, whatever this machine's shows.
    def later(message: dict[str, Any]) -> list[dict[str, Any]]:
        if "server_time" in message:
            ahead = datetime.fromisoformat(message["server_time"]) + timedelta(seconds=100)
            message["server_time"] = ahead.isoformat().replace("+00:00", "Z")
        return [message]

    wire.alter = later  # type: ignore[method-assign]
    await page.reload()
    await expect(trades(tab).locator(".ending")).to_have_text(
        re.compile(r"^(3:[012]|2:[345])\d left$")
    )
    price = page.locator('#prices [data-pair="BTC-USDT"]')
    await expect(price.locator(".stale")).to_have_text("no fresh price")
    await expect(price.locator(".stale")).to_be_visible()
    await expect(page.locator("#preview")).to_have_text(
        "BTC-USDT has no fresh price: options are refused."
    )


async def test_trades_fit_the_screen(new_shared_tab: NewTab, shared_ledger: Ledger) -> None:
    await shared_ledger.deposit("uwe", "1000", book="demo")
    await shared_ledger.set_control("uwe", "lose")
    body = {"pair": "BTC-USDT", "direction": "down", "stake": "999.999999", "duration_s": 300}
    await shared_ledger.trade("uwe", "/v1/options", **body, book="demo")
    tab = await (await new_shared_tab()).watch("uwe", superadmin=True)
    await expect(trades(tab)).to_have_count(1)
    for width in (320, 390, 768, 1440):
        await tab.page.set_viewport_size({"width": width, "height": 900})
        overflow = await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{width} px wide"
