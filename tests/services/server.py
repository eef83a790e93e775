"""
The real server for the tests: `tallywire serve` as a process of its own, on a free loopback port.

Tests get it from the fixture `server`, which stops every process at the end of the test:

    running = await server(database_url=database_url, env={"TALLYWIRE_USER_RATE": "5"})
    running.base_url, running.ws_url, running.pid, running.log_text()
    running.token("alice"), running.headers("root", "admin")
    await running.kill9(); await running.restart()        # the same port and database
    assert await running.terminate() == 0                 # SIGTERM, drained

Everything here is async, so that proxies and clients in the test's own loop go on meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import jwt

from .forks import Fork, Forks
from .processes import die_with_parent, stop_process

SECRET = "a-secret-for-tests-of-32-characters-or-more"
COMMAND = (sys.executable, "-m", "tallywire")
DEADLINE = 20.0

_URL = re.compile(r"http://[^\s/]+:(\d+)")


def server_environment(
    database_url: str, *, secret: str | None = SECRET, env: Mapping[str, str] | None = None
) -> dict[str, str]:
    """
    What a server's process sees of the environment: nothing of the developer's own settings.

    secret: TALLYWIRE_SECRET; None = development mode. env: further variables, which win.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    settings = {"DATABASE_URL": database_url, "PYTHONUNBUFFERED": "1"}
    if secret is not None:
        settings["TALLYWIRE_SECRET"] = secret
    return {**kept, **settings, **(env or {})}


class RunningServer:
    """One `tallywire serve`: made by the fixture `server`, which also calls `start`."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        secret: str | None = SECRET,
        forks: Forks | None = None,
    ) -> None:
        """
        folder: an existing folder of the process's own: its working directory and its log.
        environment: all of it, as from `server_environment`; arguments: after `serve`.
        secret: signs the tokens that `token` makes; None = development mode (`dev_token`).
        forks: start it as one of these; None = as a program by itself.
        """
        self.folder = folder
        self.log = folder / "server.log"
        self.secret = secret
        self.port = 0
        self._environment = dict(environment)
        self._arguments = list(arguments)
        self._forks = forks
        self._process: subprocess.Popen[bytes] | Fork | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        """The address of its database."""
        return self._environment["DATABASE_URL"]

    @property
    def ws_url(self) -> str:
        """The address of the WebSocket."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the last process ended; None while it runs."""
        return self._process.poll() if self._process else None

    def log_text(self) -> str:
        """Everything that the server has printed, restarts included."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def token(self, user: str, role: str = "user", *, ttl: int = 3600, issued_at: int = 0) -> str:
        """
        A signed JWT for `user`.

        ttl: seconds until it expires, negative = expired; issued_at: Unix seconds, 0 = now.
        """
        assert self.secret is not None, "development mode: use dev_token()"
        now = int(time.time())
        claims = {"sub": user, "role": role, "iat": issued_at or now, "exp": now + ttl}
        return jwt.encode(claims, self.secret.split(",")[0], algorithm="HS256")

    def headers(self, user: str, role: str = "user") -> dict[str, str]:
        """The Authorization header of `token(user, role)`."""
        return {"Authorization": f"Bearer {self.token(user, role)}"}

    async def dev_token(self, user: str, role: str = "user") -> str:
        """A token from `POST /dev/token`, which there is in development mode only."""
        async with httpx.AsyncClient() as client:
            body = {"user_id": user, "role": role}
            answer = await client.post(f"{self.base_url}/dev/token", json=body)
        token: str = answer.raise_for_status().json()["token"]
        return token

    async def start(self, *, ready: bool = True) -> None:
        """
        Start the process and wait until it listens and, with `ready`, until /readyz answers 200.

        RuntimeError with the log where it ends or is not ready within 20 seconds.
        """
        seen = len(self.log_text())
        self._process = self._spawn()
        deadline = time.monotonic() + DEADLINE
        while (address := _URL.search(self.log_text(), seen)) is None:
            await self._tick(deadline)
        self.port = int(address[1])
        if ready:
            await self.wait_ready(deadline)

    def _spawn(self) -> subprocess.Popen[bytes] | Fork:
        serve = ["serve", "--host", "127.0.0.1", "--port", str(self.port), *self._arguments]
        with self.log.open("ab") as log:
            if self._forks is not None:
                return self._forks.start(
                    serve, self._environment, self.folder, stdout=log, stderr=log
                )
            return subprocess.Popen(
                die_with_parent([*COMMAND, *serve], signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment,
                start_new_session=True,
            )

    async def wait_ready(self, deadline: float | None = None) -> None:
        """Wait until /readyz answers 200; deadline: of time.monotonic(), 20 s from now if None."""
        deadline = deadline or time.monotonic() + DEADLINE
        async with httpx.AsyncClient(timeout=2) as client:
            while True:
                try:
                    if (await client.get(f"{self.base_url}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await self._tick(deadline)

    async def _tick(self, deadline: float) -> None:
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise RuntimeError(f"the server ended with {code}:\n{self.log_text()}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server is not ready:\n{self.log_text()}")
        await asyncio.sleep(0.02)

    async def wait_exit(self, seconds: float = DEADLINE) -> int:
        """The exit code, once the process has ended; TimeoutError after `seconds`."""
        assert self._process is not None, "the server was not started"
        # Not asyncio's own subprocess: this process may outlive the loop that started it.
        async with asyncio.timeout(seconds):
            while (code := self._process.poll()) is None:
                await asyncio.sleep(0.02)
        return code

    async def terminate(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to drain and end; the result is the exit code (0 = in order)."""
        self.send_signal(signal_number)
        return await self.wait_exit()

    async def kill9(self) -> None:
        """Kill it without warning."""
        self.send_signal(signal.SIGKILL)
        await self.wait_exit()

    def send_signal(self, signal_number: signal.Signals) -> None:
        """Send any signal, such as SIGSTOP and SIGCONT."""
        assert self._process is not None, "the server is not running"
        self._process.send_signal(signal_number)

    async def restart(self, *, ready: bool = True) -> None:
        """Start again on the same port and database; SIGTERM first where it still runs."""
        if self.exit_code is None:
            await self.terminate()
        await self.start(ready=ready)

    def discard(self) -> None:
        """End it whatever its state: the end of a test."""
        if self._process is not None:
            stop_process(self._process, signal.SIGKILL, seconds=10)
