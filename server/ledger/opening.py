"""Opening a ledger: check or make its schema, read what it knows, start its committer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TypedDict, Unpack
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from .. import logs
from . import migrations
from .access import Access
from .administration import Administration
from .batch import Knowledge
from .blocking import SyncBalanceManager
from .catalog import FIRST_ASSETS, FIRST_BOOKS
from .clock import Clock, IdSource, SystemClock, rfc3339, uuid7_source
from .committer import PATIENCE_SECONDS, Committer
from .database import Database, DatabaseUnavailable, reason, system_identity
from .digest import GENESIS
from .errors import SchemaMismatch
from .exporting import Exporter
from .history import JournalReader
from .journal import Journal
from .leases import Leases
from .manager import BalanceManager
from .mirrors.check import MirrorCheck
from .mirrors.sync import MirrorSync
from .proof.records import Verifications
from .proof.runs import Proof
from .proof.verify import Verifier
from .trading.pairs import FIRST_PAIRS, Pair, assets_of, with_settings
from .trading.stamping import Prices
from .transaction_types import TransactionTypes

_log = logs.get_logger(__name__)

# One process at a time upgrades or first fills a PostgreSQL database; the number is arbitrary.
_UPGRADE_LOCK = 7_415_771


@asynccontextmanager
async def open_ledger(
    url: str,
    *,
    default_asset: str = "USDT",
    default_book: str = "main",
    upgrade: bool = False,
    clock: Clock | None = None,
    new_id: IdSource | None = None,
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator[BalanceManager]:
    """
    The ledger in the database at `url`, until the block ends; what waits then is committed.

    An empty database gets its schema and the first assets and books. An older schema is
    brought up to date only where `upgrade`. patience: seconds for which a change waits for a
    database that is away, and its batch is tried again. Raises DatabaseUnavailable, SchemaMismatch.
    """
    clock = clock or SystemClock()
    database = Database(url)
    try:
        await upgrade_database(database, clock, only_if_empty=not upgrade)
        async with open_ledger_in(
            database,
            Journal(database.dialect),
            clock,
            new_id or uuid7_source(clock),
            default_asset=default_asset,
            default_book=default_book,
            patience=patience,
        ) as manager:
            yield manager
    finally:
        await database.close()


@asynccontextmanager
async def open_ledger_in(
    database: Database,
    journal: Journal,
    clock: Clock,
    new_id: IdSource,
    *,
    default_asset: str = "USDT",
    default_book: str = "main",
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator[BalanceManager]:
    """
    The ledger in a `database` whose schema is in place, until the block ends; the database
    stays open. See `open_ledger` for the rest. Raises what reading the database raises.
    """
    knowledge = await _read_knowledge(database, journal)
    committer = Committer(database, journal, knowledge, clock, new_id, patience=patience)

    async def refresh() -> None:
        async with database.read() as connection:
            knowledge.catalog = await journal.catalog(connection)

    reader = JournalReader(database, journal, clock)
    types = TransactionTypes()
    mirrors = MirrorCheck(database, journal)
    mirror_sync = MirrorSync(database, mirrors, committer.submit_each, types)
    leases = Leases(database, clock)
    manager = BalanceManager(
        committer,
        reader,
        Administration(database, journal, clock, refresh),
        Access(database, clock),
        leases,
        mirror_sync,
        mirrors,
        Proof(
            database,
            Verifier(database, journal, reader, mirrors, types),
            Verifications(database, clock, new_id),
            leases,
            committer,
            mirror_sync,
            types,
        ),
        Exporter(database, journal),
        Prices(database, clock, lambda: knowledge.catalog, refresh),
        types,
        refresh,
        database,
        clock,
        default_asset=default_asset,
        default_book=default_book,
    )
    knowledge.catalog.asset(default_asset)
    knowledge.catalog.book(default_book)
    committer.start()
    try:
        yield manager
    finally:
        await manager.close()


class OpenOptions(TypedDict, total=False):
    """The options of `open_ledger`, by which they are described."""

    default_asset: str
    default_book: str
    upgrade: bool
    clock: Clock | None
    new_id: IdSource | None
    patience: float


def open_ledger_sync(url: str, **options: Unpack[OpenOptions]) -> SyncBalanceManager:
    """
    `open_ledger` for programs without an event loop, such as Django views and scripts: open at
    once, to be closed by a `with` block, by `close()`, or by itself as the process ends.
    """
    return SyncBalanceManager(open_ledger(url, **options))


async def upgrade_database(
    database: Database, clock: Clock, *, only_if_empty: bool = False
) -> None:
    """
    Bring the schema up to date and make what every ledger begins with.

    only_if_empty: refuse an older schema instead. Raises SchemaMismatch, DatabaseUnavailable.
    """
    try:
        async with database.read() as connection:
            # In this order: what another process makes between the two is then not in the way.
            obstacle = await connection.run_sync(migrations.obstacle)
            state = await connection.run_sync(migrations.schema_state)
        if state == "newer":
            raise SchemaMismatch("the database was made by a newer tallywire: install that one")
        if state == "older" and only_if_empty:
            raise SchemaMismatch("the database has an older schema: run `tallywire upgrade` first")
        if state != "current" and obstacle:
            raise SchemaMismatch(obstacle)
        if state != "current":
            migrations.load()
        writing = database.write if state == "current" else database.write_patiently
        async with writing() as connection:
            if database.dialect == "postgresql":
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK}
                )
            if await connection.run_sync(migrations.schema_state) != "current":
                await connection.run_sync(migrations.upgrade)
            await _begin_journal(connection, database, clock)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise DatabaseUnavailable(f"cannot open the database: {reason(error)}") from error


async def _begin_journal(connection: AsyncConnection, database: Database, clock: Clock) -> None:
    """Make the clock and the catalog once; give a restored or copied journal a new epoch."""
    identity = await system_identity(connection, database.dialect)
    row = (await connection.execute(text("SELECT epoch, system_id FROM clock"))).one_or_none()
    if row is None:
        await connection.execute(
            text(
                "INSERT INTO clock (id, position, epoch, seal, created_at, settings_version,"
                " paused, system_id) VALUES (1, 0, :epoch, :seal, :now, 1, 0, :identity)"
            ),
            {
                "epoch": str(uuid4()),
                "seal": GENESIS,
                "now": rfc3339(clock.now()),
                "identity": identity,
            },
        )
        for code, scale in FIRST_ASSETS.items():
            await connection.execute(
                text("INSERT INTO assets (code, scale) VALUES (:code, :scale)"),
                {"code": code, "scale": scale},
            )
        for pair in _first_pairs():
            await Journal(database.dialect).write_pair(connection, pair)
        for name in FIRST_BOOKS:
            await connection.execute(
                text(
                    "INSERT INTO books (name, side, default_floor, accounts, self_service,"
                    " timezone) VALUES (:name, 'credit', '0', 'open', 1, 'UTC')"
                ),
                {"name": name},
            )
    elif identity != row.system_id:
        epoch = str(uuid4())
        await connection.execute(
            text("UPDATE clock SET epoch = :epoch, system_id = :identity"),
            {"epoch": epoch, "identity": identity},
        )
        _log.warning("the journal has a new epoch", epoch=epoch, reason="this is another database")


def _first_pairs() -> Iterator[Pair]:
    for name, minimum in FIRST_PAIRS.items():
        base, quote = assets_of(name)
        yield with_settings(
            None,
            name,
            {"minimum": minimum},
            base_scale=FIRST_ASSETS[base],
            quote_scale=FIRST_ASSETS[quote],
        )


async def _read_knowledge(database: Database, journal: Journal) -> Knowledge:
    async with database.read() as connection:
        clock = await journal.clock(connection)
        return Knowledge(await journal.catalog(connection), clock.epoch)
