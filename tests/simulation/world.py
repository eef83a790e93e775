"""One seed: servers, database, bus, callers and screens together, troubled and then judged."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from ..ledger.oracle import judge_rows
from .asked import DUES, USERS, Requests
from .bus import SimulatedBus
from .callers import Caller
from .clocks import JumpingClock
from .database import DatabaseError, SimulatedPostgres
from .faults import Faults, Profile
from .judge import Judge
from .legacy import TABLES, OlderProgram, Wallets
from .loop import Process, SimulatedLoop
from .oracle import Oracle
from .screens import Client, WatchingScreen
from .server import Server
from .template import template
from .trace import Trace, Violation
from .trading import Feed

CALLERS = 4
SETTLE = 60.0


@dataclass(frozen=True)
class Outcome:
    """What came of one seed; `fault` is None where everything held."""

    seed: int
    digest: str
    lines: list[str]
    fault: str | None
    positions: int
    steps: int


def run(seed: int) -> Outcome:
    """Simulate one seed from beginning to end."""
    loop = SimulatedLoop()
    trace = Trace()
    fault: str | None = None
    positions = 0
    collecting = gc.isenabled()
    gc.disable()
    asyncio.set_event_loop(loop)
    try:
        with _quiet() as errors:
            world = World(loop, trace, seed)
            try:
                loop.run_until_complete(world.live())
            except Exception as error:
                fault = "".join(traceback.format_exception(error))
            if fault is None and errors:
                fault = "\n".join(errors)
            positions = world.oracle.head
            digest, lines = trace.digest, list(trace.lines)
            loop.run_until_complete(world.bury())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        if collecting:
            gc.enable()
    return Outcome(seed, digest, lines, fault, positions, loop.steps)


class World:
    """Everything that one seed makes."""

    def __init__(self, loop: SimulatedLoop, trace: Trace, seed: int) -> None:
        self._loop = loop
        self._trace = trace
        self._random = Random(seed)
        self.profile = Profile.draw(self._random, trading=seed % 3 == 0)
        self._faults = Faults(self.profile, self._random)
        self._database = SimulatedPostgres(loop, trace, _seeded(self._random, self.profile))
        self._bus = SimulatedBus(self._faults, trace)
        self._wallets = Wallets()
        self.oracle = Oracle(self._database, self._wallets)
        self._judge = Judge(self.oracle)
        self._servers: list[Server] = []
        self._dead: list[Server] = []
        self._requests = Requests(self._random, trading=self.profile.trading)
        self._callers: list[Caller] = []
        self._older: list[OlderProgram] = []
        self._clients: list[Client] = []
        self._feed: Feed | None = None
        self._fault: asyncio.Future[None] = loop.create_future()
        loop.set_exception_handler(self._failed)

    async def live(self) -> None:
        """Run, heal, settle, and be judged; raises the first Violation."""
        self._trace.note("world", str(self.profile))
        for number in range(self._random.randint(1, 3)):
            self._servers.append(self._server(f"server {number}", 0.0))
        self._make_clients()
        trouble = self._loop.create_task(self._trouble())
        try:
            await self._or_fault(self._until_done())
            if self.profile.older_programs:
                await self._or_fault(self._settle_mirrors())
            if self.profile.trading:
                await self._or_fault(self._settle_options())
            await self._or_fault(self._settle())
            await self._or_fault(self._verify())
        finally:
            trouble.cancel()
        self._final_checks()

    async def bury(self) -> None:
        """Let everything end, so that nothing is left of the seed."""
        self._faults.profile = _no_more(self.profile)
        for client in self._clients:
            await client.process.bury()
        for caller in self._callers:
            await caller.process.bury()
        for older in self._older:
            await older.process.bury()
        if self._feed is not None:
            await self._feed.process.bury()
        for server in [*self._dead, *self._servers]:
            await server.process.bury()

    # Making.

    def _server(self, name: str, offset: float) -> Server:
        return Server(
            self._loop,
            name,
            self._database,
            self._bus,
            JumpingClock(offset),
            self._faults,
            self._trace,
            self.oracle,
            self._judge,
        )

    def _make_clients(self) -> None:
        requests = self._requests
        until = self.profile.until + 3.0
        for number in range(self.profile.older_programs):
            self._older.append(
                OlderProgram(
                    self._loop,
                    f"older program {number}",
                    self._database,
                    self._wallets,
                    self._faults,
                    self._trace,
                    until,
                )
            )
        for number in range(CALLERS):
            self._callers.append(
                Caller(self._loop, f"caller {number}", requests, self._pick, self._faults, until)
            )
        if self.profile.trading:
            self._feed = Feed(self._loop, self._pick, self._faults, until)
        kinds: list[tuple[tuple[str, ...], str | None]] = [
            (("balances",), None),
            (("balances",), None),
            (("balances",), "latest"),
            (("monitor",), None),
            (("balances", "monitor"), None),
        ]
        for number, (streams, mode) in enumerate(kinds):
            user = self._random.choice(USERS)
            screen = WatchingScreen(self.oracle, user, streams, mode)
            name = f"screen {number} of {user}"
            self._clients.append(
                Client(self._loop, name, screen, self._pick, self._faults, self._trace)
            )

    def _pick(self) -> Server | None:
        ready = [server for server in self._servers if server.ready]
        return self._random.choice(ready) if ready else None

    def _ready_server(self) -> Server:
        server = self._pick()
        if server is None:
            raise Violation("no server is ready at the end")
        return server

    # Trouble.

    async def _trouble(self) -> None:
        profile, random = self.profile, self._random
        plan: list[tuple[float, str]] = []
        for what, count in (
            ("outage", profile.outages),
            ("death", profile.deaths),
            ("clock", profile.clock_jumps),
            ("deaf", profile.bus_deaf),
            ("restart", profile.restarts),
            ("pause", profile.pauses),
            ("epoch", profile.new_epochs),
        ):
            plan += [(random.uniform(0.5, profile.until), what) for _ in range(count)]
        for when, what in sorted(plan):
            await asyncio.sleep(max(0.0, when - self._loop.time()))
            self._loop.create_task(self._happen(what))

    async def _happen(self, what: str) -> None:
        random = self._random
        server = random.choice(self._servers)
        if what == "clock":
            jump = random.choice((-3600.0, -5.0, 5.0, 7200.0))
            server.clock.jump(jump)
            self._trace.note(server.process.name, f"its clock jumps by {jump}")
        elif what == "deaf":
            known = random.random() < 0.5
            self._trace.note(server.process.name, f"its bus is deaf, known: {known}")
            server.port.deaf = True
            server.process.call_later(0.0, server.port.turn_to, not known)
            await asyncio.sleep(random.uniform(0.5, 6.0))
            server.port.deaf = False
            server.process.call_later(0.0, server.port.turn_to, True)
        elif what == "outage":
            self._outage(random.choice((0.2, 2.0, 12.0)) * random.random())
        elif what == "restart":
            await self._restart(server)
        elif what == "pause":
            await self._pause()
        elif what == "epoch":
            await self._new_epoch()
        else:
            await self._death(server)

    async def _restart(self, server: Server) -> None:
        if not server.ready or server not in self._servers:
            return
        self._trace.note(server.process.name, "is stopped in good order")
        server.stop()
        await asyncio.wait([server.task], timeout=30)
        if server in self._servers:
            await self._death(server)

    async def _pause(self) -> None:
        await self._operate("UPDATE clock SET paused = 1, settings_version = settings_version + 1")
        await asyncio.sleep(self._random.uniform(0.1, 2.0))
        await self._operate("UPDATE clock SET paused = 0, settings_version = settings_version + 1")

    async def _new_epoch(self) -> None:
        epoch = f"epoch {self._random.getrandbits(32):08x}"
        await self._operate(f"UPDATE clock SET epoch = '{epoch}'")

    async def _operate(self, statement: str) -> None:
        """What an operator's command does, under the lock of the clock."""
        session = self._database.connect("operator", JumpingClock(0.0))
        while True:
            try:
                await self._database.execute(session, "LOCK clock", (), many=False)
                await self._database.execute(session, statement, (), many=False)
                await self._database.commit(session)
                break
            except DatabaseError:
                await self._database.rollback(session)
        self._database.end(session)
        self._trace.note("operator", statement)

    def _outage(self, seconds: float) -> None:
        self._trace.note("database", f"is away for {seconds:.3f} s")
        self._faults.send_database_away(seconds)
        for server in self._servers:
            server.wire.cut()

    async def _death(self, server: Server) -> None:
        if not server.process.alive:
            return
        server.kill()
        self._dead.append(server)
        index = self._servers.index(server)
        await asyncio.sleep(self._random.uniform(0.1, 3.0))
        self._servers[index] = self._server(server.process.name, server.clock.offset)

    # The end.

    async def _until_done(self) -> None:
        tasks = [caller.task for caller in self._callers]
        if self._feed is not None:
            tasks.append(self._feed.task)
        await asyncio.gather(*tasks, *(older.task for older in self._older))

    async def _settle_mirrors(self) -> None:
        """Every account is there and open, so that each difference can be booked; and is."""
        asking = Process(self._loop, "operator")
        server = self._ready_server()
        for user in USERS:
            for asset in TABLES:
                is_there = self.oracle.purse("main", user, asset).seq > 0
                asked = self._requests.opening(user, asset, is_there=is_there)
                await server.ask(asked, asking)
        assert server.manager is not None
        report = await server.manager.sync_balances()
        if report.errors:
            raise Violation(f"MIRROR=LEDGER: {report}")

    async def _settle_options(self) -> None:
        """Long after all have expired, everything is settled."""
        for server in self._servers:
            server.clock.jump(4 * 3600.0)
        deadline = self._loop.time() + SETTLE
        while self._database.rows("SELECT 1 FROM trades WHERE status = 'open'"):
            if self._loop.time() > deadline:
                raise Violation("options are not settled")
            await asyncio.sleep(0.25)

    def _check_mirrors(self) -> None:
        """MIRROR=LEDGER, and each change of an older program is booked once."""
        for asset, table in TABLES.items():
            for row in self._database.rows(f"SELECT id, balance FROM {table}"):
                wanted = self.oracle.purse("main", row["id"], asset).balance
                if row["balance"] != wanted:
                    raise Violation(f"MIRROR=LEDGER: {row} of {table}, not {wanted}")
        if any(self._wallets.outstanding.values()):
            raise Violation(f"never booked: {self._wallets.outstanding}")

    async def _settle(self) -> None:
        deadline = self._loop.time() + SETTLE
        while True:
            behind = [
                f"{client.process.name} at {client.screen.cursor}"
                for client in self._clients
                if not client.connected or (client.screen.cursor or 0) < self.oracle.head
            ]
            if not behind:
                return
            if self._loop.time() > deadline:
                raise Violation(f"not at the head {self.oracle.head}: {behind}")
            await asyncio.sleep(0.25)

    async def _verify(self) -> None:
        """The ledger's own proof agrees."""
        server = self._ready_server()
        assert server.manager is not None
        report = await server.manager.verify()
        if report.details or report.errors:
            raise Violation(f"verify found {report}")

    def _final_checks(self) -> None:
        self._judge.close()
        if self._database.broken_rules:
            raise Violation("; ".join(self._database.broken_rules))
        if self.profile.older_programs:
            self._check_mirrors()
        self.oracle.market.check()
        judge_rows(lambda table: self._database.rows(f"SELECT * FROM {table}"))

    async def _or_fault(self, work: Any) -> None:
        """Await `work`, unless something fails before."""
        task = self._loop.create_task(work)
        watched = [task, self._fault, *(client.task for client in self._clients)]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for done in watched:
            if done.done():
                await done
                return

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or Violation(context["message"])
        if not self._fault.done():
            self._fault.set_exception(error)


def _seeded(random: Random, profile: Profile) -> sqlite3.Connection:
    database = template()
    if not profile.older_programs:
        database.execute("DELETE FROM mirrors")
    epoch = f"epoch {random.getrandbits(32):08x}"
    database.execute(
        "UPDATE clock SET epoch = ?, created_at = '2026-11-21T08:00:00.000000Z'", (epoch,)
    )
    database.execute(
        "INSERT OR IGNORE INTO books (name, side, accounts, self_service, timezone)"
        " VALUES (?, 'debit', 'open', 0, 'UTC')",
        (DUES,),
    )
    return database


def _no_more(profile: Profile) -> Profile:
    return Profile(**{**vars(profile), "until": 0.0})


class _Errors(logging.Handler):
    """Exceptions that the product logs."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.told.append(logging.Formatter().format(record))


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep all logs out of the terminal; what the product logs as an exception is a fault."""
    root, product, errors = logging.getLogger(), logging.getLogger("tallywire"), _Errors()
    handlers = root.handlers
    root.handlers = [logging.NullHandler()]
    product.addHandler(errors)
    try:
        yield errors.told
    finally:
        product.removeHandler(errors)
        root.handlers = handlers
