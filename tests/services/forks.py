"""
`tallywire` as a process of its own, forked from one that has imported everything already.

A process that starts by itself spends half a second of CPU on imports; of a run's thousand that is
most of what they cost. A fork is the same process from `cli.main` on: its own pid, environment,
working directory, standard streams and end.

    with Forks() as forks:
        process = forks.start(["serve", "--port", "0"], environment, folder, stdout=log, stderr=log)
        process.pid, process.poll(), process.send_signal(...), process.wait(10)

Tests get them from the fixtures `server` and `tallywire`. What is about starting itself runs
`COMMAND` of services/server.py: READMEs, workers, supervised processes.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NoReturn, Self

from .processes import die_with_parent, stop_process

_ROOT = Path(__file__).parent.parent.parent
_REQUEST_BYTES = 1 << 17
_PR_SET_PDEATHSIG = 1
# What is imported late, by name.
_DRIVERS = (
    "alembic.command",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)


class Fork:
    """A process that was forked; as subprocess.Popen, as far as tests need it."""

    def __init__(self, status: IO[str]) -> None:
        """status: says the pid, then how it ended."""
        self._status = status
        self.pid = int(status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or the number of the signal that ended it, negative; None = it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """As `poll`, once it has ended; subprocess.TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("tallywire", timeout or 0)
            # Nothing: whoever waited for it was killed, and it died with that.
            self.returncode = int(self._status.readline() or -signal.SIGKILL)
            self._status.close()
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send it a signal; nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL; nothing where it has ended."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that all are forked from; they end with it, and it ends with the test process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """environment: decides what the interpreter reads of it at its start."""
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                die_with_parent(command, signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                cwd=_ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._requests.close()
        stop_process(self._process, signal.SIGKILL, seconds=10)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> Fork:
        """Run `tallywire ARGUMENTS` in `folder`; environment: all of it. Threads may share this."""
        asked = json.dumps([list(arguments), dict(environment), str(folder)]).encode()
        assert len(asked) < _REQUEST_BYTES
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._requests, [asked], [stdout.fileno(), stderr.fileno(), writing])
        finally:
            os.close(writing)
        return Fork(os.fdopen(reading, encoding="ascii"))

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        """As `start`, to its end: what it printed, and its exit code; at most a minute."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            process = self.start(arguments, environment, folder, stdout=stdout, stderr=stderr)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(
                list(arguments), process.wait(), stdout.read().decode(), stderr.read().decode()
            )


def _main() -> None:
    """Fork a `tallywire` for each request; in those processes this returns when all is set up."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    _import_everything()
    assert threading.active_count() == 1
    while True:
        asked, streams, *_ = socket.recv_fds(requests, _REQUEST_BYTES, 3)
        if not asked:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            _keep(asked, *streams)
            return
        for stream in streams:
            os.close(stream)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _import_everything() -> None:
    tallywire = importlib.import_module("tallywire")
    for module in pkgutil.walk_packages(tallywire.__path__, "tallywire."):
        if not module.name.startswith(("tallywire.__main__", "tallywire.ledger.migrations.")):
            importlib.import_module(module.name)
    for driver in _DRIVERS:
        importlib.import_module(driver)
    gc.collect()
    gc.freeze()


def _keep(asked: bytes, stdout: int, stderr: int, status: int) -> None:
    """Fork once more, and tell by `status` how that process ends; it alone returns from here."""
    _die_with_parent()
    pid = os.fork()
    if pid:
        os.write(status, f"{pid}\n".encode())
        _, ended = os.waitpid(pid, 0)
        os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
        os._exit(0)
    os.close(status)
    _die_with_parent()
    _become(asked, stdout, stderr)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _become(asked: bytes, stdout: int, stderr: int) -> None:
    """What a process has from who starts it."""
    arguments, environment, folder = json.loads(asked)
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["tallywire", *arguments]
    sys.path[0] = folder
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run() -> NoReturn:
    from tallywire.cli import main

    main()


if __name__ == "__main__":
    _main()
    _run()
