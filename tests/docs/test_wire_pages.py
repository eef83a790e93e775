"""The pages on the wire and on HTTP: followed to the end; their tables are the code's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import tallywire.app  # noqa: F401 - every refusal is defined by then
from tallywire.api.problems import STATUS
from tallywire.ledger.digest import GENESIS
from tallywire.ledger.errors import LedgerError
from tallywire.ws import closes
from tallywire.ws.messages import read_connect, read_message

from .following import clone_in, follow_page
from .pages import ROOT, Block
from .test_pages import PROGRAMS

WIRE, HTTP = "docs/wire.md", "docs/http.md"


def _rows(page: str, first: str) -> list[tuple[str, ...]]:
    """The rows of a page's tables whose first cell fits the pattern `first`."""
    lines = (ROOT / page).read_text().splitlines()
    cells = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in lines]
    return [row for row in cells if row and re.fullmatch(first, row[0])]


def _connects(block: Block) -> None:
    read_connect(read_message(block.text))


async def test_both_on_one_server(tmp_path: Path) -> None:
    await follow_page(
        clone_in(tmp_path),
        "\n".join((ROOT / page).read_text() for page in (WIRE, HTTP)),
        name=f"{WIRE}, {HTTP}",
        environment=PROGRAMS,
        others={"json": _connects},
        before="make run",
    )


def test_the_digests_are_those_of_the_vectors() -> None:
    shown = set(re.findall(r"\b[0-9a-f]{64}\b", (ROOT / WIRE).read_text())) - {GENESIS}
    vectors = json.loads((ROOT / "tests/vectors.json").read_text())
    entries = vectors["chains"][0]["entries"]
    assert shown == {entry["digest"] for entry in entries[:3]}


def test_the_closes_are_those_of_the_code() -> None:
    shown = {int(code): back.startswith("yes") for code, _, back in _rows(WIRE, r"\d{4}")}
    assert shown == {close.code: close.reconnect for close in closes.ALL}


def _refusals(of: type[LedgerError]) -> Iterator[type[LedgerError]]:
    for each in of.__subclasses__():
        yield each
        yield from _refusals(each)


def test_the_codes_are_those_of_the_refusals() -> None:
    rows = [row for row in _rows(HTTP, r"`[a-z_]+`") if row[1].isdigit()]
    shown = {row[0].strip("`"): int(row[1]) for row in rows}
    own = {each.code for each in _refusals(LedgerError) if each.__module__.startswith("tallywire.")}
    assert shown == {code: status for code, status in STATUS.items() if code in own}
