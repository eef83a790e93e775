"""The pages' code is the examples' code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .readme import ROOT

PAGE = ROOT / "docs" / "embedding.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
LINKS = re.findall(r"\]\(([^)#]+)", PAGE.read_text())


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_python_is_in_an_example(block: str) -> None:
    files = [_lines(file.read_text()) for file in ROOT.glob("examples/**/*.py")]
    assert any(_lines(block) in file for file in files)


def test_links_lead_somewhere() -> None:
    assert LINKS
    for link in LINKS:
        assert (PAGE.parent / Path(link)).exists(), link
