"""axe-core finds nothing on any page in any of its states, light and dark, wide and narrow."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from .axe import violations
from .conftest import Ledger, NewTab
from .tabs import Tab, Wire

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED_REQUEST = r"Failed to load resource: the server responded with a status of 4\d\d"
# Calls, messages and objects all have the same form, and axe would take many seconds for all.
_SOME = "sections => sections.forEach((each, index) => index % 12 === 0 || each.remove())"


async def test_the_home_page_and_the_interface(new_shared_tab: NewTab) -> None:
    tab = await new_shared_tab()
    for path, heading in {"/": "Watch balances move", "/docs": "Calls"}.items():
        await tab.page.goto(f"{tab.base_url}{path}")
        await expect(tab.page.get_by_role("heading", name=heading)).to_be_visible()
        await tab.page.locator("#calls > section").evaluate_all(_SOME)
        assert await violations(tab.page) == [], path


async def test_the_balance_sync_page_of_a_user(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    main = "main/anna/USDT"
    await shared_ledger.deposit("anna", "1000")
    await shared_ledger.deposit("anna", "1000", book="demo")
    await shared_ledger.set_control("anna", "win")
    await shared_ledger.change_account(main, alert_below="2000")
    tab: Tab = await new_shared_tab()
    wire = await Wire.between(tab)
    tab.excuse(REFUSED_REQUEST)
    found: list[str] = []

    async def look(state: str) -> None:
        found.extend(f"{state}: {violation}" for violation in await violations(tab.page))

    await tab.page.goto(f"{tab.base_url}/static/test-balance-sync.html")
    await tab.page.get_by_label("User", exact=True).fill("")
    await tab.page.get_by_role("button", name="Connect").click()
    await expect(tab.page.locator("#identity-error")).to_be_visible()
    await look("nobody named")

    await tab.watch("anna")
    await tab.move("Hold", "60", description="A room")
    await expect(tab.page.locator("#holds .hold")).to_have_count(1)
    await tab.trade("Option", stake="10")
    await expect(tab.page.locator("#trades .trade")).to_have_count(1)
    await tab.page.get_by_role("radio", name="300 s").check(force=True)
    await tab.trade("Option", stake="20")
    await expect(tab.page.locator("#trades .trade")).to_have_count(2)
    await tab.expect_balance(main, "1,000.000000", "verified")
    await tab.page.locator("#log [data-kind=update]").first.click()
    await expect(tab.page.locator("#log-detail")).to_be_visible()
    await tab.page.locator("#trial-run").click()
    await expect(tab.page.locator("#trial")).to_have_attribute(
        "data-state", "passed", timeout=60_000
    )
    await look("connected, with a change opened and the comprehensive test done")

    await tab.watch("anna")
    await tab.move("Withdrawal", "10000.01")
    await expect(tab.page.locator("#amount-error")).to_be_visible()
    await tab.trade("Spot order", **{"order-amount": "10", "limit": "1"})
    await expect(tab.page.locator("#limit-error")).to_be_visible()
    wire.alter = lambda message: (  # type: ignore[method-assign]
        [{**message, "changes": [{**change, "digest": "0" * 64} for change in message["changes"]]}]
        if message["type"] == "balance_update"
        else [message]
    )
    await shared_ledger.deposit("anna", "1")
    await expect(tab.page.locator("#mismatch")).to_be_visible()
    wire.let_through, wire.refuse = False, 1013
    await wire.cut(1013)
    await tab.expect_state(re.compile("^Reconnecting"))
    await look("refused, red and reconnecting")

    wire.refuse = 4010
    await tab.page.get_by_text("Try now").dispatch_event("click")
    await tab.expect_state(re.compile("^Stopped"))
    await tab.page.get_by_role("radio", name="Deposit", exact=True).check()
    await look("stopped, and not for users")
    assert found == []


async def test_the_balance_sync_page_of_a_superadmin(
    new_shared_tab: NewTab, shared_ledger: Ledger
) -> None:
    await shared_ledger.deposit("root", "5")
    await shared_ledger.deposit("root", "5", book="demo")
    option = {"pair": "BTC-USDT", "direction": "up", "stake": "1", "duration_s": 300}
    await shared_ledger.trade("root", "/v1/options", **option, book="demo")
    tab = await (await new_shared_tab()).watch("root", superadmin=True)
    await shared_ledger.deposit("root", "5")
    await tab.expect_balance("main/root/USDT", "10.000000", "verified")
    await expect(tab.page.locator("#trades .force")).to_be_visible()
    await expect(tab.page.locator("#control")).to_be_visible()
    assert await violations(tab.page) == []
