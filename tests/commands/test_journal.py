"""`export`, `import` and `epoch renew` as an operator runs them."""

from __future__ import annotations

import asyncio
import csv
import gzip
import re
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from tallywire.ledger import open_ledger

from ..conftest import RunTallywire
from ..ledger.journal_files import write_all


@pytest.fixture
def filled_url(database_url: str) -> str:
    """A ledger with a small journal."""

    async def fill() -> None:
        async with open_ledger(database_url) as manager:
            await write_all(manager)

    asyncio.run(fill())
    return database_url


@pytest.fixture
def other_url(request: pytest.FixtureRequest, filled_url: str) -> str:
    """A new ledger on the other kind of database."""
    sqlite = filled_url.startswith("sqlite")
    url: str = request.getfixturevalue("postgres_url" if sqlite else "sqlite_url")
    return url


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What it says; before it the log may have it that the test's database is a copy."""
    return done.stderr.splitlines()[-1]


def test_a_ledger_moves_to_the_other_database(
    filled_url: str, other_url: str, tallywire: RunTallywire, tmp_path: Path
) -> None:
    out = tallywire("export", "journal.jsonl.gz", database_url=filled_url)
    assert (out.returncode, out.stdout) == (0, "")
    assert re.fullmatch(r"exported to position \d\d, seal [0-9a-f]{64}\n", out.stderr)
    with gzip.open(tmp_path / "journal.jsonl.gz") as packed:
        assert packed.readline().startswith(b'{"line":"header","format":"tallywire journal"')
    assert not (tmp_path / "journal.jsonl.gz.part").exists()

    into = tallywire("import", "journal.jsonl.gz", database_url=other_url)
    assert (into.returncode, into.stdout) == (0, ""), into.stderr
    assert _last_line(into).startswith(f"im{_last_line(out).removeprefix('ex')}, epoch ")
    assert tallywire("verify", database_url=other_url).returncode == 0

    again = tallywire("import", "journal.jsonl.gz", database_url=other_url)
    assert (again.returncode, again.stdout) == (2, "")
    assert "empty ledger" in again.stderr


def test_an_export_goes_to_stdout(sqlite_url: str, tallywire: RunTallywire) -> None:
    done = tallywire("export", database_url=sqlite_url)
    assert done.returncode == 0
    assert [line[:15] for line in done.stdout.splitlines()] == [
        '{"line":"header',
        '{"line":"end","',
    ]


def test_a_users_history_goes_to_a_csv_file(
    filled_url: str, tallywire: RunTallywire, tmp_path: Path
) -> None:
    done = tallywire("export", "--history", "bob", "bob.csv", database_url=filled_url)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "bob.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert {row["account"] for row in rows} == {"main/bob/USDT"}
    assert (rows[-1]["change_type"], rows[-1]["amount"]) == ("deposit", "50.000000")
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal(rows[0]["balance"])
    positions = [int(row["position"]) for row in rows]
    assert positions == sorted(positions, reverse=True)


def test_a_file_that_cannot_be_written(sqlite_url: str, tallywire: RunTallywire) -> None:
    done = tallywire("export", "no/such/folder.jsonl", database_url=sqlite_url)
    assert done.returncode == 2
    assert done.stderr == "Error: cannot write no/such/folder.jsonl: No such file or directory\n"


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        ("plain", "line 2: the file ends within the line"),
        ("packed", "line 3: the file cannot be read: "),
        ("not packed", "line 1: the file cannot be read: "),
        ("absent", "cannot read {}: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used(
    cut: str, why: str, sqlite_url: str, postgres_url: str, tallywire: RunTallywire, tmp_path: Path
) -> None:
    name = "journal.jsonl" if cut == "plain" else "journal.jsonl.gz"
    if cut != "absent":
        tallywire("export", name, database_url=sqlite_url)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"{" if cut == "not packed" else whole[:-5])
    done = tallywire("import", name, database_url=postgres_url)
    assert done.returncode == 2
    line = _last_line(done)
    assert line.startswith(f"Error: {why.format(name)}")


def test_a_renewed_epoch_is_printed_and_in_the_audit(
    database_url: str, tallywire: RunTallywire
) -> None:
    done = tallywire("epoch", "renew", database_url=database_url)
    assert done.returncode == 0

    async def look() -> None:
        async with open_ledger(database_url) as manager:
            assert (await manager.reader.head()).epoch == done.stdout.strip()
            (noted,) = await manager.reader.audit(None, 10)
            assert (noted["action"], noted["target"]) == ("epoch_renewed", done.stdout.strip())
            assert noted["actor"].startswith("cli:")
            assert noted["details"]["before"] != done.stdout.strip()

    asyncio.run(look())
