"""
Who delivers: a follower for each active webhook, which takes the journal to it, message by message.

A message's range is written down before its first attempt, and the cursor after the receiver has
taken it. So whatever happens between, the same message goes out again under the same id, and the
next one only after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Protocol

from .. import logs
from ..ledger.clock import Clock, IdSource, parse_rfc3339, rfc3339
from ..ledger.errors import LedgerError
from ..ledger.updates import AdminUpdates, Committed, Gather
from . import backoff
from .registrations import Message, Registration, Registrations

if TYPE_CHECKING:
    from ..ledger.balances import Head
    from .sending import Sender

# What one message covers at most, and how many bytes of updates it has, though one transaction
# always fits.
MOST_TRANSACTIONS = 500
MOST_BYTES = 262_144
# How many webhooks are attended to at once, and how many among them whose last attempt failed: so
# receivers that hang, however many, leave room for the others.
MOST_ATTEMPTS = 64
MOST_RETRIES = 32
# Seconds between looks: LOOK at the rows, and at the journal where nobody tells of news; SPACING at
# the least, however much is told.
LOOK = 1.0
SPACING = 0.05

_log = logs.get_logger(__name__)


class Journal(Protocol):
    """What followers read."""

    async def head(self) -> Head:
        """The journal's epoch and newest position."""

    async def page(self, after: int, limit: int = MOST_TRANSACTIONS) -> list[Committed]:
        """At most `limit` transactions above position `after`, in order."""


class _Superseded(Exception):
    """The row is not as the follower knows it: it ends, and another begins with what it is."""


class Turns:
    """Whose turn it is, of all the webhooks of a process."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(MOST_ATTEMPTS)
        self._retries = asyncio.Semaphore(MOST_RETRIES)

    @asynccontextmanager
    async def turn(self, *, retries: bool) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends; retries: the last attempt failed."""
        async with self._retries if retries else nullcontext(), self._all:
            yield


class Deliverer:
    """Keeps a follower for every active webhook; each attends to its own receiver alone."""

    def __init__(
        self,
        journal: Journal,
        registrations: Registrations,
        sender: Callable[[], Sender],
        clock: Clock,
        new_id: IdSource,
        draw: Callable[[], float],
    ) -> None:
        """
        sender: makes one for `MOST_ATTEMPTS` connections; new_id: ids of messages; draw: random,
        0 to below 1, for the time until the next attempt.
        """
        self._journal = journal
        self._registrations = registrations
        self._sender = sender
        self._clock = clock
        self._new_id = new_id
        self._draw = draw
        self._followers: dict[str, tuple[Follower, asyncio.Task[None]]] = {}

    def wake(self) -> None:
        """Look at the journal now: something was committed."""
        for follower, _ in self._followers.values():
            follower.moved.set()

    async def run(self) -> None:
        """Deliver until cancelled; then nothing is under way any more."""
        # Most ledgers have no webhooks, and what sends takes a while to make.
        while not await self._active():  # noqa: ASYNC110 - nobody tells of the first one
            await asyncio.sleep(LOOK)
        turns = Turns()
        async with self._sender() as sender:
            try:
                while True:
                    active = await self._active()
                    if active is not None:
                        await self._attend(active, sender, turns)
                    await asyncio.sleep(LOOK)
            finally:
                await self._stop(list(self._followers))

    async def _active(self) -> list[Registration] | None:
        """The webhooks that are not paused; None where they cannot be read now."""
        try:
            return await self._registrations.active()
        except LedgerError as error:
            _log.warning("the webhooks cannot be read", reason=str(error))
            return None

    async def _attend(self, active: Sequence[Registration], sender: Sender, turns: Turns) -> None:
        """Have a follower for each of `active` as it is now, and no others."""
        generations = {each.name: each.generation for each in active}
        await self._stop(
            [
                name
                for name, (follower, task) in self._followers.items()
                if task.done() or generations.get(name) != follower.generation
            ]
        )
        for each in active:
            if each.name not in self._followers:
                follower = Follower(
                    each,
                    self._journal,
                    self._registrations,
                    sender,
                    turns,
                    self._clock,
                    self._new_id,
                    self._draw,
                )
                task = asyncio.create_task(follower.run())
                self._followers[each.name] = (follower, task)

    async def _stop(self, names: Sequence[str]) -> None:
        tasks = [self._followers.pop(name)[1] for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Follower:
    """Takes the journal to one webhook, until its row is changed by somebody else or is paused."""

    def __init__(
        self,
        registration: Registration,
        journal: Journal,
        registrations: Registrations,
        sender: Sender,
        turns: Turns,
        clock: Clock,
        new_id: IdSource,
        draw: Callable[[], float],
    ) -> None:
        self.moved = asyncio.Event()
        self._row = registration
        self._journal = journal
        self._registrations = registrations
        self._sender = sender
        self._turns = turns
        self._clock = clock
        self._new_id = new_id
        self._draw = draw
        # Ahead of the row's while nothing is to be told: that is written down now and then.
        self._examined = registration.examined
        self._written_at = asyncio.get_running_loop().time()

    @property
    def generation(self) -> str:
        """The generation of the row that it goes by."""
        return self._row.generation

    async def run(self) -> None:
        """Go on; what goes wrong here is logged, and whoever started it starts another."""
        try:
            while self._row.status == "active":
                self.moved.clear()
                # What is read for a message, too, is held by no more at once than may send.
                async with self._turns.turn(retries=self._row.attempts > 0):
                    seconds = await self._step()
                if seconds > 0:
                    await self._wait(seconds)
        except _Superseded:
            _log.info("a webhook was changed meanwhile", webhook=self._row.name)
        except LedgerError as error:
            _log.warning("a webhook cannot go on now", webhook=self._row.name, reason=str(error))
        except Exception:
            _log.exception("a webhook's delivery failed", webhook=self._row.name)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(SPACING)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.moved.wait()

    async def _step(self) -> float:
        """Do the next thing; the seconds after which there may be another, 0 for at once."""
        row = self._row
        if row.message is None:
            return await self._look()
        if row.next_attempt_at is not None:
            due = (parse_rfc3339(row.next_attempt_at) - self._clock.now()).total_seconds()
            # One that is further away was written by a clock that was set back since.
            if 0 < due <= backoff.LONGEST:
                return min(due, LOOK)
        head = await self._journal.head()
        if head.epoch != row.message.epoch:
            # Another journal took this one's place: what was not told is told as its own.
            self._keep(await self._registrations.withdraw(row))
            return 0.0
        if head.position < row.message.to:
            return await self._give_up(_beyond(row.message.to, head.position))
        committed = await self._read(row.message.to)
        await self._attempt(row.message, self._passing(head.epoch, committed))
        return 0.0

    async def _look(self) -> float:
        """Look at what was committed since; make a message where some of it is to be told."""
        head = await self._journal.head()
        if head.position < self._row.examined:
            return await self._give_up(_beyond(self._row.examined, head.position))
        # Not beyond the head, since what comes after it may be of another epoch.
        most = min(head.position - self._examined, MOST_TRANSACTIONS)
        gather, to = Gather(MOST_BYTES), self._examined
        for committed in await self._journal.page(to, most) if most > 0 else ():
            updates = self._passing(head.epoch, [committed])
            if updates and not gather.takes(updates):
                break
            gather.add(updates)
            to = committed.position
        if gather.size == 0:
            more = self._examined < to < head.position
            await self._pass_over(to)
            return 0.0 if more else LOOK
        message = Message(self._new_id(), head.epoch, to)
        self._keep(await self._registrations.advance(self._row, self._examined, message))
        await self._attempt(message, gather.take())
        return 0.0

    async def _pass_over(self, to: int) -> None:
        """Nothing up to `to` is to be told: write that down, at most once a second."""
        now = asyncio.get_running_loop().time()
        self._examined = to
        if to != self._row.examined and now >= self._written_at + LOOK:
            self._keep(await self._registrations.advance(self._row, to))
            self._written_at = now

    async def _read(self, to: int) -> list[Committed]:
        """The transactions of the message under way."""
        found: list[Committed] = []
        after = self._row.examined
        while after < to and (page := await self._journal.page(after, to - after)):
            found += page
            after = page[-1].position
        return found

    def _passing(self, epoch: str, transactions: Sequence[Committed]) -> list[bytes]:
        return [
            update
            for committed in transactions
            for update in AdminUpdates(epoch, committed).passing(self._row.filter)
        ]

    async def _attempt(self, message: Message, updates: Sequence[bytes]) -> None:
        row = self._row
        body = b'{"epoch":"%b","from":%d,"to":%d,"updates":[%b]}' % (
            message.epoch.encode(),
            row.position,
            message.to,
            b",".join(updates),
        )
        outcome = await self._sender.post(row, message.id, body)
        if not outcome.error:
            self._keep(await self._registrations.delivered(row, message.to))
            return
        now = self._clock.now()
        failing_since = now if row.failing_since is None else parse_rfc3339(row.failing_since)
        if outcome.gone or backoff.is_exhausted(failing_since, now):
            await self._give_up(outcome.error)
            return
        due = backoff.next_attempt(row.attempts + 1, self._draw(), now, outcome.not_before)
        self._keep(await self._registrations.failed(row, outcome.error, rfc3339(due)))
        _log.warning(
            "a webhook's delivery failed",
            webhook=row.name,
            attempts=self._row.attempts,
            reason=outcome.error,
        )

    async def _give_up(self, error: str) -> float:
        self._keep(await self._registrations.pause(self._row, error))
        _log.error("a webhook is paused", webhook=self._row.name, reason=error)
        return 0.0

    def _keep(self, row: Registration | None) -> None:
        if row is None:
            raise _Superseded
        self._row = row
        self._examined = row.examined


def _beyond(position: int, head: int) -> str:
    return f"it was told up to position {position}, but the journal ends at {head}: set position"
