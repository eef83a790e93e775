"""One server process: the real ledger, feed and hub, on a simulated machine that may lose it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from random import Random

from tallywire.auth import Principal
from tallywire.ledger import BalanceManager, Change, LedgerError
from tallywire.ledger.catalog import Catalog
from tallywire.ledger.clock import uuid7_source
from tallywire.ledger.opening import open_ledger_in
from tallywire.ledger.updates import Batch
from tallywire.sync.balance import sync_balance_across_all_systems
from tallywire.sync.feed import Feed
from tallywire.ws.connection import Bounds
from tallywire.ws.hub import Hub
from tallywire.ws.protocol import Limits

from .asked import Asked, Item, change_of
from .bus import Port, SimulatedBus
from .clocks import JumpingClock
from .database import SimulatedPostgres
from .driver import RowLocks, SimulatedDatabase, Wire
from .faults import Faults
from .judge import Circumstances, Judge, Told
from .loop import Process, SimulatedLoop
from .oracle import Oracle
from .pipe import Pipe
from .trace import Trace

Answer = Sequence[Told]

# Short, so that some outages outlast it.
PATIENCE = 4.0
LIMITS = Limits(heartbeat_every=1.0)
# Small, so that falling behind and catching up happen all the time.
BOUNDS = Bounds(connection_bytes=6_000, total_bytes=60_000, stuck_after=8.0)


class ServerGone(Exception):
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
        self.wire = Wire(self.process, database, faults, trace)
        self.port: Port = bus.port(self.process)
        self.manager: BalanceManager | None = None
        self.pipes: dict[Pipe, None] = {}
        self._hub: Hub | None = None
        self._faults = faults
        self._trace = trace
        self._oracle = oracle
        self._judge = judge
        self._random = Random(faults.random.getrandbits(64))
        self._asking: dict[asyncio.Future[Answer], Process] = {}
        self._stop = asyncio.Event()
        self.task = self.process.start(self._run())

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
        if not self.ready:
            raise ServerGone
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asking[answer] = caller
        self.process.call_later(self._faults.latency(), self._receive, asked, answer, caller)
        try:
            return await answer
        finally:
            del self._asking[answer]

    def serve(self, pipe: Pipe) -> None:
        """A client has connected."""
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
        try:
            await self._stop.wait()
        finally:
            self.ready = False
            await hub.shutdown(0.0)
            await feed.close()

    def stop(self) -> None:
        """End in good order."""
        self._stop.set()

    def _receive(self, asked: Asked, answer: asyncio.Future[Answer], caller: Process) -> None:
        self.process.start(self._answer(asked, answer, caller))

    async def _answer(self, asked: Asked, answer: asyncio.Future[Answer], caller: Process) -> None:
        assert self.manager is not None
        self._judge.submitted(asked)
        head, submitted_at = self._oracle.head, asyncio.get_running_loop().time()
        told = await self._ask_the_ledger(self.manager, asked)
        when = Circumstances(
            head,
            submitted_at,
            self._faults.profile.database_fails or self._stop.is_set(),
            self.wire.unanswered_at >= submitted_at,
        )
        self._judge.answered(asked, told, when)
        self._trace.note(self.process.name, f"answers {_shown(asked, told)}")
        caller.call_later(self._faults.latency(), _answered, answer, told)
        if self._faults.random.random() < 0.1:
            await self._read(self.manager, asked.items[0].user)

    async def _read(self, manager: BalanceManager, user: str) -> None:
        with suppress(LedgerError):
            snapshot = await manager.reader.snapshot([user])
            seen = await manager.reader.user_page(user, 0, snapshot.position, 10_000)
            self._judge.read(user, snapshot, seen)

    async def _ask_the_ledger(self, manager: BalanceManager, asked: Asked) -> Answer:
        try:
            changes = [
                await manager.prepare(partial(_built, manager, item, asked.key_of(index)))
                for index, item in enumerate(asked.items)
            ]
            if asked.mode == "one":
                return [await manager.post(changes[0])]
            return await manager.post_many(changes, atomic=asked.mode == "atomic")
        except LedgerError as refusal:
            return [refusal] * len(asked.items)

    async def _serve(self, pipe: Pipe) -> None:
        hub = self._hub
        if hub is None or not self.ready:
            pipe.cut()
            return
        connection = hub.open(pipe, _principal)
        self.pipes[pipe] = None
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


def _built(manager: BalanceManager, item: Item, key: str | None, _: Catalog) -> Change:
    return change_of(manager, item, key)


def _principal(token: str) -> Principal:
    user, _, role = token.rpartition(" ")
    return Principal(user, role, 0, 4_000_000_000)


def _gone(answer: asyncio.Future[Answer]) -> None:
    if not answer.done():
        answer.set_exception(ServerGone())


def _answered(answer: asyncio.Future[Answer], told: Answer) -> None:
    if not answer.done():
        answer.set_result(told)


def _shown(asked: Asked, told: Answer) -> str:
    return ", ".join(
        f"{item.reference} {item.kind}: "
        + (outcome.code if isinstance(outcome, LedgerError) else str(outcome.position))
        for item, outcome in zip(asked.items, told, strict=True)
    )
