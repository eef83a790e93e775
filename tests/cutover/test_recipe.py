"""docs/cutover.md, run as it stands on an application that was never made for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tallywire.ledger import BalanceManager

from ..docs.pages import page, texts
from ..services.server import server_environment
from .legacy import literal, run_sql

PAGE = "docs/cutover.md"


def _users() -> Iterator[tuple[str, str]]:
    for i in range(240):
        yield f"user{i}@example.com", f"{i * 7 % 1000}.{i % 100:02}"
    for i in range(40):
        yield str(uuid.uuid5(uuid.NAMESPACE_URL, str(i))), f"{i}.5"
    for i in range(20):
        yield str(i), "0"
    yield from [("100%_'\"\\;--", "1"), ("Ζωή / ж", "2.50"), ("a:b~c", "9999999999.99")]


class _Application:
    """The old application's table and code, and a shell in which the page's commands run."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._environment = server_environment(url)
        programs = str(Path(sys.executable).parent)
        self._environment["PATH"] = f"{programs}:{self._environment['PATH']}"
        for block in page(PAGE, "python"):
            assert block.file is not None
            (folder / block.file).write_text(block.text)

    async def sql(self, *statements: str) -> None:
        await run_sql(self._url, *statements)

    async def shell(self, commands: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            ["bash", "-ec", commands],
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=self._folder,
            timeout=100,
        )

    async def runs(self, commands: str) -> str:
        done = await self.shell(commands)
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout


# Some thirty processes, one after the other.
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "database_url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True
)
async def test_the_recipe(ledger: BalanceManager, database_url: str, tmp_path: Path) -> None:
    application = _Application(database_url, tmp_path)
    users = [*_users(), ("debtor", "-3.00"), ("odd", "NULL")]
    rows = ", ".join(
        f"({i}, {literal(user)}, {balance})" for i, (user, balance) in enumerate(users)
    )
    await application.sql(
        "CREATE TABLE users (number integer PRIMARY KEY, email varchar(128) NOT NULL UNIQUE,"
        " balance numeric(14, 2))",
        f"INSERT INTO users VALUES {rows}",
    )
    upgrade, dry_run, trial, shadow, takeover, mirror = texts(PAGE, "sh")

    await application.runs(upgrade)
    foreseen = await application.shell(dry_run)
    assert foreseen.returncode == 1
    refused = [line for line in foreseen.stdout.splitlines() if line.startswith("REFUSED")]
    assert [line.rpartition(": ")[2] for line in refused] == [
        "below the account's floor of 0.00",
        "there is no balance",
    ]
    await application.sql(
        "UPDATE users SET balance = 0 WHERE email IN ('debtor', 'odd')",
    )
    assert "the totals agree" in await application.runs(dry_run)
    assert "the totals agree" in await application.runs(trial)
    await application.runs(shadow)

    spend = "UPDATE users SET balance = balance - 1 WHERE email = 'user3@example.com'"
    await application.sql(spend)
    found = await application.shell("tallywire mirrors check --book shadow")
    assert found.returncode == 1
    assert found.stdout.startswith(
        "MISMATCH MIRROR=LEDGER shadow/user3@example.com/USD 20.03 21.03"
    )
    await application.runs("python post.py user3@example.com -1 order-4711")
    await application.runs("tallywire mirrors check --book shadow")

    assert "the totals agree" in await application.runs(takeover)
    await application.runs(mirror)
    await ledger.update_balance("Ζωή / ж", "0.25", "deposit", asset="USD", book="main")
    await application.runs("tallywire mirrors check")
    await application.sql(spend)
    await ledger.update_balance("user3@example.com", "5", "deposit", asset="USD", book="main")
    kinds = [update["change_type"] for update in await ledger.history("user3@example.com")]
    assert "adoption" in kinds
    await application.runs("tallywire mirrors check && tallywire verify")
