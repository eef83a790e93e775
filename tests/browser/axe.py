"""
axe-core over a page as it stands: its rules of WCAG A and AA and its best practices.

Both widths are held to everything; dark, which differs in colours alone, to the rules about these.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Page, ViewportSize

DESK: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}

_FILE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
_RUN = """
async (rules) => {
  const options = { resultTypes: ["violations"], ...(rules && { runOnly: rules }) };
  const { violations, passes } = await axe.run(options);
  return { violations, passes: passes.length };
}
"""
_COLOURS = ["color-contrast", "link-in-text-block"]
_LOOKS: tuple[tuple[Literal["light", "dark"], ViewportSize, list[str] | None], ...] = (
    ("light", DESK, None),
    ("light", PHONE, None),
    ("dark", PHONE, _COLOURS),
)


async def violations(page: Page) -> list[str]:
    """What axe finds on the page, light and dark, wide and narrow; it is left dark and narrow."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_source())
    found: list[str] = []
    for scheme, viewport, rules in _LOOKS:
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.set_viewport_size(viewport)
        outcome = await page.evaluate(_RUN, rules)
        assert outcome["passes"] > 0, "axe looked at nothing"
        look = f"{scheme}, {viewport['width']} px"
        found += [line for violation in outcome["violations"] for line in _lines(look, violation)]
    return found


def _lines(look: str, violation: dict[str, Any]) -> list[str]:
    return [
        f"{look}: {violation['id']} ({violation['impact']}): {node['html'][:200]}:"
        f" {node['failureSummary']}"
        for node in violation["nodes"]
    ]


@cache
def _source() -> str:
    return _FILE.read_text()
