"""A fork is a process as one that was started: its own, and gone with the test run."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .forks import Forks
from .processes import stop_process
from .server import RunningServer, server_environment


def test_it_says_and_ends_as_the_program_does(forks: Forks, tmp_path: Path) -> None:
    environment = server_environment(f"sqlite+aiosqlite:///{tmp_path}/none.db")
    for arguments in (["verify"], ["--help"]):
        program = subprocess.run(
            [sys.executable, "-m", "tallywire", *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=60,
        )
        forked = forks.run(arguments, environment, tmp_path)
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            program.returncode,
            program.stdout,
            program.stderr,
        )


def test_each_has_its_own_environment_and_folder(forks: Forks, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        environment = server_environment(f"sqlite+aiosqlite:///{name}.db")
        assert forks.run(["upgrade"], environment, tmp_path / name).returncode == 0
        assert (tmp_path / name / f"{name}.db").exists()
    # Nothing is left of the one before: without its secret there is no token.
    bare = forks.run(["token", "alice"], {"PORT": "1"}, tmp_path)
    assert (bare.returncode, bare.stdout) == (2, "")


async def test_how_it_ended_is_told(forks: Forks, tmp_path: Path, sqlite_url: str) -> None:
    running = RunningServer(tmp_path, server_environment(sqlite_url), forks=forks)
    await running.start()
    assert running.exit_code is None
    await running.kill9()
    assert running.exit_code == -signal.SIGKILL
    await running.start()
    assert await running.terminate() == 0


async def test_it_ends_with_what_it_was_forked_from(tmp_path: Path, sqlite_url: str) -> None:
    environment = server_environment(sqlite_url)
    with Forks(environment) as forks:
        running = RunningServer(tmp_path, environment, forks=forks)
        await running.start()
    assert await running.wait_exit() == -signal.SIGKILL
    async with asyncio.timeout(10):
        while Path(f"/proc/{running.pid}").exists():
            await asyncio.sleep(0.01)


async def test_one_that_does_not_end_is_killed(
    forks: Forks, tmp_path: Path, sqlite_url: str
) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = forks.start(
            ["serve", "--port", "0"],
            server_environment(sqlite_url),
            tmp_path,
            stdout=log,
            stderr=log,
        )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0)
    process.send_signal(signal.SIGSTOP)
    assert stop_process(process, signal.SIGTERM, seconds=0) == -signal.SIGKILL
