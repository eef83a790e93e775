"""docs/getting-started.md, done to its end, with its screen opened in a browser."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from .following import clone_in, followed
from .pages import ROOT
from .test_pages import PROGRAMS

PAGE = "docs/getting-started.md"


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page(browser: Browser, tmp_path: Path) -> None:
    clone = clone_in(tmp_path)
    async with followed(clone, (ROOT / PAGE).read_text(), name=PAGE, environment=PROGRAMS) as ports:
        tab = await browser.new_page()
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        await tab.goto(f"http://127.0.0.1:{ports['3008']}/")
        await expect(tab.locator("#balance")).to_have_text("13.50 USD")
        await expect(tab.locator("#state")).not_to_be_empty()
        paid = await asyncio.create_subprocess_exec(
            "python3", "pay.py", "deposits", "0.25", "order-6", cwd=clone, stdout=DEVNULL
        )
        assert await paid.wait() == 0
        await expect(tab.locator("#balance")).to_have_text("13.75 USD")
        assert faults == []
