"""The page on time: its Python does what it says, on both databases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tallywire import BalanceManager, open_ledger

PAGE = Path(__file__).parents[1] / "docs" / "time.md"


async def test_the_page_runs(database_url: str) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"BalanceManager": BalanceManager}
    exec(block, names)  # noqa: S102 - the page's own code
    async with open_ledger(database_url) as ledger:
        await names["october"](ledger)
