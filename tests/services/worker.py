"""The real worker for the tests: `tallywire worker` as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from .forks import Fork, Forks
from .processes import stop_process


class RunningWorker:
    """One `tallywire worker`: made by the fixture `worker`, which also ends it."""

    def __init__(self, process: Fork) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, folder: Path, environment: Mapping[str, str], forks: Forks
    ) -> RunningWorker:
        """One that has said it runs; folder: an existing one of its own. environment: all of it."""
        log = folder / "worker.log"
        with log.open("wb") as output:
            process = forks.start(["worker"], environment, folder, stdout=output, stderr=output)
        try:
            async with asyncio.timeout(60):
                while "Tallywire's worker runs.\n" not in log.read_text():
                    assert process.poll() is None, f"the worker ended:\n{log.read_text()}"
                    await asyncio.sleep(0.02)
        except BaseException:
            process.kill()
            raise
        return cls(process)

    def send_signal(self, number: signal.Signals) -> None:
        """Send any signal; SIGTERM is an end in order."""
        self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        while (code := self._process.poll()) is None:
            await asyncio.sleep(0.02)
        return code

    def discard(self) -> None:
        """End it whatever its state."""
        stop_process(self._process, signal.SIGKILL, seconds=10)
