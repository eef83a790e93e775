"""The page that shows the HTTP interface, in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect
from tallywire.api.routes import ROUTES
from tallywire.ws.messages import INCOMING, OUTGOING, type_of

from ..conftest import StartServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_call_is_shown_and_nothing_is_refused_by_the_page_policy(
    server: StartServer, browser: Browser
) -> None:
    running = await server()
    page = await browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"{running.base_url}/docs")
    await expect(page.get_by_role("heading", name="Calls")).to_be_visible()
    shown = await page.locator("section h3 code").all_inner_texts()
    served = [f"{route.method} {route.path}" for route in ROUTES if not route.development]
    assert sorted(text for text in shown if " " in text) == sorted(served)
    links = page.get_by_role("navigation", name="Calls").get_by_role("link")
    assert sorted(await links.all_inner_texts()) == sorted(served)
    await links.filter(has_text="POST /v1/transfers").click()
    await expect(page.locator("#post_transfers")).to_be_in_viewport()
    messages = {type_of(form) for form in (*INCOMING, *OUTGOING)}
    assert messages <= set(shown)
    await expect(page.locator("#message-balance_update")).to_contain_text("changes")
    await expect(page.locator("#close-codes")).to_contain_text("4001")
    body = page.locator("#post_deposits table", has_text="Body")
    await expect(body).to_contain_text("amount")
    assert complaints == []
