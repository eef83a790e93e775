"""The page at `/`: its links lead somewhere."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from playwright.async_api import expect

from .conftest import NewTab

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_link_of_the_home_page_answers(new_shared_tab: NewTab) -> None:
    tab = await new_shared_tab(viewport={"width": 390, "height": 800})
    await tab.page.goto(f"{tab.base_url}/")
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text("Tallywire")
    assert await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    links = await tab.page.get_by_role("link").evaluate_all(
        "links => links.map((link) => link.getAttribute('href'))"
    )
    assert len(links) >= 6
    answers = {
        link: (await tab.page.request.get(urljoin(tab.base_url, link))).status for link in links
    }
    assert answers == dict.fromkeys(links, 200)
