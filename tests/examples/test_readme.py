"""Every example's README, followed to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..docs.following import follow
from ..docs.pages import ROOT

EXAMPLES = sorted(page.parent.name for page in ROOT.glob("examples/*/README.md"))


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_readme_on_sqlite(name: str, tmp_path: Path) -> None:
    await follow(name, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_readme_on_postgresql(name: str, tmp_path: Path, empty_postgres_url: str) -> None:
    await follow(name, tmp_path, database_url=empty_postgres_url)
