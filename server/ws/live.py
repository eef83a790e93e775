"""Live delivery: each transaction of the feed, framed once per audience, to those who watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from .. import metrics
from ..ledger.clock import Clock, parse_rfc3339
from ..ledger.updates import AdminUpdates, Committed, Gather, UpdateFilter
from . import frames
from .connection import Connection
from .frames import Cursor, Frame
from .tail import Seen, Tail

GATHER_SECONDS = 0.050

FellBehind = Callable[[Connection], None]


class _Group:
    """The live monitors with one filter, who share their messages."""

    def __init__(self) -> None:
        self.connections: dict[Connection, None] = {}
        self.gather = Gather(frames.GATHER_BYTES)
        self.timer: asyncio.TimerHandle | None = None


class Live:
    """
    The feed's position as it is known here, and the connections that move with it.

    A live connection was shown everything up to `cursor`: each transaction goes to it in the
    same step in which the cursor moves, save what its monitor gathers for at most 50 ms. One
    that has no room falls behind: it leaves, and `fell_behind` has it caught up.
    """

    def __init__(self, clock: Clock, fell_behind: FellBehind) -> None:
        self.cursor: Cursor | None = None
        self.tail = Tail()
        self._clock = clock
        self._fell_behind = fell_behind
        self._watching: dict[str, dict[Connection, None]] = {}
        self._groups: dict[UpdateFilter, _Group] = {}
        self._others: dict[Connection, None] = {}
        self._advanced: asyncio.Future[None] | None = None

    def begin(self, epoch: str, position: int) -> None:
        """Start at `position` of `epoch`; every live connection has to begin anew."""
        self.cursor = Cursor(epoch, position)
        self.tail.clear()
        for connection in self._everybody():
            self._fall_behind(connection, connection.session.examined)
        self._wake_waiting()

    def deliver(self, epoch: str, transactions: Sequence[Committed]) -> None:
        """Pass on the next transactions, in order, directly above the cursor."""
        sent = False
        for committed in transactions:
            seen = Seen(committed, committed.users())
            self.cursor = Cursor(epoch, committed.position)
            self.tail.append(seen)
            sent = self._to_users(seen) or sent
            if self._groups:
                self._to_monitors(committed)
        if sent:
            self._observe_delay(transactions[-1])
        self._wake_waiting()

    async def advanced(self) -> None:
        """Wait until the cursor has moved."""
        if self._advanced is None:
            self._advanced = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._advanced)

    def add(self, connection: Connection) -> None:
        """Let `connection`, which was shown everything up to the cursor, go live."""
        connection.live = True
        if connection.request.balances:
            self._watching.setdefault(connection.user_id, {})[connection] = None
        if connection.request.monitor:
            wanted = connection.request.filter
            if wanted in self._groups:
                # What is gathered already was shown to the new one while it caught up.
                self._flush(self._groups[wanted])
            # Looked up after that: where all others fell behind by it, the group is gone.
            self._groups.setdefault(wanted, _Group()).connections[connection] = None
        if not connection.request.positions:
            self._others[connection] = None

    def remove(self, connection: Connection) -> None:
        """`connection` is not live any more."""
        connection.live = False
        self._others.pop(connection, None)
        watching = self._watching.get(connection.user_id)
        if watching is not None:
            watching.pop(connection, None)
            if not watching:
                del self._watching[connection.user_id]
        group = self._groups.get(connection.request.filter)
        if group is not None:
            group.connections.pop(connection, None)
            if not group.connections:
                _cancel_timer(group)
                del self._groups[connection.request.filter]

    def bring_current(self, connection: Connection) -> None:
        """Send what is gathered for the live `connection`, so that its cursor may move up."""
        if connection.request.monitor:
            self._flush(self._groups[connection.request.filter])
        if connection.live and self.cursor is not None:
            connection.session.examine(self.cursor.position)

    def _to_users(self, seen: Seen) -> bool:
        watched = [user for user in seen.users if user in self._watching]
        if not watched:
            return False
        committed, cursor = seen.committed, self._current()
        if committed.type == frames.REPAIR:
            # Its message needs a read: that is the work of catching up.
            for user in watched:
                for connection in tuple(self._watching[user]):
                    self._fall_behind(connection, cursor.position - 1)
            return False
        bodies = dict(committed.user_bodies())
        for user in watched:
            frame = frames.update(cursor, committed.type, bodies[user])
            self._to_user(frame, tuple(self._watching[user]))
        return True

    def _to_user(self, frame: Frame, connections: Sequence[Connection]) -> None:
        position = self._current().position
        unmoving = frame.unmoving()
        for connection in connections:
            if connection.request.latest or not connection.has_room(len(frame.data)):
                self._fall_behind(connection, position - 1)
            elif connection.request.monitor:
                connection.send(unmoving)
                connection.updates_through = position
            else:
                connection.send(frame)

    def _to_monitors(self, committed: Committed) -> None:
        cursor = self._current()
        updates = AdminUpdates(cursor.epoch, committed)
        for wanted, group in tuple(self._groups.items()):
            passing = updates.passing(wanted)
            if not passing:
                continue
            if not group.gather.takes(passing):
                self._flush(group, cursor.position - 1)
            group.gather.add(passing)
            if group.timer is None:
                loop = asyncio.get_running_loop()
                group.timer = loop.call_later(GATHER_SECONDS, self._flush, group)

    def _flush(self, group: _Group, to: int | None = None) -> None:
        _cancel_timer(group)
        updates = group.gather.take()
        if not updates:
            return
        cursor = self._current() if to is None else Cursor(self._current().epoch, to)
        made: dict[int, Frame] = {}
        for connection in tuple(group.connections):
            told = connection.session.cursor
            assert told is not None
            frame = made.get(told.position)
            if frame is None:
                frame = made[told.position] = frames.monitor(cursor, told.position, updates)
            if connection.has_room(len(frame.data)):
                connection.send(frame)
            else:
                self._fall_behind(connection, self._current().position)

    def _fall_behind(self, connection: Connection, examined: int) -> None:
        session = connection.session
        if connection.request.monitor:
            # Its monitor goes on from what it was told; its own messages may have gone further.
            examined = session.cursor.position if session.cursor is not None else 0
        session.examined = examined
        self.remove(connection)
        self._fell_behind(connection)

    def _everybody(self) -> list[Connection]:
        found = dict(self._others)
        for watching in self._watching.values():
            found.update(watching)
        for group in self._groups.values():
            found.update(group.connections)
        return list(found)

    def _current(self) -> Cursor:
        assert self.cursor is not None
        return self.cursor

    def _wake_waiting(self) -> None:
        if self._advanced is not None:
            self._advanced.set_result(None)
            self._advanced = None

    def _observe_delay(self, committed: Committed) -> None:
        stamp = committed.encoded.rpartition(b'"timestamp":"')[2][:27].decode("ascii", "replace")
        try:
            delay = self._clock.now() - parse_rfc3339(stamp)
        except ValueError:
            return
        metrics.COMMIT_TO_SEND_SECONDS.observe(max(delay.total_seconds(), 0.0))


def _cancel_timer(group: _Group) -> None:
    if group.timer is not None:
        group.timer.cancel()
        group.timer = None
