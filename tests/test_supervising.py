"""Several processes on one socket: all are kept alive, and all go together."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .services.processes import die_with_parent

PROGRAM = """
import asyncio, socket, sys
from tallywire.logs import configure_logging
from tallywire.supervising import Supervisor

configure_logging("console")

async def run():
    supervisor = Supervisor(
        [sys.executable, sys.argv[1]],
        2,
        listener=socket.create_server(("127.0.0.1", 0)),
        started=lambda: print("started", flush=True),
    )
    return await supervisor.run()

sys.exit(asyncio.run(run()))
"""

# A worker: says that it serves, and ends with the code that it is told, or at SIGTERM.
WORKER = """
import asyncio, os, signal, sys
from tallywire.supervising import end_with_supervisor

async def run():
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_signal_handler(signal.SIGINT, over.set)
    end_with_supervisor(loop, over.set)
    print("serving", flush=True)
    print(f"worker {os.getpid()}", flush=True)
    await over.wait()
    os.write(2, f"drained {os.getpid()}\\n".encode())

asyncio.run(run())
"""


class Running:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.workers: list[int] = []

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().rstrip()

    async def next_worker(self) -> int:
        word, _, pid = (await self.line()).partition(" ")
        assert word == "worker"
        self.workers.append(int(pid))
        return int(pid)

    async def ended(self) -> tuple[int, list[str]]:
        """The exit code, and what was said on stderr, once all who could say something are gone."""
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            said = (await self.process.stderr.read()).decode().splitlines()
            return await self.process.wait(), said


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    (tmp_path / "worker.py").write_text(WORKER)
    running = await _start(tmp_path)
    said = {await running.line() for _ in range(3)}
    assert "started" in said
    running.workers = [int(line.split()[1]) for line in said if line.startswith("worker")]
    assert len(running.workers) == 2
    yield running
    if running.process.returncode is None:
        running.process.kill()
        await running.process.wait()


async def _start(folder: Path) -> Running:
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(folder / "program.py"), str(folder / "worker.py")]
    process = await asyncio.create_subprocess_exec(
        *die_with_parent(command, signal.SIGKILL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return Running(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_all(running: Running, number: signal.Signals) -> None:
    running.process.send_signal(number)
    code, said = await running.ended()
    assert code == 0
    assert sorted(said) == sorted(f"drained {pid}" for pid in running.workers)


async def test_a_dead_worker_is_started_anew(running: Running) -> None:
    for _ in range(3):
        os.kill(running.workers[-1], signal.SIGKILL)
        assert await running.next_worker() not in running.workers[:-1]
    running.process.terminate()
    code, said = await running.ended()
    assert code == 0
    drained = {line for line in said if line.startswith("drained")}
    assert len(drained) == 2


async def test_workers_go_with_a_supervisor_that_is_killed(running: Running) -> None:
    running.process.kill()
    code, said = await running.ended()
    assert code == -signal.SIGKILL
    assert sorted(said) == sorted(f"drained {pid}" for pid in running.workers)


async def test_a_worker_that_just_starts_may_be_stopped(running: Running, tmp_path: Path) -> None:
    # It hangs before it says anything, and SIGTERM ends it as it ends any program.
    (tmp_path / "worker.py").write_text("import time; time.sleep(60)")
    before = set(running.workers)
    os.kill(running.workers.pop(), signal.SIGKILL)
    async with asyncio.timeout(20):
        while not any(_runs_worker(pid) for pid in _children(running.process.pid) - before):
            await asyncio.sleep(0.02)
    running.process.terminate()
    code, said = await running.ended()
    assert code == 0
    assert [line for line in said if line.startswith("drained")] == [
        f"drained {running.workers[0]}"
    ]


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _runs_worker(pid: int) -> bool:
    return b"worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_where_a_worker_cannot_start_nothing_goes_on(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("import sys; sys.exit('Error: no database')")
    running = await _start(tmp_path)
    code, said = await running.ended()
    assert code == 1
    assert said == ["Error: no database"]
