"""A driver for the simulated database, in the shape of aiosqlite's but without its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Self

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tallywire.ledger.accounts import Account, AccountKey
from tallywire.ledger.database import Database
from tallywire.ledger.journal import ClockState, Journal

from .clocks import JumpingClock
from .database import ConnectionGone, DatabaseError, Result, Session, SimulatedPostgres
from .faults import Fate, Faults
from .loop import Process
from .trace import Trace

WRITER_COMMAND_SECONDS = 8.0
READER_COMMAND_SECONDS = 65.0


class SimulatedDatabase(Database):
    """One server's two engines on the simulated database."""

    def __init__(self, wire: Wire) -> None:
        self.url = make_url("sqlite+aiosqlite:///simulated")
        # The statements are SQLite's; RowLocks adds the locks that PostgreSQL would take.
        self.dialect = "sqlite"
        self._closed = False
        self.writer = _engine(wire, 2, WRITER_COMMAND_SECONDS)
        self.reader = _engine(wire, 8, READER_COMMAND_SECONDS)


def _engine(wire: Wire, pool_size: int, command_seconds: float) -> AsyncEngine:
    async def connect(*_: object, **__: object) -> Connection:
        return await wire.connect(command_seconds)

    return create_async_engine(
        "sqlite+aiosqlite:///simulated",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=command_seconds == READER_COMMAND_SECONDS,
    )


class RowLocks(Journal):
    """The journal's statements with the locks and sessions that they have on PostgreSQL."""

    def __init__(self) -> None:
        super().__init__("sqlite")

    async def lock_accounts(
        self, connection: AsyncConnection, ids: Any
    ) -> dict[AccountKey, Account]:
        rows = ",".join(f"accounts {id_}" for id_ in sorted(ids))
        if rows:
            await connection.exec_driver_sql(f"LOCK {rows}")
        return await super().lock_accounts(connection, ids)

    async def take_clock(self, connection: AsyncConnection) -> ClockState:
        await connection.exec_driver_sql("LOCK clock")
        return await super().take_clock(connection)

    async def writer_identity(self, connection: AsyncConnection) -> tuple[int, str] | None:
        number = (await connection.exec_driver_sql("SHOW SESSION")).scalar_one()
        return number, "then"

    async def end_writer(self, connection: AsyncConnection, pid: int, started: str) -> None:
        await connection.exec_driver_sql(f"END SESSION {pid}")


class Wire:
    """The network between one server and the database."""

    def __init__(
        self,
        server: Process,
        clock: JumpingClock,
        database: SimulatedPostgres,
        faults: Faults,
        trace: Trace,
    ) -> None:
        self.server = server
        self.clock = clock
        self.database = database
        self.faults = faults
        self.trace = trace
        # When a COMMIT was left without an answer last, in the loop's time.
        self.unanswered_at = -1.0
        self._connections: list[Connection] = []

    async def connect(self, command_seconds: float) -> Connection:
        """A new connection; OSError while the database is away."""
        await asyncio.sleep(2 * self.faults.latency())
        if self.faults.database_away:
            raise ConnectionRefusedError("the database is away")
        session = self.database.connect(self.server.name, self.clock)
        connection = Connection(self, session, command_seconds)
        self._connections.append(connection)
        return connection

    def cut(self, least: float = 0.0, most: float = 2.0) -> None:
        """Lose every connection; each backend notices after so many seconds."""
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.lose(self.faults.between(least, most))


class Connection:
    """One connection, as SQLAlchemy's aiosqlite dialect uses it."""

    def __init__(self, wire: Wire, session: Session, command_seconds: float) -> None:
        self._wire = wire
        self._session = session
        self._command_seconds = command_seconds
        self._connection: object | None = self
        self._answer: asyncio.Future[Any] | None = None
        self.lost = False

    def cursor(self) -> Cursor:
        """A cursor for one statement."""
        return Cursor(self)

    async def create_function(self, *_: object, **__: object) -> None:
        """No statement of ours needs one."""

    async def commit(self) -> None:
        """COMMIT, which may succeed, fail, or leave us in the dark."""
        if not self._session.in_transaction:
            return
        fate = self._wire.faults.of_commit() if self._session.writes else "fine"
        try:
            await self._ask("COMMIT", fate, lambda: self._wire.database.commit(self._session))
        except BaseException:
            self._wire.unanswered_at = asyncio.get_running_loop().time()
            raise

    async def rollback(self) -> None:
        """ROLLBACK."""
        if self._session.in_transaction:
            fate = self._wire.faults.of_statement()
            if fate == "refused":
                fate = "fine"
            await self._ask("ROLLBACK", fate, lambda: self._wire.database.rollback(self._session))

    async def close(self) -> None:
        """Say goodbye; a backend that is busy finishes first."""
        self.stop()

    def stop(self) -> None:
        """Close without waiting."""
        self._connection = None
        if not self.lost:
            self.lost = True
            self._wire.database.client_left(self._session, self._wire.faults.latency())

    def lose(self, noticed_after: float) -> None:
        """The network fails; whoever waits for an answer learns it."""
        if not self.lost:
            self.lost = True
            self._wire.database.client_left(self._session, noticed_after)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionGone())

    async def execute(self, sql: str, values: Any, *, many: bool) -> Result:
        """One statement."""
        fate = self._wire.faults.of_statement()
        database, session = self._wire.database, self._session
        result: Result = await self._ask(
            sql, fate, lambda: database.execute(session, sql, values, many=many)
        )
        return result

    async def _ask(
        self, what: str, fate: Fate, work: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Have the database do `work`, there and back over a network with the given `fate`."""
        if self.lost:
            raise ConnectionGone
        loop, faults = asyncio.get_running_loop(), self._wire.faults
        answer: asyncio.Future[Any] = loop.create_future()
        self._answer = answer
        if fate != "fine":
            self._note(f"{fate}: {_shown(what)}")
        there = faults.latency() + (faults.between(0.05, 9.0) if fate == "slow" else 0.0)
        if fate == "late":
            self._commit_late(work)
        elif fate == "lost":
            self._lose_later(faults.between(0.0, 0.5))
        else:
            refused = fate == "refused"
            database = self._wire.database.process

            def arrive() -> None:
                database.start(self._serve(what, work, answer, fate == "answer_lost", refused))

            database.call_later(there, arrive)
        if fate == "slow":
            # Nothing else takes that long: PostgreSQL's own timeouts are shorter.
            loop.call_later(self._command_seconds, self._time_out, answer)
        try:
            return await answer
        finally:
            self._answer = None

    async def _serve(
        self,
        what: str,
        work: Callable[[], Coroutine[Any, Any, Any]],
        answer: asyncio.Future[Any],
        lose_answer: bool,
        refused: bool,
    ) -> None:
        faults, process = self._wire.faults, self._wire.database.process
        result: Any = None
        error: Exception | None = None
        try:
            if refused:
                self._wire.database.fail(self._session)
                state = faults.random.choice(("40001", "53200", "57014", "55P03"))
                raise DatabaseError(state, "the database cannot do this now")
            result = await work()
        except Exception as raised:
            error = raised
        if lose_answer and what == "COMMIT" and faults.chance(0.3):
            self._note("the database fails over")
            faults.send_database_away(faults.between(1.0, 6.0))
            self._wire.cut()
        elif lose_answer:
            self._lose_later(faults.between(0.0, 0.5))
        else:
            process.call_later(faults.latency(), _reply, answer, result, error)

    def _commit_late(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """The client is cut off at once; the backend commits when it gets to it."""
        session, process = self._session, self._wire.database.process
        session.commit_is_due = True

        def commit() -> None:
            if session.open and session.commit_is_due:
                process.start(_quietly(work()))

        process.call_later(self._wire.faults.between(0.0, 4.0), commit)
        self._lose_later(self._wire.faults.between(0.0, 0.2))

    def _lose_later(self, seconds: float) -> None:
        noticed = self._wire.faults.between(0.0, 2.0)
        self._wire.database.process.call_later(seconds, self.lose, noticed)

    def _time_out(self, answer: asyncio.Future[Any]) -> None:
        if not answer.done():
            self._note("no answer in time")
            answer.set_exception(TimeoutError())
            self.lose(0.5)

    def _note(self, what: str) -> None:
        self._wire.trace.note(self._wire.server.name, f"session {self._session.number} {what}")


class Cursor:
    """One statement and its rows."""

    def __init__(self, connection: Connection) -> None:
        self._driver = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid = 0
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, values: Any = None) -> Self:
        """Run `sql`; its rows are here when it returns."""
        return self._take(await self._driver.execute(sql, values, many=False))

    async def executemany(self, sql: str, values: Any) -> Self:
        """Run `sql` for each of `values`."""
        return self._take(await self._driver.execute(sql, list(values), many=True))

    async def fetchall(self) -> list[Any]:
        """The rows that are left."""
        rows, self._rows = self._rows, []
        return rows

    async def fetchone(self) -> Any:
        """The next row."""
        return self._rows.pop(0) if self._rows else None

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows."""
        taken = self._rows[: size or 1]
        del self._rows[: len(taken)]
        return taken

    async def close(self) -> None:
        """Nothing is held."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def _take(self, result: Result) -> Self:
        self.description, self._rows, self.rowcount = result.description, result.rows, result.count
        return self


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with suppress(DatabaseError):
        await work


def _reply(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)


def _shown(sql: str) -> str:
    return " ".join(sql.split()[:4])
