"""Connections: two engines on one database, a writer with strict sessions and a reader."""

from __future__ import annotations

import asyncio
import inspect
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import asyncpg
from sqlalchemy import URL, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from .errors import LedgerError, MirrorRefused

Fault = Literal["retry", "timeout", "duplicate", "data", "other"]

# A frozen process must not hold the clock: the server ends its transaction after this long.
_POSTGRES_WRITER = {
    "application_name": "tallywire writer",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "5000",
    "statement_timeout": "6000",
    "lock_timeout": "4000",
    # Only keyed look-ups: a plan made while the tables were small must not outlive that.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "synchronous_commit": "on",
    "jit": "off",
}
_POSTGRES_READER = {
    "application_name": "tallywire reader",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "60000",
    "idle_in_transaction_session_timeout": "60000",
    "jit": "off",
}
# An index over years of transactions takes as long as it takes; locks are waited for as ever.
_POSTGRES_UPGRADE = {
    **_POSTGRES_WRITER,
    "idle_in_transaction_session_timeout": "60000",
    "statement_timeout": "0",
}
_CONNECT_SECONDS = 5
_BUSY_SECONDS = 0.01
# Longer than any server-side timeout: past it the connection itself is dead.
_WRITER_COMMAND_SECONDS = 8
_READER_COMMAND_SECONDS = 65

# Of libpq's parameters those that are translated, and what the driver takes by itself.
_POSTGRES_PARAMETERS = {"options", "sslmode", *inspect.signature(asyncpg.connect).parameters}

_SCHEMES = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}


class DatabaseUnavailable(LedgerError):
    """The database cannot be reached or opened."""

    code = "database_unavailable"


def normalise_url(url: str) -> URL:
    """
    The SQLAlchemy URL of a database URL as people write it (``postgres://``, ``sqlite:///``).

    Raises DatabaseUnavailable on what is not a URL of a database that the ledger can use.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUnavailable("the database URL is malformed") from None
    driver = _SCHEMES.get(parsed.drivername, parsed.drivername)
    if driver not in _SCHEMES.values():
        raise DatabaseUnavailable(
            f"{parsed.drivername!r} is not supported: use sqlite+aiosqlite:/// or postgresql://"
        )
    if driver == "sqlite+aiosqlite" and _is_in_memory(parsed):
        raise DatabaseUnavailable("the ledger needs a SQLite file, not a database in memory")
    if driver == "postgresql+asyncpg" and not parsed.database:
        raise DatabaseUnavailable("the database URL names no database")
    if driver == "postgresql+asyncpg":
        unknown = sorted(parsed.query.keys() - _POSTGRES_PARAMETERS)
        if unknown:
            raise DatabaseUnavailable(
                f"the database URL has parameters that are not supported: {', '.join(unknown)}"
            )
    return parsed.set(drivername=driver)


def _is_in_memory(url: URL) -> bool:
    name = url.database or ""
    return not name or ":memory:" in name or url.query.get("mode") == "memory"


class Database:
    """One database by two engines; `dialect` is ``sqlite`` or ``postgresql``."""

    def __init__(self, url: str, *, readers: int = 8) -> None:
        """
        url: see `normalise_url`; readers: how many connections reads may use at once.

        Nothing is connected yet. Raises DatabaseUnavailable on an unusable URL.
        """
        self.url = normalise_url(url)
        self.dialect = self.url.get_backend_name()
        self._closed = False
        if self.dialect == "sqlite":
            _make_folder(Path(str(self.url.database)))
            _check_opens(str(self.url.database))
            self.writer = _sqlite_engine(self.url, writes=True, pool_size=2)
            self.reader = _sqlite_engine(self.url, writes=False, pool_size=readers)
        else:
            self.writer = _postgres_engine(
                self.url, _POSTGRES_WRITER, _WRITER_COMMAND_SECONDS, pool_size=2
            )
            self.reader = _postgres_engine(
                self.url, _POSTGRES_READER, _READER_COMMAND_SECONDS, pool_size=readers, ping=True
            )

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write; on SQLite it holds the write lock from its start."""
        self._check_open()
        async with _unavailable_as_such(), self.writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def write_patiently(self) -> AsyncIterator[AsyncConnection]:
        """As `write`, but a statement may take long: for a schema whose tables may be large."""
        if self.dialect == "sqlite":
            async with self.write() as connection:
                yield connection
            return
        engine = _postgres_engine(self.url, _POSTGRES_UPGRADE, None, pool_size=1)
        try:
            async with _unavailable_as_such(), engine.begin() as connection:
                yield connection
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def read(self, *, any_text: bool = False) -> AsyncIterator[AsyncConnection]:
        """
        A connection for reads; each statement sees what is committed as it starts.

        any_text: read texts that are not UTF-8 too, which SQLite keeps, their bytes escaped.
        """
        self._check_open()
        async with _unavailable_as_such(), self.reader.connect() as connection:
            if not any_text or self.dialect != "sqlite":
                yield connection
                return
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.text_factory = _any_text
            try:
                yield connection
            finally:
                # Whoever is cancelled within a statement has lost the connection already.
                if not connection.invalidated:
                    driver.text_factory = str

    async def close(self) -> None:
        """Close every connection; there will be no others."""
        self._closed = True
        await self.writer.dispose()
        await self.reader.dispose()

    def _check_open(self) -> None:
        # An engine that was disposed of would connect again, and nobody would end that.
        if self._closed:
            raise DatabaseUnavailable("the database was closed by this program")


def _any_text(stored: bytes) -> str:
    return stored.decode(errors="backslashreplace")


@asynccontextmanager
async def _unavailable_as_such() -> AsyncIterator[None]:
    """Tell a database that is away from every other failure."""
    try:
        yield
    except Exception as error:
        if classify(error) in ("retry", "timeout"):
            raise DatabaseUnavailable(f"the database is away: {reason(error)}") from error
        raise


def reason(error: BaseException) -> str:
    """What the database or the network said, in one line."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def classify(error: BaseException) -> Fault:
    """
    What a failed attempt means for the change that it was about (SQLSTATE classes of
    PostgreSQL, appendix A; result codes of SQLite).

    ``retry``: connection, serialization, lock and resource errors, nothing was done;
    ``timeout``: another transaction holds what is needed, or a statement ran for too long;
    ``duplicate``: a unique key;
    ``data``: other data and constraint errors; ``other``: a defect.
    """
    if isinstance(error, (OverflowError, MirrorRefused)):
        # SQLite's driver on an integer beyond 64 bits; a mirror whose row cannot be written.
        return "data"
    if isinstance(error, (OSError, TimeoutError, PoolTimeout)):
        return "retry"
    # While connecting, the driver's own errors come unwrapped.
    original: Any = error.orig if isinstance(error, DBAPIError) else error
    if state := getattr(original, "sqlstate", None):
        return _by_sqlstate(state)
    if name := getattr(original, "sqlite_errorname", None):
        return _by_sqlite_name(name)
    if isinstance(original, sqlite3.Error):
        # The driver itself refuses: a parameter of a type that it cannot bind.
        return "other"
    # asyncpg's errors of a lost or closed connection have no SQLSTATE.
    lost = isinstance(error, (DBAPIError, asyncpg.InterfaceError))
    return "retry" if lost else "other"


def _by_sqlstate(state: str) -> Fault:
    if state in ("55P03", "57014"):
        return "timeout"
    if state == "23505":
        return "duplicate"
    if state[:2] in ("08", "40", "53", "57", "58") or state == "25P03":
        return "retry"
    # P0: what an application's own trigger raises, at COMMIT if it is deferred.
    return "data" if state[:2] in ("22", "23", "P0") else "other"


def _by_sqlite_name(name: str) -> Fault:
    if name in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
        return "duplicate"
    if name.startswith(("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG")):
        return "data"
    retried = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN")
    return "retry" if name.startswith(retried) else "other"


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(
            f"cannot make the folder {file.parent}: {error.strerror}"
        ) from error


def _check_opens(file: str) -> None:
    # The driver opens in a thread, which outlives a failure: fail before there is one.
    try:
        sqlite3.connect(file).close()
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"cannot open {file}: {error}") from error


class _Connection(sqlite3.Connection):
    """Gives its locks back when it is closed."""

    def close(self) -> None:
        # SQLite keeps a closed connection, its transaction too, while there is a cursor that was
        # not read to its end: of whoever was cancelled, until it happens to be collected.
        if self.in_transaction:
            self.rollback()
        super().close()


def _sqlite_engine(url: URL, *, writes: bool, pool_size: int) -> AsyncEngine:
    # The mode is the file's, for good: a file that turns out not to be ours must keep its own.
    mode = ["journal_mode=WAL"] if writes else []
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        # What is bound may be secret, and an error may be logged.
        hide_parameters=True,
        connect_args={"timeout": _CONNECT_SECONDS, "factory": _Connection},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: the ledger says when and how.
        connection.isolation_level = None
        try:
            for setting in (*mode, "synchronous=FULL", "foreign_keys=ON"):
                _set(connection, setting)
        except BaseException:
            # A file that is no database: nobody else would end the driver's thread.
            connection.close()
            raise

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _set(connection: Any, setting: str) -> None:
    """Set a new connection's `setting`, `name=value`."""
    deadline = monotonic() + _CONNECT_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA {setting}").close()
            return
        except sqlite3.OperationalError as error:
            # SQLite itself does not wait for another that sets the mode at the same moment.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            connection.run_async(lambda _driver: asyncio.sleep(_BUSY_SECONDS))


def _session_options(url: URL) -> dict[str, str]:
    """
    What the URL's ``options`` set, in libpq's form: ``?options=-csearch_path%3Dledger,public``.

    Raises DatabaseUnavailable on other options than ``-c``.
    """
    given = url.query.get("options", "")
    options = given if isinstance(given, str) else " ".join(given)
    if re.fullmatch(r"(\s*-c\s*\w+=\S+)*\s*", options) is None:
        raise DatabaseUnavailable("the database URL's options are not of the form -cname=value")
    return dict(re.findall(r"-c\s*(\w+)=(\S+)", options))


def _postgres_engine(
    url: URL,
    session: dict[str, str],
    command_seconds: float | None,
    *,
    pool_size: int,
    ping: bool = False,
) -> AsyncEngine:
    ssl = url.query.get("sslmode")
    return create_async_engine(
        url.difference_update_query(["options", "sslmode"]),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_CONNECT_SECONDS,
        hide_parameters=True,
        pool_pre_ping=ping,
        connect_args={
            "server_settings": {**_session_options(url), **session},
            **({"ssl": ssl} if ssl else {}),
            "timeout": _CONNECT_SECONDS,
            "command_timeout": command_seconds,
        },
    )


async def system_identity(connection: AsyncConnection, dialect: str) -> str | None:
    """
    What changes when a PostgreSQL database is restored, copied or promoted: the system id, the
    timeline and the database's oid. None on SQLite, where a restored file looks the same.
    """
    if dialect == "sqlite":
        return None
    row = (
        await connection.execute(
            text(
                "SELECT s.system_identifier, c.timeline_id, d.oid FROM pg_control_system() s,"
                " pg_control_checkpoint() c, pg_database d WHERE d.datname = current_database()"
            )
        )
    ).one()
    return f"{row[0]}/{row[1]}/{row[2]}"
