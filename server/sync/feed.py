"""Bus and journal together: every transaction once, in position order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from .. import logs, metrics
from ..ledger.updates import Batch, Committed
from .bus import Bus

if TYPE_CHECKING:
    from ..ledger.balances import Head

HOLE_WAIT = 0.010
HEAD_INTERVAL = 1.0
HEAD_INTERVAL_WITHOUT_BUS = 0.2
LOOK_SPACING = 0.05
PAGE = 500
WINDOW = 10_000

Source = Literal["local", "bus", "journal"]
Deliver = Callable[[str, list[Committed]], None]
Begin = Callable[[str, int], None]

_log = logs.get_logger(__name__)


class Journal(Protocol):
    """What the feed reads: the journal's head and its pages."""

    async def head(self) -> Head:
        """The journal's epoch and newest position."""

    async def page(self, after: int, limit: int = PAGE) -> list[Committed]:
        """At most `limit` transactions above position `after`, in order."""


class Feed:
    """
    Hands on every committed transaction strictly by position, each once, whichever of local
    commit, bus and journal had it first.

    A hole is given `HOLE_WAIT` seconds to close, then the journal is read. The head is asked for
    every `HEAD_INTERVAL` seconds, faster while the bus is down. The epoch comes from the database
    only: batches of others are ignored, a new one starts over at the head.
    """

    def __init__(self, journal: Journal, bus: Bus) -> None:
        self._journal = journal
        self._bus = bus
        self._deliver: Deliver = lambda epoch, transactions: None
        self._begin: Begin = lambda epoch, position: None
        self._epoch = ""
        self._position = 0
        # The highest position known to exist, and what arrived before its turn.
        self._known = 0
        self._early: dict[int, tuple[Committed, Source]] = {}
        self._hole: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._looked_for = asyncio.Event()

    @property
    def position(self) -> int:
        """The position up to which everything was handed on."""
        return self._position

    @property
    def epoch(self) -> str:
        """The epoch of that position; empty before the start."""
        return self._epoch

    def subscribe(self, deliver: Deliver, begin: Begin) -> None:
        """
        Set who is told. deliver(epoch, transactions): the next ones in order; begin(epoch,
        position): at the start and after a change of epoch, transactions go on above `position`.
        """
        self._deliver = deliver
        self._begin = begin

    async def start(self) -> None:
        """Begin at the journal's head; raises what reading it raises."""
        self._start_over(await self._journal.head())
        self._bus.subscribe(lambda batch: self.offer(batch, "bus"))
        self._bus.on_change(self.look)
        self._watching = asyncio.create_task(self._watch_head())

    async def close(self) -> None:
        """Hand on nothing more."""
        self._cancel_hole()
        tasks = [task for task in (self._watching, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._epoch = ""

    def look(self) -> None:
        """Ask for the journal's head soon, without waiting for the turn."""
        self._looked_for.set()

    def offer(self, batch: Batch, source: Source) -> None:
        """Take in a committed batch that came from `source`; anything known is dropped."""
        if not self._epoch:
            return
        if batch.epoch != self._epoch:
            self.look()
            return
        self._take_in(batch.transactions, source)

    def _take_in(self, transactions: Sequence[Committed], source: Source) -> None:
        for committed in transactions:
            self._known = max(self._known, committed.position)
            if self._position < committed.position <= self._position + WINDOW:
                self._early.setdefault(committed.position, (committed, source))
        self._hand_on()

    def _hand_on(self) -> None:
        run: list[Committed] = []
        sources: dict[Source, int] = {}
        while (entry := self._early.pop(self._position + len(run) + 1, None)) is not None:
            run.append(entry[0])
            sources[entry[1]] = sources.get(entry[1], 0) + 1
        if run:
            self._cancel_hole()
            self._position += len(run)
            metrics.FEED_POSITION.set(self._position)
            for source, count in sources.items():
                metrics.FEED_SOURCE.labels(source).inc(count)
            self._deliver(self._epoch, run)
        if self._position < self._known:
            self._await_hole()

    def _await_hole(self) -> None:
        if self._hole is None and self._reading is None:
            loop = asyncio.get_running_loop()
            self._hole = loop.call_later(HOLE_WAIT, self._read_on)

    def _cancel_hole(self) -> None:
        if self._hole is not None:
            self._hole.cancel()
            self._hole = None

    def _read_on(self) -> None:
        self._hole = None
        self._reading = asyncio.create_task(self._read_journal())

    async def _read_journal(self) -> None:
        if self._early:
            metrics.FEED_GAPS.inc()
        try:
            epoch = self._epoch
            while self._epoch == epoch and self._position < self._known:
                page = await self._journal.page(self._position, PAGE)
                # An epoch that is still ours after the page was so while the page was read.
                self._learn(await self._journal.head())
                if not page:
                    break
                if self._epoch == epoch:
                    self._take_in(page, "journal")
        except Exception as error:
            _log.warning("the journal cannot be read", above=self._position, reason=str(error))
        finally:
            self._reading = None

    async def _watch_head(self) -> None:
        while True:
            await self._until_next_look()
            metrics.BUS_UP.set(self._bus.is_up)
            try:
                self._learn(await self._journal.head())
            except Exception as error:
                _log.warning("the journal's head cannot be read", reason=str(error))

    async def _until_next_look(self) -> None:
        interval = HEAD_INTERVAL if self._bus.is_up else HEAD_INTERVAL_WITHOUT_BUS
        await asyncio.sleep(LOOK_SPACING)
        try:
            async with asyncio.timeout(interval - LOOK_SPACING):
                await self._looked_for.wait()
        except TimeoutError:
            pass
        self._looked_for.clear()

    def _learn(self, head: Head) -> None:
        metrics.HEAD_POSITION.set(head.position)
        if head.epoch != self._epoch:
            self._start_over(head)
            return
        self._known = max(self._known, head.position)
        if self._position < self._known:
            self._await_hole()

    def _start_over(self, head: Head) -> None:
        if self._epoch:
            _log.warning("the journal has a new epoch", epoch=head.epoch, before=self._epoch)
        self._cancel_hole()
        self._early.clear()
        self._epoch, self._position, self._known = head.epoch, head.position, head.position
        metrics.FEED_POSITION.set(head.position)
        self._begin(head.epoch, head.position)
