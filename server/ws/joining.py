"""Joining and catching up: from a snapshot or a resume, through the journal, to live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from .. import logs, metrics
from ..ledger.clock import Clock
from ..ledger.updates import AdminUpdates, Committed, UpdateFilter
from . import closes, frames
from .connection import Connection
from .frames import Cursor, Frame
from .live import Live
from .messages import Reason, Resume
from .passing import Passing, Stop
from .prices import PriceStream
from .snapshots import SharedSnapshots, SnapshotReader
from .tail import Seen

if TYPE_CHECKING:
    from ..ledger.balances import Head, MonitorTotals, Snapshot
    from ..ledger.objects import Control

# More than this many missed messages are not replayed (contract, section 5). A monitor counts
# positions, since it would be sent them all.
MOST_MISSED = 10_000
READS_AT_ONCE = 16
USER_PAGE = 100
MONITOR_PAGE = 200
RECENT = 50
RECENT_PAGE = 200
RECENT_SCANNED = 10_000
JOIN_WITHIN = 10.0
LOOK_AGAIN_AFTER = 0.1
READ_AGAIN_AFTER = 1.0

_log = logs.get_logger(__name__)


class CurrentState(Protocol):
    """A state of the journal: which one, and as of which position."""

    @property
    def epoch(self) -> str:
        """The journal's epoch."""

    @property
    def position(self) -> int:
        """The position as of which it was read."""


State = TypeVar("State", bound=CurrentState)


class Reader(SnapshotReader, Protocol):
    """What joining and catching up read of the ledger."""

    async def head(self) -> Head:
        """The journal's head."""

    async def page(self, after: int, limit: int) -> list[Committed]:
        """The transactions above `after`, in order."""

    async def page_before(self, before: int, limit: int) -> list[Committed]:
        """The transactions below `before`, newest first."""

    async def user_page(self, user_id: str, after: int, upto: int, limit: int) -> list[Committed]:
        """Those in (after, upto] that the user sees, in order."""

    async def user_count(self, user_id: str, after: int, upto: int, limit: int) -> int:
        """How many those are, counted up to `limit`."""

    async def monitor_totals(self) -> MonitorTotals:
        """What all users own."""

    async def heads_fit(
        self, user_id: str, position: int, heads: Mapping[str, tuple[int, str]]
    ) -> bool:
        """Whether the user's accounts had these last entries at `position`."""

    async def balances_at(self, user_id: str, *, position: int) -> Snapshot:
        """The user's balances as of `position`."""

    async def control_at(self, user_id: str, position: int) -> Control | None:
        """The user's trading control as of `position`, if one was set by then."""


class Joining:
    """Brings connections to the point where they go live, and back to it."""

    def __init__(
        self,
        reader: Reader,
        live: Live,
        prices: PriceStream,
        clock: Clock,
        connected: Callable[[], Mapping[str, int]],
        look: Callable[[], None],
    ) -> None:
        """connected: for `admin_monitor_init`; look: have the feed ask for the head soon."""
        self._reader = reader
        self._live = live
        self._prices = prices
        self._clock = clock
        self._connected = connected
        self._look = look
        self._snapshots = SharedSnapshots(reader)
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    async def join(self, connection: Connection) -> None:
        """Serve a newly accepted connection: resume or inits, then all that follows."""
        try:
            async with asyncio.timeout(JOIN_WITHIN):
                ready = await self._prepare(connection)
        except Exception as error:
            _log.warning("a connection cannot join", reason=repr(error))
            connection.session.close(closes.TRY_LATER)
            connection.wake()
            return
        await self._send_all(connection, ready)
        await self._prices.begin(connection)
        await self.follow(connection)

    async def follow(self, connection: Connection) -> None:
        """Catch up a connection that is behind, until it goes live."""
        metrics.CATCHING_UP.inc()
        try:
            while not connection.live and connection.session.closed is None:
                try:
                    await self._step(connection)
                except Exception as error:
                    _log.warning("a connection cannot be caught up now", reason=repr(error))
                    await asyncio.sleep(READ_AGAIN_AFTER)
        finally:
            metrics.CATCHING_UP.dec()

    # Inits and resume.

    async def _prepare(self, connection: Connection) -> list[Frame]:
        request, resume = connection.request, connection.request.resume
        if not request.positions:
            return self._without_positions(connection)
        if resume is None:
            return await self._inits(connection, "connect")
        ready = await self._resumed(connection, resume)
        metrics.RESUMES.labels("reset" if ready is None else "resumed").inc()
        return await self._inits(connection, "reset") if ready is None else ready

    def _without_positions(self, connection: Connection) -> list[Frame]:
        cursor = self._cursor()
        connection.session.begin(cursor)
        return [frames.heartbeat(cursor, self._clock.now())]

    async def _resumed(self, connection: Connection, resume: Resume) -> list[Frame] | None:
        request, user_id, feed = connection.request, connection.user_id, self._cursor()
        if resume.epoch != feed.epoch or resume.position > feed.position:
            head = await self._current(self._reader.head)
            if resume.epoch != head.epoch or resume.position > head.position:
                return None
        while self._cursor().position < resume.position:
            self._look()
            await self._live.advanced()
        heads = resume.entries()
        async with self._reads:
            if heads and not await self._reader.heads_fit(user_id, resume.position, heads):
                return None
            feed = self._cursor()
            if request.monitor and feed.position - resume.position > MOST_MISSED:
                return None
            missed = 0
            if request.balances:
                missed = await self._missed(user_id, resume.position, feed.position)
        if missed > MOST_MISSED or self._cursor().epoch != resume.epoch:
            return None
        connection.session.begin(Cursor(resume.epoch, resume.position))
        # In mode `latest` nothing is replayed: `balance_latest` goes on from there.
        count = 0 if request.latest else missed
        connection.replay_to = 0 if request.latest else feed.position
        return [frames.resumed(resume.epoch, resume.position, feed.position, count)]

    async def _missed(self, user_id: str, after: int, upto: int) -> int:
        """How many messages (after, upto] holds for the user, counted a little beyond the most."""
        seen = self._live.tail.after(after, upto) if upto == self._cursor().position else None
        if seen is not None:
            return sum(user_id in entry.users for entry in seen)
        return await self._reader.user_count(user_id, after, upto, MOST_MISSED + 1)

    async def _inits(self, connection: Connection, reason: Reason) -> list[Frame]:
        """The init messages, of one position, only the last of which moves the cursor."""
        connection.session.restart()
        connection.replay_to = connection.updates_through = 0
        request, user_id = connection.request, connection.user_id
        if not request.monitor:
            snapshot = await self._current(lambda: self._snapshots.read(user_id))
            control = snapshot.controls.get(user_id)
            return self._balance_init(user_id, reason, snapshot, control)
        async with self._reads:
            totals = await self._current(self._reader.monitor_totals)
            cursor = Cursor(totals.epoch, totals.position)
            ready: list[Frame] = []
            if request.balances:
                then = await self._reader.balances_at(user_id, position=cursor.position)
                control = await self._reader.control_at(user_id, cursor.position)
                ready = self._balance_init(user_id, reason, then, control, moves=False)
            recent = await self._recent(cursor, request.filter)
        return [*ready, frames.monitor_init(cursor, totals.totals, self._connected(), recent)]

    def _balance_init(
        self,
        user_id: str,
        reason: Reason,
        snapshot: Snapshot,
        control: Control | None,
        *,
        moves: bool = True,
        replayed: bool = False,
    ) -> list[Frame]:
        return frames.balance_init(
            Cursor(snapshot.epoch, snapshot.position),
            user_id,
            reason,
            snapshot.balances.get(user_id, []),
            control,
            self._clock.now(),
            moves=moves,
            replayed=replayed,
        )

    async def _recent(self, cursor: Cursor, wanted: UpdateFilter) -> list[bytes]:
        """The newest UPDATEs that pass, searched among the newest `RECENT_SCANNED` positions."""
        found: list[bytes] = []
        before = cursor.position + 1
        while len(found) < RECENT and before > max(cursor.position + 1 - RECENT_SCANNED, 1):
            page = await self._reader.page_before(before, RECENT_PAGE)
            if not page:
                break
            for committed in page:
                found += AdminUpdates(cursor.epoch, committed).passing(wanted)
            before = page[-1].position
        return found[:RECENT]

    async def _current(self, read: Callable[[], Awaitable[State]]) -> State:
        """What `read` gives, read again until it is of the feed's epoch and not below the feed."""
        while True:
            registered = self._cursor()
            state = await read()
            if state.epoch == self._cursor().epoch and state.position >= registered.position:
                return state
            await self._look_again()

    async def _look_again(self) -> None:
        self._look()
        await asyncio.sleep(LOOK_AGAIN_AFTER)

    async def _send_all(self, connection: Connection, ready: Sequence[Frame]) -> None:
        for frame in ready:
            await connection.room(len(frame.data))
            connection.send(frame)

    # Catching up.

    async def _step(self, connection: Connection) -> None:
        """One step nearer: some more messages, or live in the step that finds nothing missing."""
        await (connection.clear() if connection.request.latest else connection.drained())
        session, feed = connection.session, self._cursor()
        if session.cursor is None or session.cursor.epoch != feed.epoch:
            await self._begin_anew(connection)
        elif not connection.request.positions:
            session.examine(feed.position)
            self._live.add(connection)
        elif session.examined > feed.position:
            self._look()
            await self._live.advanced()
        elif (seen := self._live.tail.after(session.examined, feed.position)) is not None:
            stop = self._pass_on(connection, seen)
            if stop is None:
                session.examine(feed.position)
                self._live.add(connection)
            else:
                await self._get_past(connection, stop)
        elif await self._is_too_far(connection, feed.position):
            await self._begin_anew(connection)
        else:
            await self._read_on(connection, feed)

    async def _begin_anew(self, connection: Connection) -> None:
        if connection.request.positions:
            ready = await self._inits(connection, "reset")
        else:
            ready = self._without_positions(connection)
        await self._send_all(connection, ready)

    async def _is_too_far(self, connection: Connection, newest: int) -> bool:
        examined = connection.session.examined
        if newest - examined <= MOST_MISSED or examined < connection.replay_to:
            return False
        if connection.request.monitor:
            return True
        return await self._missed(connection.user_id, examined, newest) > MOST_MISSED

    async def _read_on(self, connection: Connection, feed: Cursor) -> None:
        session = connection.session
        async with self._reads:
            if connection.request.monitor:
                page = await self._reader.page(session.examined, MONITOR_PAGE)
            else:
                page = await self._reader.user_page(
                    connection.user_id, session.examined, feed.position, USER_PAGE
                )
            # An epoch that is still the client's after the page was so while the page was read.
            head = await self._reader.head()
        if not feed.epoch == head.epoch == self._cursor().epoch:
            await self._look_again()
            return
        stop = self._pass_on(connection, [Seen(c, c.users()) for c in page])
        if stop is not None:
            await self._get_past(connection, stop)
        elif not page:
            session.examine(feed.position)

    def _pass_on(self, connection: Connection, seen: Sequence[Seen]) -> Stop | None:
        """Queue what is there for it to see; where that stopped, and why, or None at the end."""
        passing = Passing(connection, self._cursor().epoch)
        for entry in seen:
            stop = passing.take(entry)
            if stop is not None:
                passing.finish()
                return stop
        passing.finish()
        return None

    async def _get_past(self, connection: Connection, stop: Stop) -> None:
        if stop.repair is None:
            await connection.room(stop.size)
            return
        position = stop.repair.position
        control = await self._reader.control_at(connection.user_id, position)
        then = await self._reader.balances_at(connection.user_id, position=position)
        if then.epoch != self._cursor().epoch:
            await self._look_again()
            return
        monitor = connection.request.monitor
        replayed = position <= connection.replay_to
        ready = self._balance_init(
            connection.user_id, "repair", then, control, moves=not monitor, replayed=replayed
        )
        await self._send_all(connection, ready)
        connection.updates_through = position

    def _cursor(self) -> Cursor:
        if self._live.cursor is None:
            raise RuntimeError("the feed has not started")
        return self._live.cursor
