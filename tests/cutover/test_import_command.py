"""`tallywire import-balances` as an operator meets it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tallywire.ledger import BalanceManager

from ..conftest import RunTallywire
from ..services.server import COMMAND, server_environment
from .legacy import make_users

IMPORT = ("import-balances", "--table", "users", "--asset", "USD")


async def test_totals_are_a_table_and_refused_rows_are_listed(
    tallywire: RunTallywire, database_url: str
) -> None:
    users = [("alice", "10.5"), ("me", "3"), ("bob", "2.25"), ("carol", None)]
    await make_users(database_url, users, "id text, balance text")
    done = tallywire(*IMPORT, "--dry-run", database_url=database_url)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "REFUSED row 2 'me' '3': 'me' cannot be a user id",
        "REFUSED row 4 'carol' 'NULL': there is no balance",
        "                  rows    sum",
        "read                 4  15.75",
        "would book           2  12.75",
        "replayed             0   0.00",
        "refused              2   3.00",
        "ledger               0   0.00",
        "1 refused without a readable balance, in no sum",
        "the totals agree",
    ]
    done = tallywire(*IMPORT, "--json", database_url=database_url)
    report = json.loads(done.stdout)
    assert (done.returncode, report["agree"], report["dry_run"]) == (1, True, False)
    assert report["booked"] == report["ledger"] == {"rows": 2, "sum": "12.75"}
    assert [row["user"] for row in report["details"]] == ["me", "carol"]


async def test_all_booked_is_exit_0_also_again(tallywire: RunTallywire, sqlite_url: str) -> None:
    await make_users(sqlite_url, [("alice", 5)])
    for said in ("booked               1", "replayed             1"):
        done = tallywire(*IMPORT, database_url=sqlite_url)
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
    assert tallywire("verify", database_url=sqlite_url).returncode == 0


def test_a_csv_file(tallywire: RunTallywire, sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "flats.csv").write_text("flat,debt\n1,20.00\n2,-5\n")
    assert tallywire("book", "rent", "--side", "debit", database_url=sqlite_url).returncode == 0
    columns = ("--id", "flat", "--balance", "debt")
    place = ("--asset", "EUR", "--book", "rent")
    done = tallywire(
        "import-balances", "--csv", "flats.csv", *columns, *place, database_url=sqlite_url
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the totals agree")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--asset", "USD"), "--table or --csv"),
        (("--csv", "x.csv", "--from", "sqlite:///x", "--asset", "USD"), "--from"),
        (("--table", "users", "--asset", "USD"), "there is no table 'users'"),
        (("--table", "users", "--asset", "GBP"), "there is no asset 'GBP'"),
        (("--csv", "x.csv", "--asset", "USD"), "x.csv"),
        (("--table", "u", "--asset", "USD", "--from", "sqlite:///none.db"), "none.db"),
    ],
)
def test_what_cannot_run(
    tallywire: RunTallywire, sqlite_url: str, arguments: tuple[str, ...], said: str
) -> None:
    done = tallywire("import-balances", *arguments, database_url=sqlite_url)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


async def test_an_import_that_is_killed_is_repeated(
    ledger: BalanceManager, tallywire: RunTallywire, database_url: str, tmp_path: Path
) -> None:
    count = 6000
    await make_users(database_url, [(f"user {i}", i) for i in range(count)])
    running = await asyncio.create_subprocess_exec(
        *(*COMMAND, *IMPORT),
        env=server_environment(database_url),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        while (await ledger.reader.head()).position == 0:
            await asyncio.sleep(0.01)
    running.kill()
    await running.wait()
    booked = (await ledger.reader.head()).position
    assert 0 < booked < count
    done = await asyncio.to_thread(tallywire, *IMPORT, "--json", database_url=database_url)
    report = json.loads(done.stdout)
    assert done.returncode == 0
    # A COMMIT that was on its way when the process died may have been counted by neither look.
    assert report["booked"]["rows"] + report["replayed"]["rows"] == count
    assert report["replayed"]["rows"] >= booked
    assert report["ledger"] == {"rows": count, "sum": f"{sum(range(count))}.00"}
    assert (await ledger.reader.head()).position == count
