"""Several processes that serve one socket: started together, kept alive, drained together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from . import logs
from .settings import Settings

# After a worker that ended before it served, in seconds until the next attempt.
_RETRY = 1.0

_log = logs.get_logger(__name__)


class Supervisor:
    """
    Runs `workers` processes of one command until a signal, and starts anew each that ends.

    A worker prints a line once it serves, and drains at SIGTERM or when its standard input ends:
    so the workers go even where the supervisor is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        *,
        listener: socket.socket,
        started: Callable[[], None],
    ) -> None:
        """
        listener: what the workers serve, under the same file descriptor; started: called once
        every worker serves for the first time.
        """
        self._command = tuple(command)
        self._workers = workers
        self._announce = started
        self._listener = listener
        self._running: set[asyncio.subprocess.Process] = set()
        self._serving = 0
        self._announced = False
        self._one_decided = asyncio.Event()
        self._stopping = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """
        Supervise until SIGTERM or SIGINT, then pass it on and wait for all.

        The result is 0, or the exit code of a worker that failed: by itself before all served
        for the first time (then the others are drained), or while draining.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        try:
            async with asyncio.TaskGroup() as all_of_them:
                all_of_them.create_task(self._keep_one())
                # What one cannot do, all cannot: it is said once.
                await self._one_decided.wait()
                for _ in range(self._workers - 1):
                    all_of_them.create_task(self._keep_one())
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return self._code

    def _stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._one_decided.set()
        # Nobody else would take what is connected from now on.
        self._listener.close()
        for process in self._running:
            _send(process, number)

    async def _keep_one(self) -> None:
        while not self._stopping.is_set():
            served, code = await self._run_one()
            if self._stopping.is_set() and not served:
                # It was told to stop before it could mind that: it had nothing to drain.
                return
            if self._stopping.is_set() or not self._announced:
                self._code = self._code or (code if code >= 0 else 1)
                self._stop()
                return
            _log.warning("a worker ended and is started anew", code=code)
            if not served:
                await self._pause()

    async def _run_one(self) -> tuple[bool, int]:
        """Run one process to its end: whether it served, and its exit code."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[self._listener.fileno()],
            # Ctrl-C reaches the supervisor alone, which passes it on: once each.
            process_group=0,
        )
        assert process.stdout is not None
        self._running.add(process)
        if self._stopping.is_set():
            _send(process, signal.SIGTERM)
        try:
            served = bool(await process.stdout.readline())
            if served:
                self._count_serving()
            async for line in process.stdout:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            return served, await process.wait()
        finally:
            self._running.discard(process)

    def _count_serving(self) -> None:
        self._serving += 1
        self._one_decided.set()
        if self._serving == self._workers:
            self._announced = True
            self._announce()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETRY):
                await self._stopping.wait()


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Its own send_signal() asks first whether it lives, and may so take the exit code from wait().
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def supervise(
    settings: Settings, listener: socket.socket, workers: int, started: Callable[[], None]
) -> int:
    """Have `workers` processes of `tallywire serve` serve `listener`; the exit code of it all."""
    command = [sys.executable, "-m", "tallywire", "serve", "--listener", str(listener.fileno())]
    command += ["--host", settings.host, "--port", str(settings.port)]
    return asyncio.run(Supervisor(command, workers, listener=listener, started=started).run())


def end_with_supervisor(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Have `stop` called in `loop` once the supervisor, which holds our standard input, is gone."""
    lifeline = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(lifeline, 1024):
            loop.remove_reader(lifeline)
            stop()

    loop.add_reader(lifeline, readable)
