"""
The one database of a simulation: a real SQLite database in memory behind sessions that behave
like PostgreSQL's.

What is committed is in the SQLite database. A session's own writes are kept as statements and
laid over it while that session reads; so each sees what is committed and what it did itself,
statement by statement (READ COMMITTED), and writers exclude each other by row locks alone.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from .clocks import JumpingClock
from .locks import CLOCK, Deadlock, Locks, LockTimeout
from .loop import Process, SimulatedLoop
from .trace import Trace

IDLE_IN_TRANSACTION = 5.0
_NEW_ACCOUNTS = "WITH new(name,"

# Unique columns whose constraint is never met: the locks come first.
NEVER_TWICE = {
    "transactions.position": "a position was given twice",
    "transactions.reverses": "a reversal did not see another",
}

Row = tuple[Any, ...]

# A mirror's rows, read to lock those that are free and skip the others.
_SKIPPING = re.compile(r'SELECT CAST\(t\..* JOIN "(\w+)" AS t ON .* ORDER BY ', re.DOTALL)
_ADDING = re.compile(r"UPDATE (\w+) SET balance = balance \+ \? WHERE id = \?")
# The rows of the market that are locked in the order of their keys, and how they are written.
_LOCKING = re.compile(
    r"SELECT .* FROM (exposures|trading_controls|tickers) WHERE .* IN .* ORDER BY \w+"
)
_MARKING = re.compile(r"UPDATE (exposures|trading_controls|tickers) SET ")
_WRITING = re.compile(r'UPDATE "(\w+)" AS t ')


class DatabaseError(sqlite3.OperationalError):
    """An error that the database reports, by its SQLSTATE (PostgreSQL, appendix A)."""

    def __init__(self, sqlstate: str, said: str) -> None:
        super().__init__(said)
        self.sqlstate = sqlstate


class ConnectionGone(DatabaseError):
    """The connection is lost; the text is the one by which the dialect knows it."""

    def __init__(self) -> None:
        super().__init__("08006", "no active connection")


class Result:
    """What a statement gave."""

    def __init__(self, description: Any, rows: list[Row], count: int) -> None:
        self.description = description
        self.rows = rows
        self.count = count


class Session:
    """One backend: its transaction, from the first statement to COMMIT or ROLLBACK."""

    def __init__(self, number: int, owner: str, clock: JumpingClock) -> None:
        """clock: the client's, by which it decides what it writes here."""
        self.number = number
        self.owner = owner
        self.clock = clock
        # When its transaction began, in the loop's time.
        self.began = 0.0
        self.writes: list[tuple[str, Any, bool]] = []
        # By name, the rows that were locked at each savepoint.
        self.savepoints: dict[str, frozenset[str]] = {}
        self.open = True
        self.in_transaction = False
        self.failed = False
        self.busy = False
        # Set while a COMMIT was asked for whose client is gone.
        self.commit_is_due = False
        self.statements = 0
        self.watched = False


class SimulatedPostgres:
    """Sessions on one database, in a process of its own that never dies."""

    def __init__(self, loop: SimulatedLoop, trace: Trace, template: sqlite3.Connection) -> None:
        self.process = Process(loop, "database")
        self.committed: list[Callable[[Session], None]] = []
        self.locks = Locks()
        self.broken_rules: list[str] = []
        self.sessions: dict[int, Session] = {}
        self._loop = loop
        self._trace = trace
        self._sqlite = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        template.backup(self._sqlite)
        self._sqlite.execute("PRAGMA foreign_keys=ON")
        self._laid_over: Session | None = None
        self._numbers = 0
        self._account_ids = 0

    # For the oracle, which looks at what is committed.

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a query on what is committed, by column name."""
        self._take_off()
        cursor = self._sqlite.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def set_directly(self, sql: str, *values: Any) -> None:
        """Change what is committed, as an operator does between two transactions."""
        self._take_off()
        self._sqlite.execute(sql, values)

    # Sessions.

    def connect(self, owner: str, clock: JumpingClock) -> Session:
        """A new session."""
        self._numbers += 1
        session = self.sessions[self._numbers] = Session(self._numbers, owner, clock)
        return session

    async def execute(self, session: Session, sql: str, values: Any, *, many: bool) -> Result:
        """Run one statement to its end, waits for locks included."""
        back = sql.removeprefix("ROLLBACK TO SAVEPOINT ")
        if session.failed and back in session.savepoints:
            session.failed = False
        self._begin(session)
        try:
            return await self._run(session, sql, values, many)
        except LockTimeout as waited:
            session.failed = True
            raise DatabaseError("55P03", f"lock timeout on {waited}") from None
        except Deadlock as waited:
            session.failed = True
            raise DatabaseError("40P01", f"deadlock on {waited}") from None
        except sqlite3.Error as error:
            session.failed = True
            for column, rule in NEVER_TWICE.items():
                if column in str(error):
                    self.broken_rules.append(f"{rule}: {error}")
            raise
        finally:
            self._end_statement(session)

    async def commit(self, session: Session) -> None:
        """COMMIT; after a failed statement it rolls back, as PostgreSQL does."""
        if not session.open:
            raise ConnectionGone
        if session.failed or not session.writes:
            self._finish(session)
            return
        try:
            self._lay_over(session)
            self._sqlite.execute("COMMIT")
        except sqlite3.Error:
            self._take_off()
            self._finish(session)
            raise
        self._laid_over = None
        self._trace.note("database", f"session {session.number} of {session.owner} committed")
        self._finish(session)
        for callback in self.committed:
            try:
                callback(session)
            except Exception as violation:
                # It is the world's, not the session's that committed.
                self._loop.call_exception_handler({"message": "", "exception": violation})

    async def rollback(self, session: Session) -> None:
        """ROLLBACK."""
        if not session.open:
            raise ConnectionGone
        self._finish(session)

    def fail(self, session: Session) -> None:
        """A statement fails: nothing but ROLLBACK works in its transaction any more."""
        session.in_transaction = session.failed = True

    def end(self, session: Session) -> None:
        """End the session, undoing what it has not committed."""
        if session.open:
            session.open = False
            self._finish(session)
            self.sessions.pop(session.number, None)

    def client_left(self, session: Session, noticed_after: float) -> None:
        """The client's connection is dead; the backend notices that after a while."""
        self.process.call_later(noticed_after, self._notice_end, session)

    def _notice_end(self, session: Session) -> None:
        if session.busy or session.commit_is_due:
            self.process.call_later(0.05, self._notice_end, session)
        else:
            self.end(session)

    # Inside.

    def _begin(self, session: Session) -> None:
        if not session.open:
            raise ConnectionGone
        if session.failed:
            raise DatabaseError("25P02", "current transaction is aborted")
        if not session.in_transaction:
            session.in_transaction = True
            session.began = self._loop.time()
        session.busy = True
        session.statements += 1

    def _end_statement(self, session: Session) -> None:
        session.busy = False
        if not session.watched:
            session.watched = True
            self._watch_idling(session)

    def _watch_idling(self, session: Session) -> None:
        self.process.call_later(IDLE_IN_TRANSACTION, self._end_if_idle, session, session.statements)

    def _end_if_idle(self, session: Session, statements: int) -> None:
        if not session.open or not session.in_transaction:
            session.watched = False
        elif session.statements != statements or session.busy or session.commit_is_due:
            self._watch_idling(session)
        else:
            self._trace.note("database", f"session {session.number} idled too long")
            self.end(session)

    async def _run(self, session: Session, sql: str, values: Any, many: bool) -> Result:
        if sql.startswith("LOCK "):
            for row in sql.removeprefix("LOCK ").split(","):
                await self._lock(session, row)
            return Result(None, [], -1)
        if sql == "SHOW SESSION":
            return Result((("session", *[None] * 6),), [(session.number,)], 1)
        if sql.startswith("END SESSION "):
            self._terminate(int(sql.removeprefix("END SESSION ")))
            return Result(None, [], -1)
        if skipping := _SKIPPING.match(sql):
            values = self._lock_free_rows(session, skipping[1], values)
        if locking := _LOCKING.match(sql):
            for key in sorted(json.loads(values[0])):
                parts = key if isinstance(key, list) else [key]
                await self._lock(session, _row_name(locking[1], parts))
        if sql.startswith(("SELECT", "PRAGMA", "WITH wanted(")):
            return self._read(session, sql, values)
        if sql.startswith("SAVEPOINT "):
            name = sql.removeprefix("SAVEPOINT ")
            session.savepoints[name] = self.locks.held_by(session.number)
        if sql.startswith("ROLLBACK TO SAVEPOINT "):
            name = sql.removeprefix("ROLLBACK TO SAVEPOINT ")
            self.locks.release(session.number, but=session.savepoints[name])
        for row in _rows_locked_by(sql, values, many):
            await self._lock(session, row)
        if sql.startswith(_NEW_ACCOUNTS):
            sql = self._with_ids(sql, len(_new_accounts(values)))
        return self._write(session, sql, values, many)

    def _lock_free_rows(self, session: Session, table: str, values: Any) -> tuple[str]:
        """SKIP LOCKED: lock what nobody else has of the wanted rows, and want only that."""
        (wanted,) = values
        free = [
            key
            for key in json.loads(wanted)
            if self.locks.take_if_free(session.number, _row_name(table, key))
        ]
        return (json.dumps(free),)

    async def _lock(self, session: Session, row: str) -> None:
        if self.locks.would_wait_behind(session.number, row, CLOCK):
            self.broken_rules.append(f"a session that holds the clock waits for {row}")
        if await self.locks.take(session.number, row):
            self._trace.note("database", f"session {session.number} waited for {row}")
        if not session.open:
            self.locks.release(session.number)
            raise ConnectionGone

    def _read(self, session: Session, sql: str, values: Any) -> Result:
        self._lay_over(session)
        cursor = self._sqlite.execute(sql, values or ())
        return Result(cursor.description, cursor.fetchall(), -1)

    def _write(self, session: Session, sql: str, values: Any, many: bool) -> Result:
        self._lay_over(session)
        if self._laid_over is None:
            self._sqlite.execute("BEGIN")
            self._laid_over = session
        if many:
            cursor = self._sqlite.executemany(sql, values)
            rows: list[Row] = []
        else:
            cursor = self._sqlite.execute(sql, values or ())
            rows = cursor.fetchall()
        session.writes.append((sql, values, many))
        return Result(cursor.description, rows, cursor.rowcount)

    def _lay_over(self, session: Session) -> None:
        if self._laid_over is session:
            return
        self._take_off()
        if not session.writes:
            return
        self._sqlite.execute("BEGIN")
        self._laid_over = session
        for sql, values, many in session.writes:
            if many:
                self._sqlite.executemany(sql, values)
            else:
                self._sqlite.execute(sql, values or ()).fetchall()

    def _take_off(self) -> None:
        if self._laid_over is not None:
            self._laid_over = None
            self._sqlite.execute("ROLLBACK")

    def _finish(self, session: Session) -> None:
        if self._laid_over is session:
            self._take_off()
        session.writes = []
        session.savepoints = {}
        session.in_transaction = session.failed = session.commit_is_due = False
        self.locks.release(session.number)

    def _with_ids(self, sql: str, count: int) -> str:
        """A sequence gives ids once, whoever commits first."""
        first, self._account_ids = self._account_ids, self._account_ids + count
        return sql.replace("INTO accounts (name,", "INTO accounts (id, name,").replace(
            "SELECT name,", f"SELECT {first} + row_number() OVER (ORDER BY name), name,"
        )

    def _terminate(self, number: int) -> None:
        """The session ends a moment later; a COMMIT under way may still take place."""
        session = self.sessions.get(number)
        if session is not None:
            self._trace.note("database", f"session {number} is to end")
            self.process.call_later(0.001 * (number % 40), self._end_terminated, session)

    def _end_terminated(self, session: Session) -> None:
        if session.commit_is_due and session.number % 2:
            session.commit_is_due = False
            self.process.start(self._commit_and_end(session))
        else:
            self.end(session)

    async def _commit_and_end(self, session: Session) -> None:
        await self.commit(session)
        self.end(session)


def _row_name(table: str, key: Sequence[str]) -> str:
    return f"{table} {'/'.join(key)}"


def _rows_locked_by(sql: str, values: Any, many: bool) -> Sequence[str]:
    """The rows that an INSERT or UPDATE of the write path locks."""
    if sql.startswith(_NEW_ACCOUNTS):
        return [f"account {name}" for name in _new_accounts(values)]
    if sql.startswith("UPDATE accounts"):
        return [f"accounts {row[-1]}" for row in (values if many else [values])]
    if sql.startswith("INSERT INTO holds"):
        return [f"hold {row[0]}" for row in (values if many else [values])]
    if marking := _MARKING.match(sql):
        parts = 1 if marking[1] == "tickers" else 2
        return [_row_name(marking[1], row[-parts:]) for row in (values if many else [values])]
    if adding := _ADDING.match(sql):
        return [_row_name(adding[1], values[-1:])]
    if writing := _WRITING.match(sql):
        return [_row_name(writing[1], row[:-1]) for row in json.loads(values[0])]
    if sql.startswith("UPDATE clock"):
        return [CLOCK]
    return []


def _new_accounts(values: Any) -> list[str]:
    """The names of the accounts that a statement would make, in its order."""
    return [name for name, *_ in json.loads(values[0])]
