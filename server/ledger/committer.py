"""
Group commit: changes that wait share one SQL transaction, each with its own outcome.

One batch at a time: while a COMMIT is on its way, the next batch gathers. Nothing is
answered before COMMIT; after a rollback everything is decided anew, with the same ids. A
COMMIT whose answer was lost is looked up behind the clock's lock before anything is repeated.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from .. import logs, metrics
from .batch import Attempt, Knowledge, Outcome, Prepared, Request, StaleKnowledge
from .changes import Change
from .clock import Clock, IdSource
from .database import Database, classify, reason
from .errors import (
    AlongsideFailed,
    InvalidAmount,
    InvalidRequest,
    LedgerError,
    MirrorRefused,
    OutcomeUnknown,
    Overloaded,
)
from .journal import Journal
from .updates import Batch

_log = logs.get_logger(__name__)

MOST_CHANGES = 512
MOST_POSTINGS = 4096
MOST_BYTES = 1 << 20
MOST_WAITING = 20_000
PATIENCE_SECONDS = 10.0
FIRST_DELAY_SECONDS = 0.02
LONGEST_DELAY_SECONDS = 1.0
MOST_REPEATS = 5

CommitCallback = Callable[[Batch], Awaitable[None]]


@dataclass(eq=False)
class Group:
    """Changes that are committed together or not at all, and who waits for them."""

    requests: tuple[Request, ...]
    outcomes: asyncio.Future[tuple[Outcome, ...]]
    deadline: float
    postings: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.postings = sum(len(r.change.account_keys) for r in self.requests)
        self.size = sum(r.change.size for r in self.requests)

    def answer(self, outcomes: tuple[Outcome, ...]) -> None:
        """Tell whoever waits; one who went away is not missed."""
        if not self.outcomes.done():
            self.outcomes.set_result(outcomes)

    def refuse(self, error: LedgerError) -> None:
        """Answer every change with `error`."""
        self.answer((error,) * len(self.requests))
        _count((request.change, error.code) for request in self.requests)

    def fail(self, defect: Exception) -> None:
        """Raise `defect` to whoever was not answered yet."""
        if not self.outcomes.done():
            self.outcomes.set_exception(defect)
            _count((request.change, "internal_error") for request in self.requests)


class UncertainCommit(Exception):
    """COMMIT was sent and its answer did not come."""

    def __init__(self, prepared: Prepared, writer: tuple[int, str] | None) -> None:
        super().__init__()
        self.prepared = prepared
        self.writer = writer


class Committer:
    """The one writer of this process."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        knowledge: Knowledge,
        clock: Clock,
        new_id: IdSource,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """patience: seconds that a change may wait, and again that its batch may be tried for."""
        self._database = database
        self._journal = journal
        self.knowledge = knowledge
        self._clock = clock
        self._new_id = new_id
        self._patience = patience
        self._waiting: deque[Group] = deque()
        self._waiting_changes = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._connection: AsyncConnection | None = None
        self._writer: tuple[int, str] | None = None
        self._callbacks: list[CommitCallback] = []
        self._committed: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to commit what is submitted."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._announce())]

    async def close(self) -> None:
        """Commit what waits, announce it, and let the connection go."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._tasks)
        await self._drop_connection()

    @property
    def waiting(self) -> int:
        """How many changes wait for a batch."""
        return self._waiting_changes

    def on_commit(self, callback: CommitCallback) -> None:
        """Await `callback` with every batch, in commit order, after its callers are answered."""
        self._callbacks.append(callback)

    async def submit(self, changes: Sequence[Change]) -> tuple[Outcome, ...]:
        """
        Commit `changes` together or not at all; an outcome each. Whoever stops waiting does not
        undo anything. Raises Overloaded where too much waits already.
        """
        self._check_room(changes)
        return await self._enqueue(changes)

    async def submit_each(self, changes: Sequence[Change]) -> tuple[Outcome, ...]:
        """Commit `changes` independently, in order, an outcome each. Raises Overloaded."""
        self._check_room(changes)
        waiting = [self._enqueue([change]) for change in changes]
        return tuple(outcome for (outcome,) in await asyncio.gather(*waiting))

    def _check_room(self, changes: Sequence[Change]) -> None:
        if self._closing:
            refused = Overloaded("the ledger is shutting down; nothing was changed")
        elif self._waiting_changes + len(changes) > MOST_WAITING:
            refused = Overloaded("too many changes are waiting; nothing was changed")
        else:
            return
        _count((change, refused.code) for change in changes)
        raise refused

    def _enqueue(self, changes: Sequence[Change]) -> asyncio.Future[tuple[Outcome, ...]]:
        loop = asyncio.get_running_loop()
        group = Group(
            tuple(Request(change, self._new_id()) for change in changes),
            loop.create_future(),
            loop.time() + self._patience,
        )
        self._waiting.append(group)
        self._count_waiting(len(changes))
        self._wake.set()
        return group.outcomes

    def _count_waiting(self, change: int) -> None:
        self._waiting_changes += change
        metrics.QUEUE_CHANGES.set(self._waiting_changes)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._commit_or_refuse(self._next_batch())
            if self._closing:
                self._committed.put_nowait(None)
                return

    def _next_batch(self) -> list[Group]:
        """As many waiting groups as fit, and always one; those who waited too long are refused."""
        now = asyncio.get_running_loop().time()
        groups: list[Group] = []
        changes = postings = size = 0
        while self._waiting:
            group = self._waiting[0]
            changes += len(group.requests)
            postings += group.postings
            size += group.size
            if groups and (changes > MOST_CHANGES or postings > MOST_POSTINGS or size > MOST_BYTES):
                break
            self._waiting.popleft()
            self._count_waiting(-len(group.requests))
            if group.deadline < now:
                group.refuse(Overloaded())
            else:
                groups.append(group)
        return groups

    async def _commit_or_refuse(self, groups: list[Group]) -> None:
        try:
            if groups:
                await self._commit(groups)
        except Exception as error:
            # A defect must not end the only writer: whoever waits is told, the next batch goes on.
            _log.exception("a commit failed", changes=sum(len(g.requests) for g in groups))
            await self._drop_connection()
            for group in groups:
                group.fail(error)

    async def _commit(self, groups: list[Group]) -> None:
        """Commit `groups`, in as many attempts as it takes and the deadline allows."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + self._patience
        delay = FIRST_DELAY_SECONDS
        repeats = 0
        self.knowledge.stuck.forget_tables()
        while True:
            try:
                prepared = await self._attempt(groups)
                break
            except StaleKnowledge:
                continue
            except UncertainCommit as uncertain:
                try:
                    settled = await self._settle(uncertain, deadline)
                except OutcomeUnknown:
                    _log.error("outcome unknown", changes=sum(len(g.requests) for g in groups))
                    for group in groups:
                        group.refuse(OutcomeUnknown())
                    return
                if settled:
                    prepared = uncertain.prepared
                    break
                error: BaseException = uncertain.__cause__ or uncertain
            except Exception as raised:
                error = raised
            fault = classify(error)
            if fault == "other":
                raise error
            repeats += 1
            if fault == "data" or (fault == "duplicate" and repeats > MOST_REPEATS):
                await self._isolate(groups, error)
                return
            if fault == "duplicate":
                continue
            if loop.time() + delay > deadline:
                _log.error("changes are refused: the database is away", reason=reason(error))
                for group in groups:
                    group.refuse(Overloaded())
                return
            _log.warning("a commit is tried again", reason=reason(error))
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)
        self._finish(groups, prepared, loop.time() - started)

    async def _isolate(self, groups: list[Group], error: BaseException) -> None:
        """Find whose data the database refuses: halves in order, a group never split."""
        if len(groups) > 1:
            middle = len(groups) // 2
            await self._commit(groups[:middle])
            await self._commit(groups[middle:])
            return
        said = reason(error)
        _log.warning("the database refused a change", reason=said)
        if isinstance(error, MirrorRefused):
            groups[0].refuse(error)
        elif any(request.change.alongside for request in groups[0].requests):
            failed = AlongsideFailed(said)
            failed.__cause__ = error
            groups[0].refuse(failed)
        elif isinstance(error, OverflowError) or "range" in said:
            groups[0].refuse(InvalidAmount("a balance would pass 2^63-1 minor units"))
        else:
            groups[0].refuse(InvalidRequest("the database's own rules refuse this change"))

    async def _attempt(self, groups: list[Group]) -> Prepared:
        connection = await self._connect()
        try:
            transaction = await connection.begin()
            attempt = Attempt(self._journal, connection, self.knowledge, self._clock, self._new_id)
            prepared = await attempt.prepare([group.requests for group in groups])
            if not prepared.written:
                await transaction.rollback()
                return prepared
        except BaseException:
            await self._drop_connection()
            raise
        try:
            await transaction.commit()
        except Exception as error:
            writer = self._writer
            await self._drop_connection()
            if prepared.batch is None:
                # Mirrors alone: written again, they are the same.
                raise
            raise UncertainCommit(prepared, writer) from error
        return prepared

    async def _settle(self, uncertain: UncertainCommit, deadline: float) -> bool:
        """
        Whether the COMMIT took place. The clock's lock is asked for first: while the lost
        session may still be committing, it holds that lock, and it is ended. Asks at least
        once, however long the lost answer took. Raises OutcomeUnknown where this cannot be found
        out by the `deadline`.
        """
        batch = uncertain.prepared.batch
        assert batch is not None
        ids = [committed.transaction_id for committed in batch.transactions]
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                async with self._database.writer.connect() as connection:
                    if uncertain.writer is not None:
                        await self._journal.end_writer(connection, *uncertain.writer)
                        await connection.rollback()
                    await self._journal.take_clock(connection)
                    found = await self._journal.committed(connection, ids)
                    await connection.rollback()
                _log.warning("a lost commit is settled", committed=bool(found), changes=len(ids))
                return bool(found)
            except Exception as error:
                if classify(error) not in ("retry", "timeout"):
                    raise
                _log.warning("a lost commit is not settled yet", reason=reason(error))
                if loop.time() + delay > deadline:
                    raise OutcomeUnknown from error
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    async def _connect(self) -> AsyncConnection:
        if self._connection is None:
            connection = await self._database.writer.connect()
            try:
                self._writer = await self._journal.writer_identity(connection)
                await connection.rollback()
            except BaseException:
                await connection.invalidate()
                await connection.close()
                raise
            self._connection = connection
        return self._connection

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.invalidate()
            await connection.close()
        except Exception as error:
            _log.warning("the writer's connection is lost", reason=reason(error))

    def _finish(self, groups: list[Group], prepared: Prepared, seconds: float) -> None:
        for group, outcomes in zip(groups, prepared.outcomes, strict=True):
            group.answer(outcomes)
        _count(
            (request.change, _result(outcome))
            for group, outcomes in zip(groups, prepared.outcomes, strict=True)
            for request, outcome in zip(group.requests, outcomes, strict=True)
        )
        if prepared.batch is not None:
            self.knowledge.remember(prepared.account_ids)
            metrics.COMMITS.inc()
            metrics.COMMIT_SECONDS.observe(seconds)
            metrics.COMMIT_BATCH_CHANGES.observe(len(prepared.batch.transactions))
            metrics.HEAD_POSITION.set(prepared.batch.last)
            self._committed.put_nowait(prepared.batch)

    async def _announce(self) -> None:
        while (batch := await self._committed.get()) is not None:
            for callback in self._callbacks:
                try:
                    await callback(batch)
                except Exception:
                    # The batch is committed: whoever should have heard of it reads the journal.
                    _log.exception("a commit callback failed", first=batch.first, last=batch.last)


def _count(results: Iterable[tuple[Change, str]]) -> None:
    """Count changes by their type and by what became of them, on /metrics."""
    for labels, count in Counter((change.type.name, result) for change, result in results).items():
        metrics.CHANGES.labels(*labels).inc(count)


def _result(outcome: Outcome) -> str:
    if isinstance(outcome, LedgerError):
        return outcome.code
    return "replayed" if outcome.replayed else "accepted"
