"""A screen: follows Tallywire's WebSocket, and comes back where it was after a lost connection."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from .view import DoesNotFollow, View

_log = logging.getLogger(__name__)

_NOT_AUTHENTICATED = 4001
# Close codes after which coming back would help nobody.
_FINAL = {1009, 4002, 4003, 4009, 4010}
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0


class ScreenEnded(Exception):
    """Tallywire closed the connection for good."""


class Screen:
    """
    Keeps a View up to date as long as it is open: `async with Screen(...) as screen`.

    arrivals: when the update of a position came, on the clock of time.perf_counter().
    connections: how often it has connected; 1 = it was never lost.
    """

    def __init__(
        self,
        url: str,
        view: View,
        token: Callable[[], Awaitable[str]],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """url: ws://…/ws; token: asked for at each connection, so that it is a fresh one."""
        self.view = view
        self.arrivals: dict[int, float] = {}
        self.connections = 0
        self._url = url
        self._token = token
        self._jitter = jitter
        self._news = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._following = asyncio.create_task(self._follow())
        try:
            await self._until(lambda: self.view.ready, 15.0, "its beginning")
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()
        if error is None and self._following is not None and not self._following.cancelled():
            self._following.result()

    async def until(self, position: int, within: float = 15.0) -> None:
        """
        Wait until everything up to `position` has been shown; within: seconds.

        Raises TimeoutError, or ScreenEnded where it cannot come any more.
        """
        await self._until(lambda: self.view.position >= position, within, f"position {position}")

    async def _until(self, condition: Callable[[], bool], within: float, what: str) -> None:
        assert self._following is not None
        try:
            async with asyncio.timeout(within):
                while not condition():
                    if self._following.done():
                        self._following.result()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"the screen waited {within:g} s for {what}") from None

    async def _stop(self) -> None:
        assert self._following is not None
        self._following.cancel()
        await asyncio.wait([self._following])

    async def _follow(self) -> None:
        try:
            losses = unauthenticated = 0
            while True:
                before = self.view.position, self.view.ready
                code, wait = await self._connection()
                heard = before != (self.view.position, self.view.ready)
                losses = 1 if heard else losses + 1
                unauthenticated = unauthenticated + 1 if code == _NOT_AUTHENTICATED else 0
                if unauthenticated > 2:
                    raise ScreenEnded("Tallywire does not take the site's tokens (4001)")
                if code in _FINAL:
                    raise ScreenEnded(f"Tallywire closed the connection for good ({code})")
                if wait is None:
                    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(losses - 1, 10))
                    # Not all screens of a lost server come back at once.
                    wait = longest * (1 - self._jitter() / 2)
                await asyncio.sleep(wait)
        finally:
            self._news.set()

    async def _connection(self) -> tuple[int | None, float | None]:
        """One connection to its end: the close code, and the wait in seconds that was asked for."""
        wait = None
        try:
            async with connect(
                self._url, subprotocols=[Subprotocol("tallywire.v1")], max_size=None, proxy=None
            ) as socket:
                self.connections += 1
                try:
                    await socket.send(json.dumps(self.view.connect_message(await self._token())))
                    async for raw in socket:
                        arrived = time.perf_counter()
                        message = json.loads(raw)
                        if message["type"] == "server_shutdown":
                            wait = message["reconnect_after_ms"] / 1000
                        for update in self.view.receive(message):
                            self.arrivals[update["position"]] = arrived
                        self._news.set()
                except ConnectionClosed:
                    pass
                except DoesNotFollow as doubt:
                    _log.warning("%s: taking everything anew", doubt)
                    self.view.forget()
            return socket.close_code, wait
        except (OSError, TimeoutError, InvalidHandshake):
            return None, wait
