"""A connection in memory between a client and a server's hub: in order, bounded, breakable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from tallywire.ws.closes import Close
from tallywire.ws.frames import Frame

from .faults import Faults
from .loop import Process

WINDOW = 2_000


class PipeClosed(Exception):
    """The connection has ended; `code` is None where nobody closed it."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Pipe:
    """Frames go down to the client, texts go up; at most about `WINDOW` bytes are on the way."""

    def __init__(self, client: Process, faults: Faults) -> None:
        self.closed = False
        self._client = client
        self._faults = faults
        self._server: Process | None = None
        self._receive: Callable[[str], None] = lambda text: None
        self._peer_left: Callable[[], None] = lambda: None
        self._waiting: deque[str] = deque()
        self._on_the_way: deque[str | PipeClosed] = deque()
        self._arrived: deque[str | PipeClosed] = deque()
        self._bytes = 0
        self._last_arrival = 0.0
        self._room = asyncio.Event()
        self._news = asyncio.Event()

    # The server's side.

    def opened(
        self, server: Process, receive: Callable[[str], None], peer_left: Callable[[], None]
    ) -> None:
        """The server has taken the connection: from now on it is told what arrives."""
        self._server, self._receive, self._peer_left = server, receive, peer_left
        if self.closed:
            peer_left()
        while self._waiting:
            receive(self._waiting.popleft())

    async def send(self, frames: Sequence[Frame]) -> None:
        """Take `frames`, waiting for room where the client is slow."""
        for frame in frames:
            while self._bytes > WINDOW and not self.closed:
                self._room.clear()
                await self._room.wait()
            if self.closed:
                return
            self._bytes += len(frame.data)
            self._put(frame.data.decode())

    async def close(self, why: Close) -> None:
        """Close; what was sent before arrives before."""
        if not self.closed:
            self._put(PipeClosed(why.code))

    # The client's side.

    def say(self, text: str) -> None:
        """Send a message up."""
        if self._server is None:
            self._waiting.append(text)
        elif not self.closed:
            self._server.call_later(self._faults.latency(), self._deliver_up, text)

    async def hear(self) -> str:
        """The next message; raises PipeClosed once there are no more."""
        while not self._arrived:
            self._news.clear()
            await self._news.wait()
        heard = self._arrived.popleft()
        if isinstance(heard, PipeClosed):
            self._arrived.append(heard)
            raise heard
        self._bytes -= len(heard.encode())
        self._room.set()
        return heard

    def cut(self) -> None:
        """Break it: some of what is on the way is lost, each side learns of it in a while."""
        if self.closed:
            return
        self.closed = True
        faults = self._faults
        for _ in range(faults.random.randint(0, len(self._on_the_way))):
            self._on_the_way.pop()
        self._on_the_way.append(PipeClosed(None))
        self._client.call_later(faults.between(0.0, 0.5), self._arrive_all)
        if self._server is not None:
            self._server.call_later(faults.between(0.0, 1.0), self._break_up)

    def _break_up(self) -> None:
        self._room.set()
        self._peer_left()

    def _deliver_up(self, text: str) -> None:
        if not self.closed:
            self._receive(text)

    def _put(self, what: str | PipeClosed) -> None:
        now = asyncio.get_running_loop().time()
        self._on_the_way.append(what)
        self._last_arrival = max(self._last_arrival, now + self._faults.latency())
        self._client.call_later(self._last_arrival - now, self._arrive)

    def _arrive(self) -> None:
        if self._on_the_way:
            self._arrived.append(self._on_the_way.popleft())
            self._news.set()

    def _arrive_all(self) -> None:
        while self._on_the_way:
            self._arrive()
