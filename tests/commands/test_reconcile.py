"""tallywire reconcile: stopped anywhere, told in numbers, run again."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import subprocess
import termios
import time
from array import array
from pathlib import Path

import pytest
from tallywire.ledger import open_ledger
from tallywire.ledger.accounts import AccountKey

from ..conftest import RunTallywire
from ..ledger.raw import execute, rows
from ..services.server import COMMAND, server_environment

USERS = 24
PAGE = 4096
# Long, so that lines of them fill a pipe.
NAMES = [f"{n:02}{'é' * 60}" for n in range(USERS)]
PROFILES = (
    "CREATE TABLE profiles (id text PRIMARY KEY, coins bigint NOT NULL DEFAULT 0)",
    *(f"INSERT INTO profiles (id) VALUES ('{name}')" for name in NAMES),
)
DRIFT = "UPDATE profiles SET coins = 700"


@pytest.fixture
def drifted(sqlite_url: str) -> str:
    """A ledger of users whose profiles all have drifted."""

    async def write() -> None:
        await execute(sqlite_url, *PROFILES)
        async with open_ledger(sqlite_url, default_asset="COIN") as manager:
            await manager.register_mirror(
                "coins",
                table="profiles",
                column="coins",
                key={"id": "{owner}"},
                asset="COIN",
                on_failure="defer",
                on_drift="overwrite",
            )
            for n, name in enumerate(NAMES):
                await manager.update_balance(name, str(n + 1), "deposit")
        await execute(sqlite_url, DRIFT)

    asyncio.run(write())
    return sqlite_url


def stopped(url: str, folder: Path, by: signal.Signals) -> tuple[int, str]:
    """
    Stop it in the middle, where it must be while nobody reads its lines: a pipe takes a page of
    them and no more. The exit code and stderr.
    """
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE)
    with (
        os.fdopen(reading) as lines,
        subprocess.Popen(
            [*COMMAND, "reconcile", "--all", "--batch-size", "5"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            env=server_environment(url),
            cwd=folder,
        ) as process,
    ):
        os.close(writing)
        deadline = time.monotonic() + 30
        while _waiting(reading) < PAGE - 2 * len(mismatch_of(NAMES[0])):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(by)
        lines.read()
        assert process.stderr is not None
        return process.wait(30), process.stderr.read()


def test_it_is_stopped_and_run_again(drifted: str, tmp_path: Path, tallywire: RunTallywire) -> None:
    """Each user is put right whole or not at all, and once."""
    code, _ = stopped(drifted, tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL
    first = repairs(drifted)
    assert 0 < first < USERS
    code, said = stopped(drifted, tmp_path, signal.SIGINT)
    assert code == 130, said
    told = re.search(r"interrupted: checked (\d+) users, drifted (\d+), drifted still (\d+)", said)
    assert told is not None, said
    checked, met, left = map(int, told.groups())
    assert met <= checked
    # Where it was stopped between a commit and the proof of it, that user counts as not right.
    assert 0 <= repairs(drifted) - first - (met - left) <= left
    second = repairs(drifted)
    assert first < second < USERS
    done = tallywire("reconcile", "--all", database_url=drifted)
    assert done.returncode == 0
    assert done.stderr == f"checked {USERS} users, drifted {USERS - second}, drifted still 0\n"
    found = asyncio.run(rows(drifted, "SELECT id, coins FROM profiles ORDER BY id"))
    assert [row["coins"] for row in found] == list(range(1, USERS + 1))
    assert repairs(drifted) == USERS


def _waiting(pipe: int) -> int:
    """How many bytes there are to be read."""
    counted = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, counted)
    return counted[0]


def mismatch_of(name: str) -> str:
    """The beginning of the line that tells of a user's profile."""
    return f"MISMATCH MIRROR=LEDGER {AccountKey('main', name, 'COIN').name} 700 "


def repairs(url: str) -> int:
    """How many users were put right: of each a transaction."""
    found = asyncio.run(rows(url, "SELECT position FROM transactions WHERE type = 'repair'"))
    return len(found)


def test_a_table_that_cannot_be_read(drifted: str, tallywire: RunTallywire) -> None:
    """It says so once and is no success; what can be read is put right all the same."""
    asyncio.run(
        execute(
            drifted,
            "ALTER TABLE profiles RENAME TO profiles_old",
            f"UPDATE accounts SET total_in = 0 WHERE owner = '{NAMES[3]}'",
        )
    )
    done = tallywire("reconcile", "--all", "--batch-size", "9", "--progress", database_url=drifted)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "MISMATCH MIRROR=LEDGER - - - -",
        f"MISMATCH SNAPSHOT=REPLAY main/03{'%C3%A9' * 60}/COIN 0 4 -4",
    ]
    assert "mirror coins: no such table: profiles" in done.stderr
    assert f"checked {USERS} of {USERS}" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"checked {USERS} users, drifted 1, drifted still 1, mirrors that cannot be read 1"
    )
