"""One server process: the real ledger, feed and hub, on a simulated machine that may lose it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any, TypeVar

from tallywire.auth import Principal
from tallywire.ledger import BalanceManager, Change, LedgerError, changes
from tallywire.ledger.clock import uuid7_source
from tallywire.ledger.holds import Hold
from tallywire.ledger.opening import open_ledger_in
from tallywire.ledger.updates import Batch
from tallywire.sync.balance import sync_balance_across_all_systems
from tallywire.sync.feed import Feed
from tallywire.ws.connection import Bounds
from tallywire.ws.hub import Hub
from tallywire.ws.protocol import Limits

from .asked import OPERATOR, Asked, Item, Told, change_of
from .bus import Port, SimulatedBus
from .clocks import JumpingClock
from .database import SimulatedPostgres
from .driver import RowLocks, SimulatedDatabase, Wire
from .faults import Faults
from .judge import Circumstances, Judge
from .loop import Process, SimulatedLoop
from .oracle import Oracle
from .pipe import Pipe
from .trace import Trace

Answer = Sequence[Told]
T = TypeVar("T")

# Short, so that some outages outlast it.
PATIENCE = 4.0
JOBS_EVERY = 2.0
SETTLE_EVERY = 0.5
LIMITS = Limits(heartbeat_every=1.0)
# Small, so that falling behind and catching up happen all the time.
BOUNDS = Bounds(connection_bytes=6_000, total_bytes=60_000, stuck_after=8.0)


class ServerGone(ConnectionError):
    """The server died, or the way to it is cut, before it answered."""


class Server:
    """One life of one server."""

    def __init__(
        self,
        loop: SimulatedLoop,
        name: str,
        database: SimulatedPostgres,
        bus: SimulatedBus,
        clock: JumpingClock,
        faults: Faults,
        trace: Trace,
        oracle: Oracle,
        judge: Judge,
    ) -> None:
        self.process = Process(loop, name)
        self.clock = clock
        self.ready = False
        self.wire = Wire(self.process, clock, database, faults, trace)
        self.port: Port = bus.port(self.process)
        self.manager: BalanceManager | None = None
        self.pipes: dict[Pipe, None] = {}
        self._hub: Hub | None = None
        self._faults = faults
        self._trace = trace
        self._oracle = oracle
        self._judge = judge
        self._random = Random(faults.random.getrandbits(64))
        self._asking: dict[asyncio.Future[Any], Process] = {}
        self._stop = asyncio.Event()
        self.task = self.process.start(self._run())
        self.task.add_done_callback(_unless_cancelled)

    def kill(self) -> None:
        """End the process where it stands; connections break, locks stay until that is noticed."""
        self._trace.note(self.process.name, "dies")
        self.ready = False
        self.process.kill()
        self.wire.cut()
        for answer, caller in self._asking.items():
            caller.call_later(self._faults.between(0.0, 1.0), _gone, answer)
        for pipe in list(self.pipes):
            pipe.cut()

    async def ask(self, asked: Asked, caller: Process) -> Answer:
        """Send a request as `caller` would over HTTP; raises ServerGone."""
        return await self._request(partial(self._answer, asked), caller)

    async def holds(self, user: str, caller: Process) -> Sequence[Hold]:
        """Read the open holds of `user` as `caller` would over HTTP; raises ServerGone."""
        return await self._request(partial(self._open_holds, user), caller)

    async def push(self, pair: str, price: str, caller: Process) -> None:
        """Tell a price as `caller` would over HTTP; raises ServerGone."""

        async def work() -> None:
            assert self.manager is not None
            await self.manager.prices.push(pair, price, actor=OPERATOR)
            self._trace.note(self.process.name, f"stamped {price} of {pair}")

        await self._request(work, caller)

    async def _request(self, work: Callable[[], Awaitable[T]], caller: Process) -> T:
        if not self.ready:
            raise ServerGone
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asking[answer] = caller
        self.process.call_later(self._faults.latency(), self._receive, work, answer, caller)
        try:
            return await answer
        finally:
            del self._asking[answer]

    def serve(self, pipe: Pipe) -> None:
        """A client has connected; where the server is dead, the client learns that."""
        if not self.process.alive:
            pipe.cut()
            return
        self.pipes[pipe] = None
        self.process.start(self._serve(pipe))

    async def _run(self) -> None:
        database = SimulatedDatabase(self.wire)
        while True:
            with suppress(LedgerError, OSError):
                async with open_ledger_in(
                    database,
                    RowLocks(),
                    self.clock,
                    uuid7_source(self.clock, self._random.getrandbits),
                    patience=PATIENCE,
                ) as manager:
                    await self._work(manager)
                await database.close()
                return
            await asyncio.sleep(0.5)

    async def _work(self, manager: BalanceManager) -> None:
        feed = Feed(manager.reader, self.port)
        hub = Hub(manager.reader, feed, self.clock, limits=LIMITS, bounds=BOUNDS)
        await feed.start()

        async def announce(batch: Batch) -> None:
            feed.offer(batch, "local")
            await sync_balance_across_all_systems(batch, self.port)

        manager.on_commit(announce)
        self.manager, self._hub, self.ready = manager, hub, True
        self._trace.note(self.process.name, "is ready")
        jobs = asyncio.create_task(self._repeat_jobs(manager))
        jobs.add_done_callback(_unless_cancelled)
        settling = asyncio.create_task(self._repeat_settlement(manager))
        settling.add_done_callback(_unless_cancelled)
        try:
            await self._stop.wait()
        finally:
            self.ready = False
            jobs.cancel()
            settling.cancel()
            await hub.shutdown(0.0)
            await feed.close()

    def stop(self) -> None:
        """End in good order."""
        self._stop.set()

    async def _repeat_jobs(self, manager: BalanceManager) -> None:
        """Every server does them, as if each had the lease."""
        while True:
            with suppress(LedgerError):
                await manager.expire_holds()
            with suppress(LedgerError):
                if manager.catalog.mirrors:
                    await manager.retry_mirrors()
            await asyncio.sleep(JOBS_EVERY)

    async def _repeat_settlement(self, manager: BalanceManager) -> None:
        """Every server does it, whoever else does."""
        while self._faults.profile.trading:
            await asyncio.sleep(SETTLE_EVERY)
            with suppress(LedgerError):
                await manager.trading.settle_due()

    def _receive(
        self, work: Callable[[], Awaitable[T]], answer: asyncio.Future[T], caller: Process
    ) -> None:
        self.process.start(self._reply(work, answer, caller))

    async def _reply(
        self, work: Callable[[], Awaitable[T]], answer: asyncio.Future[T], caller: Process
    ) -> None:
        try:
            told = await work()
        except LedgerError as refusal:
            caller.call_later(self._faults.latency(), _refused, answer, refusal)
        else:
            caller.call_later(self._faults.latency(), _answered, answer, told)

    async def _answer(self, asked: Asked) -> Answer:
        assert self.manager is not None
        self._judge.submitted(asked)
        head, submitted_at = self._oracle.head, asyncio.get_running_loop().time()
        told = await self._ask_the_ledger(self.manager, asked)
        when = Circumstances(
            head,
            submitted_at,
            self._faults.profile.database_fails or self._stop.is_set(),
            self.wire.unanswered_at >= submitted_at,
            self.clock.readings(submitted_at),
        )
        self._judge.answered(asked, told, when)
        self._trace.note(self.process.name, f"answers {_shown(asked, told)}")
        if self._faults.random.random() < 0.1:
            self.process.start(self._read(self.manager, asked.items[0].user))
        return told

    async def _read(self, manager: BalanceManager, user: str) -> None:
        with suppress(LedgerError):
            snapshot = await manager.reader.snapshot([user])
            seen = await manager.reader.user_page(user, 0, snapshot.position, 10_000)
            self._judge.read(user, snapshot, seen)
            head = self._oracle.head
            self._judge.read_holds(user, await manager.reader.holds(user, None, None, 1000), head)

    async def _open_holds(self, user: str) -> Sequence[Hold]:
        assert self.manager is not None
        return await self.manager.reader.holds(user, "open", None, 2)

    async def _ask_the_ledger(self, manager: BalanceManager, asked: Asked) -> Answer:
        try:
            if asked.mode == "one":
                change = await change_of(manager, asked.items[0], asked.key_of(0))
                return [await manager.post(change)]
            prepared = [
                await _change_or_refusal(manager, item, asked.key_of(index))
                for index, item in enumerate(asked.items)
            ]
            return await manager.post_many(prepared, atomic=asked.mode == "atomic")
        except LedgerError as refusal:
            return [refusal] * len(asked.items)

    async def _serve(self, pipe: Pipe) -> None:
        hub = self._hub
        if hub is None or not self.ready:
            del self.pipes[pipe]
            pipe.cut()
            return
        connection = hub.open(pipe, _principal)
        pipe.opened(
            self.process,
            lambda text: hub.receive_text(connection, text),
            connection.peer_left,
        )
        try:
            await connection.run()
        finally:
            hub.leave(connection)
            self.pipes.pop(pipe, None)


async def _change_or_refusal(manager: BalanceManager, item: Item, key: str | None) -> Change:
    """What cannot be made is refused in its turn; raises where nothing can be made now."""
    try:
        return await change_of(manager, item, key)
    except LedgerError as refusal:
        if refusal.code == "database_unavailable":
            raise
        return changes.refused(refusal)


def _unless_cancelled(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()


def _principal(token: str) -> Principal:
    user, _, role = token.rpartition(" ")
    return Principal(user, role, 0, 4_000_000_000)


def _gone(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(ServerGone())


def _answered(answer: asyncio.Future[T], told: T) -> None:
    if not answer.done():
        answer.set_result(told)


def _refused(answer: asyncio.Future[Any], refusal: LedgerError) -> None:
    if not answer.done():
        answer.set_exception(refusal)


def _shown(asked: Asked, told: Answer) -> str:
    return ", ".join(
        f"{item.reference} {item.kind}: "
        + (outcome.code if isinstance(outcome, LedgerError) else str(outcome.position))
        for item, outcome in zip(asked.items, told, strict=True)
    )
