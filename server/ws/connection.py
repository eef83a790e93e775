"""One connection: its session, what it has not sent yet, and the writing of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from .. import metrics
from .closes import Close
from .frames import Frame
from .messages import Request
from .protocol import Session

SLICE_BYTES = 16_384
# After a close, how long the peer may take for what is still queued and for the closing itself.
CLOSE_WITHIN = 5.0


class Transport(Protocol):
    """Where frames go: the one seam between the hub and a kind of socket."""

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send `frames` in order; returns once there is room for more."""

    async def close(self, why: Close) -> None:
        """End the connection, telling why."""


class Bounds(Struct, frozen=True, kw_only=True):
    """
    How much may wait unsent, in bytes: for one connection, and in the whole process; and for
    how many seconds a connection with unsent frames may take nothing at all.
    """

    connection_bytes: int = 262_144
    total_bytes: int = 134_217_728
    stuck_after: float = 30.0


class Unsent:
    """The bytes that wait in the whole process."""

    def __init__(self) -> None:
        self.bytes = 0


class Connection:
    """
    One screen's connection.

    live: the feed's transactions are sent to it as they come; else a task brings it up to them.
    replay_to: messages up to this position are marked as replayed. updates_through: with a
    monitor, the user's own messages up to this position were sent before the monitor's.
    telling_prices: the task that tells it of prices, if it wants them.
    """

    def __init__(
        self, session: Session, transport: Transport, kind: str, bounds: Bounds, unsent: Unsent
    ) -> None:
        """kind: ``websocket`` or ``sse``; unsent: shared by all connections of the process."""
        self.session = session
        self.kind = kind
        self.live = False
        self.replay_to = 0
        self.updates_through = 0
        self.unsent = 0
        self.catching_up: asyncio.Task[None] | None = None
        self.telling_prices: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.due = 0.0
        self._transport = transport
        self._bounds = bounds
        self._total = unsent
        self._in_flight = 0
        self._moved_at = asyncio.get_running_loop().time()
        self._wake = asyncio.Event()
        self._sent: asyncio.Future[None] | None = None
        self._scope: asyncio.Timeout | None = None
        self._ended = False

    @property
    def user_id(self) -> str:
        """Whose connection it is; only once it was accepted."""
        principal = self.session.principal
        assert principal is not None
        return principal.user_id

    @property
    def request(self) -> Request:
        """What it is to be served; only once it was accepted."""
        assert self.session.request is not None
        return self.session.request

    def has_room(self, size: int) -> bool:
        """Whether a frame of `size` bytes may be queued; an empty queue takes any."""
        return self.unsent == 0 or (
            self.unsent + size <= self._bounds.connection_bytes
            and self._total.bytes + size <= self._bounds.total_bytes
        )

    def send(self, frame: Frame) -> None:
        """Queue `frame`; the caller has seen to `has_room`."""
        self.session.send(frame)
        self.wake()

    def wake(self) -> None:
        """Have the writer see what the session wants sent, or that it is closed."""
        if self.unsent == 0:
            self._moved_at = asyncio.get_running_loop().time()
        self._account()
        self._wake.set()
        if self.session.closed is not None and self._scope is not None:
            self._give_up_within(CLOSE_WITHIN)

    async def drained(self) -> None:
        """Wait until little is left unsent."""
        while self.unsent > self._bounds.connection_bytes // 4:
            await self._less_unsent()

    async def clear(self) -> None:
        """Wait until nothing is left unsent."""
        while self.unsent > 0:
            await self._less_unsent()

    async def room(self, size: int) -> None:
        """Wait until a frame of `size` bytes may be queued."""
        while not self.has_room(size):
            await self._less_unsent()

    async def ready(self) -> None:
        """Wait until there is something to send or the session is closed; only before `run`."""
        while self.unsent == 0 and self.session.closed is None:
            self._wake.clear()
            await self._wake.wait()

    def is_stuck(self, now: float) -> bool:
        """Whether frames wait and none was taken for too long; now: the loop's time."""
        return self.unsent > 0 and now - self._moved_at >= self._bounds.stuck_after

    async def run(self) -> None:
        """Write until the session is closed and all is sent, or the peer is gone."""
        try:
            async with asyncio.timeout(None) as self._scope:
                self.wake()
                await self._write()
        except TimeoutError:
            pass
        finally:
            self._scope = None
        if self.session.closed is not None and not self._ended:
            await self._close_transport(self.session.closed)

    def peer_left(self) -> None:
        """The peer is gone: nothing more is to be written."""
        self._ended = True
        if self._scope is not None:
            self._give_up_within(0.0)

    def give_up(self) -> None:
        """The peer takes nothing: write no more, just close."""
        if self._scope is not None:
            self._give_up_within(0.0)

    def release(self) -> None:
        """Nothing of it counts as unsent any more."""
        self._total.bytes -= self.unsent
        self.unsent = 0

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._ended:
            await self._wake.wait()
            self._wake.clear()
            while sent := self.session.data_to_send(SLICE_BYTES):
                self._in_flight = sum(len(frame.data) for frame in sent)
                await self._transport.send(sent)
                _count_sent(sent, self._in_flight)
                self._in_flight = 0
                self._moved_at = loop.time()
                self._account()
            if self.session.closed is not None:
                return

    async def _close_transport(self, why: Close) -> None:
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._transport.close(why)
        except TimeoutError:
            pass

    def _account(self) -> None:
        unsent = self.session.queued_bytes + self._in_flight
        self._total.bytes += unsent - self.unsent
        self.unsent = unsent
        if self._sent is not None:
            self._sent.set_result(None)
            self._sent = None

    async def _less_unsent(self) -> None:
        if self._sent is None:
            self._sent = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._sent)

    def _give_up_within(self, seconds: float) -> None:
        assert self._scope is not None
        when = asyncio.get_running_loop().time() + seconds
        planned = self._scope.when()
        if not self._scope.expired() and (planned is None or when < planned):
            self._scope.reschedule(when)


def _count_sent(sent: Sequence[Frame], size: int) -> None:
    for kind, count in Counter(frame.type for frame in sent).items():
        metrics.SENT.labels(kind).inc(count)
    metrics.SENT_BYTES.inc(size)
