"""A journal's file that was cut, changed or forged is refused by its line, and nothing is left."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tallywire.ledger import import_journal, open_ledger
from tallywire.ledger.importing import FileRefused

from .journal_files import Lines, contents, exported, parsed, resealed, write_all, written

# What an accident or a clumsy hand does to a file: the change, the line that is named, and why.


def _place(lines: Lines, kind: str, nth: int = 0) -> int:
    return [i for i, line in enumerate(lines) if line["line"] == kind][nth]


def _edit(kind: str, nth: int, *, named: int = 0, **fields: Any) -> Callable[[Lines], int]:
    def change(lines: Lines) -> int:
        at = _place(lines, kind, nth)
        lines[at] = {**lines[at], **fields}
        return at + 1 + named

    return change


def _edit_posting(nth: int, **fields: Any) -> Callable[[Lines], int]:
    def change(lines: Lines) -> int:
        at = _place(lines, "transaction", nth)
        lines[at]["postings"][-1] |= fields
        return at + 1

    return change


def _drop(kind: str, nth: int, *, named: int = 0) -> Callable[[Lines], int]:
    def change(lines: Lines) -> int:
        at = _place(lines, kind, nth)
        del lines[at]
        return at + 1 + named

    return change


def _double(kind: str, nth: int, *, named: int = 0) -> Callable[[Lines], int]:
    def change(lines: Lines) -> int:
        at = _place(lines, kind, nth)
        lines.insert(at, lines[at])
        return at + 2 + named

    return change


def _swap(lines: Lines) -> int:
    at = _place(lines, "transaction", 5)
    assert lines[at + 1]["line"] == "transaction"
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    return at + 1


def _cut(lines: Lines) -> int:
    del lines[10:]
    return 11


DAMAGE: dict[str, tuple[Callable[[Lines], int], str]] = {
    "no header": (_drop("header", 0), "header"),
    "another format": (_edit("header", 0, format="another"), "not a line"),
    "a newer version": (_edit("header", 0, version=2), "not a line"),
    "an unknown field": (_edit("seal", 0, colour="red"), "not a line"),
    "a number that is none": (_edit("transaction", 0, position=1.0), "not a line"),
    "a description edited": (_edit("transaction", 3, description="Bribe"), "content hash"),
    "an actor edited": (_edit("transaction", 3, actor="nobody"), "content hash"),
    "a content hash edited": (_edit("transaction", 3, content_hash="0" * 64), "content hash"),
    "a seal edited": (_edit("seal", 3, named=1, seal="0" * 64), "SEAL: seal"),
    "an amount edited": (_edit_posting(0, amount=1), "CONSERVATION"),
    "a balance edited": (_edit_posting(0, balance=1), "content hash"),
    "another account": (_edit_posting(0, account="main/mallory/USDT"), "content hash"),
    "an account of no book": (_edit_posting(0, account="none/alice/USDT"), "no book"),
    "an account of no system": (_edit_posting(0, account="main/@mine/USDT"), "@mine"),
    "a name that is none": (_edit_posting(0, account="alice"), "account name"),
    "a transaction dropped": (_drop("transaction", 4), "cannot begin|SEQUENCE_GAP"),
    "a transaction doubled": (_double("transaction", 4), "SEQUENCE_GAP"),
    "transactions swapped": (_swap, "SEQUENCE_GAP"),
    "a seal dropped": (_drop("seal", 4), "no batch"),
    "a seal doubled": (_double("seal", 4), "cannot begin"),
    "a journal cut": (_cut, "ends before"),
    "no closing line": (_drop("end", 0), "ends before"),
    "a closing line doubled": (_double("end", 0), "follows"),
    "a revocation doubled": (_double("revocation", 0, named=1), "revocations"),
    "an audit row dropped": (
        lambda lines: _drop("audit", 0)(lines) and len(lines),
        "it closes a file of . audit",
    ),
    "an audit row edited": (
        lambda lines: _edit("audit", 0, actor="x")(lines) and len(lines),
        "not those",
    ),
    "a book edited": (
        lambda lines: lines[0]["books"][0].update(timezone="Asia/Tokyo") or len(lines),
        "not those",
    ),
    "a book of no time zone": (
        lambda lines: lines[0]["books"][0].update(timezone="Mars") or 1,
        "timezone",
    ),
    "the head edited": (
        lambda lines: lines[0].update(position=7) or _place(lines, "audit") + 1,
        "header says 7",
    ),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file."""
    folder = tmp_path_factory.mktemp("journal")

    async def make() -> bytes:
        url = f"sqlite:///{folder}/ledger.db"
        async with open_ledger(url) as manager:
            await write_all(manager)
        return await exported(url)

    whole = folder / "journal.jsonl"
    whole.write_bytes(asyncio.run(make()))
    return whole


@pytest.mark.parametrize("name", DAMAGE)
async def test_what_was_changed_is_named_by_its_line(
    name: str, file: Path, sqlite_url: str
) -> None:
    change, why = DAMAGE[name]
    lines = parsed(file.read_bytes())
    named = change(lines)
    await _is_refused(written(lines), sqlite_url, rf"^lines? (\d+ to )?{named}: .*({why})")


async def _is_refused(file: bytes, url: str, why: str) -> None:
    before = await contents(url)
    with pytest.raises(FileRefused, match=why):
        await import_journal(url, io.BytesIO(file))
    assert await contents(url) == before


async def test_nothing_is_left_on_postgresql_either(file: Path, postgres_url: str) -> None:
    async with open_ledger(postgres_url):
        pass
    lines = parsed(file.read_bytes())
    lines[_place(lines, "audit")]["details"] = "{}"
    await _is_refused(written(lines), postgres_url, "not those")


# A file whose content hashes and seals were made anew can still not break the other invariants.

FORGERIES: dict[str, tuple[Callable[[Lines], Any], str]] = {
    "money from nothing": (
        lambda lines: _leg(lines, 0, "main/alice/USDT").update(amount=200_000_000),
        "CONSERVATION",
    ),
    "a richer balance": (
        lambda lines: _forge(
            lines,
            {"balance": 200_000_000},
            {
                '"balance":"100.': '"balance":"200.',
                '"available":"100.': '"available":"200.',
                '"balance_before":"0.': '"balance_before":"100.',
            },
        ),
        "SNAPSHOT=REPLAY: balance",
    ),
    "a seq left out": (
        lambda lines: _forge(lines, {"seq": 2}, {'"seq":1,': '"seq":2,'}),
        "SEQUENCE_GAP: seq",
    ),
    "another digest": (
        lambda lines: _forge(
            lines,
            {"digest": "f" * 64},
            {_leg(lines, 0, "main/alice/USDT")["digest"]: "f" * 64},
        ),
        "HASH_CHAIN",
    ),
    "no state": (lambda lines: _leg(lines, 0, "main/alice/USDT").pop("digest"), "digest"),
    "a system account with a state": (
        lambda lines: _leg(lines, 0, "main/@world/USDT").update(seq=1),
        "no state",
    ),
    "a screen that lies": (
        lambda lines: _forge(lines, {}, {"100.000000": "900.000000"}),
        "SCREEN=LEDGER",
    ),
    "a key used twice": (
        lambda lines: [
            lines[_place(lines, "transaction", n)].update(
                key_namespace="api", key_principal="root", key="k"
            )
            for n in (0, 1)
        ],
        "transactions|SCREEN=LEDGER",
    ),
}


def _forge(lines: Lines, state: dict[str, Any], told: dict[str, str]) -> None:
    """Another state after alice's first entry, and updates that tell of it."""
    _leg(lines, 0, "main/alice/USDT").update(state)
    transaction = lines[_place(lines, "transaction")]
    for old, new in told.items():
        assert old in transaction["encoded"]
        transaction["encoded"] = transaction["encoded"].replace(old, new)


def _leg(lines: Lines, nth: int, account: str) -> dict[str, Any]:
    (leg,) = [
        posting
        for posting in lines[_place(lines, "transaction", nth)]["postings"]
        if posting["account"] == account
    ]
    found: dict[str, Any] = leg
    return found


async def test_sealing_anew_gives_the_same_seals(file: Path) -> None:
    assert written(resealed(parsed(file.read_bytes()))) == file.read_bytes()


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_file_is_refused(name: str, file: Path, sqlite_url: str) -> None:
    forge, why = FORGERIES[name]
    lines = parsed(file.read_bytes())
    forge(lines)
    await _is_refused(written(resealed(lines)), sqlite_url, why)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(["drop", "double", "move", "byte", "cut"]),
    line_number=st.integers(0, 2**16),
    to=st.integers(0, 2**16),
    other=st.binary(min_size=1, max_size=1),
)
def test_no_damage_passes(
    kind: str, line_number: int, to: int, other: bytes, file: Path, sqlite_url: str
) -> None:
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    at = line_number % len(lines)
    line = lines.pop(at)
    within = to % len(line)
    if kind == "double":
        lines[at:at] = [line, line]
    elif kind == "move":
        lines.insert(to % (len(lines) + 1), line)
    elif kind == "byte":
        lines.insert(at, line[:within] + other + line[within + 1 :])
    elif kind == "cut":
        lines.insert(at, line[:within])
    damaged = b"".join(lines)
    assume(damaged != whole)

    async def check() -> None:
        before = await contents(sqlite_url)
        with pytest.raises(FileRefused):
            await import_journal(sqlite_url, io.BytesIO(damaged))
        assert await contents(sqlite_url) == before

    asyncio.run(check())
