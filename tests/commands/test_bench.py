"""`tallywire bench`: a figure of an empty ledger, and never of one that is in use."""

from __future__ import annotations

import re

from ..conftest import RunTallywire


def test_it_measures_in_a_file_of_its_own(tallywire: RunTallywire, sqlite_url: str) -> None:
    here = {"DATABASE_URL": sqlite_url}
    done = tallywire("bench", "--seconds", "0.5", "--callers", "8", env=here)
    assert done.returncode == 0, done.stderr
    figure = re.fullmatch(r"([\d,]+) changes/s by 8 callers on 64 accounts .*\n", done.stdout)
    assert figure is not None, done.stdout
    assert int(figure[1].replace(",", "")) > 0
    assert '"position":0,' in tallywire("export", env=here).stdout.partition("\n")[0]


def test_a_ledger_in_use_is_left_alone(tallywire: RunTallywire, postgres_url: str) -> None:
    options = ("bench", "--seconds", "0.2", "--callers", "2", "--database", postgres_url)
    assert tallywire(*options).returncode == 0
    again = tallywire(*options)
    assert again.returncode == 2
    assert "empty ledger" in again.stderr
