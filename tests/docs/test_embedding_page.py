"""The code on the page about embedding is the examples' code."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from .pages import ROOT, Block, page, texts


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.mark.parametrize(
    "block", page("docs/embedding.md", "python"), ids=lambda block: block.place
)
def test_a_block_of_python_is_in_an_example(block: Block) -> None:
    files = [_lines(file.read_text()) for file in ROOT.glob("examples/**/*.py")]
    assert any(_lines(block.text) in file for file in files)


def test_the_address_gives_the_ledger_its_schema() -> None:
    (address,) = texts("docs/embedding.md", "text")
    url = make_url(address.strip().replace("…", "127.0.0.1"))
    assert url.query["options"] == "-csearch_path=ledger,public"
