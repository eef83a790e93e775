"""Passing transactions on to one connection that catches up, as if it were live."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from ..ledger.objects import Balance
from ..ledger.transaction_types import TRADING_CONTROL
from ..ledger.updates import AdminUpdates, Committed, Gather
from . import frames
from .connection import Connection
from .frames import Cursor
from .tail import Seen


class _Left(Struct, frozen=True):
    """What is read of an UPDATE: the balances that its changes left."""

    changes: list[Balance]


_decode_left = msgspec.json.Decoder(_Left).decode


class Stop:
    """Why passing on had to stop before a transaction: no room, or a repair that needs a read."""

    def __init__(self, size: int = 0, repair: Committed | None = None) -> None:
        """size: the bytes for which there was no room."""
        self.size = size
        self.repair = repair


class Passing:
    """One stretch of transactions on its way to one connection, in order."""

    def __init__(self, connection: Connection, epoch: str) -> None:
        self._connection = connection
        self._epoch = epoch
        self._gather = Gather(frames.GATHER_BYTES)
        self._latest: dict[str, Balance] = {}

    def take(self, seen: Seen) -> Stop | None:
        """Queue what the connection is to see of `seen`; a Stop where that cannot be done now."""
        own = self._own(seen)
        if own is not None and seen.committed.type == frames.REPAIR:
            return Stop(repair=seen.committed)
        request = self._connection.request
        stop = None
        if own is not None and not request.latest:
            stop = self._send_own(seen.committed, own)
        if stop is None and request.monitor:
            stop = self._take_for_monitor(seen.committed)
        if stop is not None:
            return stop
        if own is not None and request.latest:
            self._take_latest(seen.committed, own)
        self._connection.session.examine(seen.committed.position)
        return None

    def finish(self) -> None:
        """Send what is gathered up to the last transaction taken: the user's own, then the rest."""
        self._finish_latest()
        updates = self._gather.take()
        session = self._connection.session
        if updates and session.cursor is not None:
            cursor = Cursor(self._epoch, session.examined)
            self._connection.send(frames.monitor(cursor, session.cursor.position, updates))

    def _own(self, seen: Seen) -> bytes | None:
        """The user's own UPDATE, where there is one that was not sent yet."""
        connection = self._connection
        if (
            not connection.request.balances
            or connection.user_id not in seen.users
            or seen.committed.position <= connection.updates_through
        ):
            return None
        return dict(seen.committed.user_bodies())[connection.user_id]

    def _send_own(self, committed: Committed, body: bytes) -> Stop | None:
        connection, position = self._connection, committed.position
        replayed = position <= connection.replay_to
        cursor = Cursor(self._epoch, position)
        frame = frames.update(cursor, committed.type, body, replayed=replayed)
        if not connection.has_room(self._gather.size + len(frame.data)):
            return Stop(len(frame.data))
        connection.send(frame.unmoving() if connection.request.monitor else frame)
        connection.updates_through = position
        return None

    def _take_for_monitor(self, committed: Committed) -> Stop | None:
        connection = self._connection
        updates = AdminUpdates(self._epoch, committed).passing(connection.request.filter)
        size = sum(map(len, updates))
        if updates and not connection.has_room(self._gather.size + size):
            return Stop(size)
        if updates and not self._gather.takes(updates):
            self.finish()
        self._gather.add(updates)
        return None

    def _take_latest(self, committed: Committed, body: bytes) -> None:
        if committed.type == TRADING_CONTROL.name:
            self._finish_latest()
            self._send_own(committed, body)
            return
        self._latest.update((each.account, each) for each in _decode_left(body).changes)

    def _finish_latest(self) -> None:
        connection, session = self._connection, self._connection.session
        balances, self._latest = self._latest, {}
        if balances and session.cursor is not None:
            cursor = Cursor(self._epoch, session.examined)
            frame = frames.balance_latest(cursor, session.cursor.position, balances)
            connection.send(frame.unmoving() if connection.request.monitor else frame)
            connection.updates_through = session.examined
