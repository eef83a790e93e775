"""The example applications, run started by the commands of their own READMEs."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from ..docs.pages import ROOT, texts
from ..services.processes import die_with_parent, free_port
from ..services.server import server_environment

DEADLINE = 30.0
# The tables of orders, by the folder of the example.
ORDERS = {"fastapi_shop": "orders", "django_shop": "shop_order"}


class Shop:
    """One example as a process of its own, on a free port; made by the fixture `shop`."""

    def __init__(self, name: str, database_url: str, folder: Path) -> None:
        """
        name: of its folder in examples/; folder: an existing one for its log and its HOME.
        database_url: an empty database, or one that a shop of this name has left.
        """
        self.folder = ROOT / "examples" / name
        self.orders = ORDERS[name]
        self.database_url = database_url
        self.environment = server_environment(
            database_url, secret=None, env={"HOME": str(folder), "PYTHONWARNINGS": "error"}
        )
        self.port = 0
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        start, *_ = texts(f"examples/{name}/README.md", "sh")
        _, self._run = start.strip().splitlines()

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    def log_text(self) -> str:
        """Everything that it has printed, restarts included."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def command(self, *words: str) -> str:
        """The output of a program of this environment in the example's folder, run to its end."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / words[0]), *words[1:]],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    async def start(self) -> None:
        """Migrate, start and wait until it answers; on another port each time."""
        self._process = self._spawn()
        deadline = time.monotonic() + DEADLINE
        async with httpx.AsyncClient(base_url=self.base_url) as client:
            while True:
                try:
                    if (await client.get("/users/0")).status_code == 404:
                        return
                except httpx.TransportError:
                    pass
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the shop did not start:\n{self.log_text()}")
                await asyncio.sleep(0.05)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.port = free_port()
        programs = shlex.quote(str(Path(sys.executable).parent))
        run = self._run.replace("../../.venv/bin/", f"{programs}/")
        with self._log.open("ab") as log:
            return subprocess.Popen(
                die_with_parent(
                    ["sh", "-c", re.sub(r"\b300\d\b", str(self.port), run)], signal.SIGKILL
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self.environment,
                start_new_session=True,
            )

    async def stop(self) -> None:
        """Ask it to end, and see it end in order."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        # uvicorn drains, and then ends by the signal that asked for it.
        assert await asyncio.to_thread(self._process.wait, DEADLINE) in (0, -signal.SIGTERM)
        assert "Traceback" not in self.log_text()

    def kill9(self) -> None:
        """Kill it with all its workers, without warning; nothing where it has ended."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
