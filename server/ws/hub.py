"""The hub: every connection of this process, from its opening to its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from .. import metrics
from ..ledger.clock import Clock
from ..sync.feed import Feed
from . import closes, frames
from .closes import Close
from .connection import Bounds, Connection, Transport, Unsent
from .joining import Joining, Reader
from .live import Live
from .messages import Connect
from .prices import Board, PriceStream
from .protocol import Authenticate, Limits, Session

if TYPE_CHECKING:
    from ..auth import Principal

USER_CONNECTIONS = 20
SHUTDOWN_SPREAD = 5.0
SHUTDOWN_WITHIN = 10.0
LEAST_RECONNECT_MS = 500


class Elsewhere(Protocol):
    """What counts a user's connections in the other processes too."""

    async def admit(self, user_id: str, count: int) -> bool:
        """Whether the user may have one more, the `count`-th in this process."""

    async def others(self) -> Mapping[str, int]:
        """How many connections each user has in the other processes, as far as they are reached."""

    def left(self, user_id: str, count: int) -> None:
        """The user has `count` connections in this process from now on."""


class Hub:
    """
    Serves the connections of this process from `feed` (live) and `reader` (the rest).

    It subscribes to the feed when it is built, so it is built before the feed starts.
    """

    def __init__(
        self,
        reader: Reader,
        feed: Feed,
        clock: Clock,
        *,
        board: Board | None = None,
        user_connections: int = USER_CONNECTIONS,
        elsewhere: Elsewhere | None = None,
        limits: Limits | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """
        board: the newest prices, None where there are none; user_connections: how many
        connections one user may hold in this process; elsewhere: who minds the other processes,
        None where there are none.
        """
        self._clock = clock
        self._user_connections = user_connections
        self._elsewhere = elsewhere
        self._limits = limits or Limits()
        self._bounds = bounds or Bounds()
        self._unsent = Unsent()
        self._connections: dict[Connection, None] = {}
        self._by_user: dict[str, dict[Connection, None]] = {}
        self._shutting_down = False
        self._all_left = asyncio.Event()
        self._live = Live(clock, self._fell_behind)
        self._joining = Joining(
            reader, self._live, PriceStream(board), clock, self.connected, feed.look
        )
        feed.subscribe(self._live.deliver, self._live.begin)

    # What the process asks.

    def connected(self) -> dict[str, int]:
        """How many ``users`` and ``connections`` are on."""
        connections = sum(map(len, self._by_user.values()))
        return {"users": len(self._by_user), "connections": connections}

    async def connections(self) -> Mapping[str, int]:
        """How many connections each user has here and in the processes that are reached."""
        counts = Counter({user_id: len(mine) for user_id, mine in self._by_user.items()})
        if self._elsewhere is not None:
            counts.update(await self._elsewhere.others())
        return counts

    def connections_of(self, user_id: str) -> list[Connection]:
        """The user's accepted connections."""
        return list(self._by_user.get(user_id, ()))

    def disconnect(self, user_id: str) -> int:
        """Close the user's connections as revoked (4010); how many there were."""
        connections = self.connections_of(user_id)
        for connection in connections:
            self._close(connection, closes.REVOKED)
        return len(connections)

    async def shutdown(self, spread: float = SHUTDOWN_SPREAD) -> None:
        """
        Tell every client to come back, each a little later than the one before within `spread`
        seconds, close all (1012), and wait until they are gone or `SHUTDOWN_WITHIN` has passed.
        """
        self._shutting_down = True
        self._all_left.clear()
        connections = list(self._connections)
        for number, connection in enumerate(connections):
            wait = LEAST_RECONNECT_MS + int(1000 * spread * number / len(connections))
            self._send_home(connection, wait)
        if self._connections:
            try:
                async with asyncio.timeout(SHUTDOWN_WITHIN):
                    await self._all_left.wait()
            except TimeoutError:
                pass

    # What an endpoint does.

    def open(
        self,
        transport: Transport,
        authenticate: Authenticate,
        *,
        kind: str = "websocket",
        principal: Principal | None = None,
        refused: Close | None = None,
    ) -> Connection:
        """
        A new connection on `transport`. The endpoint hands it what arrives, awaits its `run()`,
        and in any case calls `leave`. principal: who the upgrade request proved to be, if it did;
        refused: why what it carried proves nothing.
        """
        session = Session(
            self._clock,
            authenticate,
            self._now(),
            principal=principal,
            refused=refused,
            limits=self._limits,
        )
        connection = Connection(session, transport, kind, self._bounds, self._unsent)
        self._connections[connection] = None
        metrics.CONNECTIONS.labels(kind).inc()
        self._arm(connection)
        if self._shutting_down:
            self._send_home(connection, LEAST_RECONNECT_MS)
        return connection

    def connect(self, connection: Connection, connect: Connect) -> None:
        """The request that opened `connection` says `connect` too; raises UnreadableMessage."""
        connection.session.connect(connect, self._now())
        self.attend(connection)

    def receive_text(self, connection: Connection, text: str) -> None:
        """A text message arrived on `connection`."""
        connection.session.receive_text(text, self._now())
        self.attend(connection)

    def receive_binary(self, connection: Connection) -> None:
        """A binary message arrived on `connection`."""
        connection.session.receive_binary()
        self.attend(connection)

    def attend(self, connection: Connection) -> None:
        """Act on what the session of `connection` made of its input."""
        for _ in connection.session.events_received():
            self._accept(connection)
        connection.wake()
        self._arm(connection)

    def leave(self, connection: Connection) -> None:
        """`connection` is over: forget it."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        metrics.CONNECTIONS.labels(connection.kind).dec()
        closed = connection.session.closed
        if closed is not None:
            metrics.CLOSES.labels(str(closed.code)).inc()
        if connection.timer is not None:
            connection.timer.cancel()
        for task in (connection.catching_up, connection.telling_prices):
            if task is not None:
                task.cancel()
        if connection.live:
            self._live.remove(connection)
        if connection.session.request is not None:
            self._forget_user(connection)
        connection.release()
        if not self._connections:
            self._all_left.set()

    # Inside.

    def _accept(self, connection: Connection) -> None:
        user_id = connection.user_id
        if len(self._by_user.get(user_id, ())) >= self._user_connections:
            connection.session.close(closes.TOO_MANY)
            return
        mine = self._by_user.setdefault(user_id, {})
        mine[connection] = None
        connection.catching_up = asyncio.create_task(self._admit(connection, len(mine)))

    async def _admit(self, connection: Connection, count: int) -> None:
        if self._elsewhere is not None and not await self._elsewhere.admit(
            connection.user_id, count
        ):
            self._close(connection, closes.TOO_MANY)
            return
        await self._joining.join(connection)

    def _fell_behind(self, connection: Connection) -> None:
        connection.catching_up = asyncio.create_task(self._joining.follow(connection))

    def _forget_user(self, connection: Connection) -> None:
        mine = self._by_user.get(connection.user_id, {})
        mine.pop(connection, None)
        if not mine:
            self._by_user.pop(connection.user_id, None)
        if self._elsewhere is not None:
            self._elsewhere.left(connection.user_id, len(mine))

    def _close(self, connection: Connection, why: Close) -> None:
        connection.session.close(why)
        connection.wake()

    def _send_home(self, connection: Connection, reconnect_after_ms: int) -> None:
        connection.session.send(frames.server_shutdown(reconnect_after_ms))
        self._close(connection, closes.RESTARTING)

    def _arm(self, connection: Connection) -> None:
        due = connection.session.deadline(self._now())
        if connection.timer is not None:
            if connection.due == due:
                return
            connection.timer.cancel()
        loop = asyncio.get_running_loop()
        connection.due = due
        connection.timer = loop.call_at(due, self._tick, connection)

    def _tick(self, connection: Connection) -> None:
        connection.timer = None
        # A loop may fire a hair before the time that it was asked for.
        now = max(self._now(), connection.due)
        if connection.is_stuck(now):
            self._close(connection, closes.STUCK)
            connection.give_up()
        elif connection.live:
            self._live.bring_current(connection)
        connection.session.tick(now)
        connection.wake()
        if connection.session.closed is None:
            self._arm(connection)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
