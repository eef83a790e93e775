"""Restores behind clients, by the commands of docs/backup.md: they are reset, not left wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ..conftest import RunTallywire, StartServer
from ..docs.pages import page
from ..services.postgres import SUPERUSER, PostgresServer
from ..services.server import RunningServer, server_environment
from .client import Screen, accepted
from .conftest import FAST, Outside

Go = Callable[[RunningServer], Awaitable[Outside]]
RunPage = Callable[..., Awaitable[None]]

# The page's shell commands, by what stands above them.
COMMANDS = {block.heading: block.text for block in page("docs/backup.md", "sh")}


@pytest.fixture
def folder(tmp_path: Path, sqlite_url: str) -> Path:
    """Where an operator is: with a SQLite ledger in data/tallywire.db."""
    (tmp_path / "data").mkdir()
    shutil.move(tmp_path / "tallywire.db", tmp_path / "data" / "tallywire.db")
    return tmp_path


@pytest.fixture
def run_page(folder: Path, postgres_server: PostgresServer) -> RunPage:
    """Runs what the page says below a heading."""

    async def run(heading: str, url: str) -> None:
        administrator = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres_server.port),
            "PGUSER": SUPERUSER,
        }
        restored = {"RESTORED_URL": url.replace("/tallywire?", "/restored?")}
        environment = server_environment(url, env={**administrator, **restored})
        found = (Path(sys.executable).parent, postgres_server.programs, environment["PATH"])
        environment["PATH"] = os.pathsep.join(map(str, found))
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-euo", "pipefail", "-c", COMMANDS[heading]],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture
def deployed_url(postgres_server: PostgresServer, tallywire: RunTallywire) -> Iterator[str]:
    """A ledger as docs/deployment.md has it: its role owns its schema, and may nothing else."""
    (made,) = page("docs/deployment.md", "sql")
    postgres_server.run_script(made.text)
    owner = f"postgresql://tallywire@127.0.0.1:{postgres_server.port}"
    url = f"{owner}/tallywire?options=-csearch_path%3Dledger"
    assert tallywire("upgrade", database_url=url).returncode == 0
    yield url
    postgres_server.drop_database("tallywire")
    postgres_server.drop_database("restored")
    postgres_server.execute("DROP ROLE IF EXISTS tallywire")


def sqlite_in(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/data/tallywire.db"


def was_reset(screen: Screen) -> bool:
    return screen.resumed is None and screen.init is not None and screen.init["reason"] == "reset"


class Before:
    """A ledger that was copied, and went on behind the screens of alice and of a monitor."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.at_alice, self.at_bob = outside.screen("alice"), outside.screen("bob")
        self.monitor = outside.monitor()

    async def look(self) -> None:
        """Two deposits, seen by all."""
        for screen in (self.at_alice, self.at_bob, self.monitor):
            await screen.open()
        await self._deposit("alice", "bob")

    async def go_on(self) -> None:
        """What the copy does not have: alice's balance moves, bob's does not."""
        await self._deposit("alice", "carol", "dora")

    async def leave(self) -> None:
        for screen in (self.at_alice, self.at_bob, self.monitor):
            await screen.leave()

    async def _deposit(self, *users: str) -> None:
        done = {user: accepted(await self.outside.admin.deposit(user, "1")) for user in users}
        for screen in (self.at_alice, self.at_bob):
            if screen.user_id in done:
                await screen.until_shown(done[screen.user_id]["position"])
        await self.monitor.until_position(max(each["position"] for each in done.values()))


Lived = Callable[[str, str], Awaitable[tuple[RunningServer, Before]]]


@pytest.fixture
def lived(server: StartServer, go_outside: Go, run_page: RunPage) -> Lived:
    """A server with its screens that was backed up, went on, and ended; by name and address."""

    async def live(database: str, url: str) -> tuple[RunningServer, Before]:
        running = await server(database_url=url, env=FAST)
        before = Before(await go_outside(running))
        await before.look()
        await run_page(f"{database}: back up", url)
        await before.go_on()
        await running.terminate()
        await before.leave()
        return running, before

    return live


async def all_are_right(outside: Outside, *screens: Screen) -> None:
    """Each screen shows what the ledger has, and goes on to."""
    for screen in screens:
        assert screen.balances == await outside.admin.balances(screen.user_id)
        live = accepted(await outside.admin.deposit(screen.user_id, "7"))
        await screen.until_shown(live["position"])
        assert screen.balances == await outside.admin.balances(screen.user_id)


async def test_sqlite_is_restored_behind_clients(
    lived: Lived, folder: Path, run_page: RunPage
) -> None:
    url = sqlite_in(folder)
    running, before = await lived("SQLite", url)
    await run_page("SQLite: restore", url)
    await running.restart()
    for screen in (before.at_alice, before.at_bob, before.monitor):
        await screen.come_back()
        assert screen.resumed is None
    assert was_reset(before.at_alice)
    assert was_reset(before.at_bob)
    assert before.at_alice.balances["main/alice/USDT"]["balance"] == "1.000000"
    await all_are_right(before.outside, before.at_alice, before.at_bob)
    await before.leave()


@pytest.mark.parametrize("traffic", ["none", "less than was lost", "more than was lost"])
async def test_a_restore_without_a_new_epoch_is_noticed_by_what_screens_know(
    traffic: str, lived: Lived, folder: Path
) -> None:
    running, before = await lived("SQLite", sqlite_in(folder))
    for name in ("tallywire.db-wal", "tallywire.db-shm"):
        (folder / "data" / name).unlink(missing_ok=True)
    shutil.copyfile(folder / "backup" / "tallywire.db", folder / "data" / "tallywire.db")
    await running.restart()
    others = {"none": 0, "less than was lost": 2, "more than was lost": 5}[traffic]
    for _ in range(others):
        accepted(await before.outside.admin.deposit("dora", "1"))
    await before.at_alice.come_back()
    assert was_reset(before.at_alice)
    # As after a heartbeat, which would take its time.
    before.at_bob.cursor = before.monitor.cursor
    await before.at_bob.come_back()
    # Nothing of bob's was lost: where the new journal has passed his position, he missed nothing.
    assert was_reset(before.at_bob) == (traffic != "more than was lost")
    await all_are_right(before.outside, before.at_alice, before.at_bob)
    await before.leave()


async def test_postgresql_is_restored_behind_clients(
    lived: Lived, server: StartServer, deployed_url: str, run_page: RunPage
) -> None:
    running, before = await lived("PostgreSQL", deployed_url)
    await run_page("PostgreSQL: restore", deployed_url)
    restored = deployed_url.replace("/tallywire?", "/restored?")
    port = ["--port", str(running.port)]
    await server(database_url=restored, env=FAST, arguments=port)
    for screen in (before.at_alice, before.at_bob, before.monitor):
        await screen.come_back()
        assert screen.resumed is None
    assert was_reset(before.at_alice)
    assert was_reset(before.at_bob)
    await all_are_right(before.outside, before.at_alice, before.at_bob)
    await before.leave()


async def test_a_ledger_is_moved_behind_clients(
    server: StartServer, go_outside: Go, folder: Path, empty_postgres_url: str, run_page: RunPage
) -> None:
    url = sqlite_in(folder)
    running = await server(database_url=url, env=FAST)
    outside = await go_outside(running)
    before = Before(outside)
    await before.look()
    kept = before.at_alice.balances
    await run_page("The journal: export", url)
    await running.terminate()
    await before.leave()

    await run_page("The journal: import", empty_postgres_url)
    port = ["--port", str(running.port)]
    await server(database_url=empty_postgres_url, env=FAST, arguments=port)
    await before.at_alice.come_back()
    assert was_reset(before.at_alice)
    # The very same digests: whoever noted one can still prove it.
    assert before.at_alice.balances == kept
    await all_are_right(outside, before.at_alice)
    await before.at_alice.leave()


async def test_a_renewed_epoch_resets_who_is_connected(
    server: StartServer, go_outside: Go, database_url: str, tallywire: RunTallywire
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    async with outside.screen("alice") as screen, outside.monitor() as monitor:
        first = accepted(await outside.admin.deposit("alice", "5"))
        await screen.until_position(first["position"])
        old = screen.resume_point
        done = await asyncio.to_thread(tallywire, "epoch", "renew", database_url=database_url)
        assert done.returncode == 0, done.stderr
        await screen.until(lambda: was_reset(screen))
        await monitor.until(lambda: len(monitor.inits) == 2)
        assert screen.resume_point["epoch"] == done.stdout.strip() != old["epoch"]
        await all_are_right(outside, screen)
        await screen.leave()
        await screen.come_back(old)
        assert was_reset(screen)
        await all_are_right(outside, screen)
