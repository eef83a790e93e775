"""Opening: every kind of database that is there, is not, or is not ours."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from tallywire.ledger import LedgerError, open_ledger, open_ledger_sync
from tallywire.ledger.database import DatabaseUnavailable, normalise_url
from tallywire.ledger.errors import InsufficientFunds, SchemaMismatch, UnknownAsset, UnknownBook

from ..services.postgres import PostgresServer
from .asking import deposit
from .oracle import examine
from .raw import execute, rows


async def opens(url: str) -> str:
    """Open the ledger at `url` and use it; the result is its epoch."""
    async with open_ledger(url) as ledger:
        return (await ledger.post(deposit(ledger, "alice"))).epoch


# Addresses


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgres://u:p@h:5432/d", "postgresql+asyncpg"),
        ("postgresql://h/d", "postgresql+asyncpg"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg"),
        ("sqlite:///data/x.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:////data/x.db", "sqlite+aiosqlite"),
    ],
)
def test_addresses_as_people_write_them(given: str, driver: str) -> None:
    assert normalise_url(given).drivername == driver


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "://",
        "postgresql://h:port/d",
        "postgresql://h",
        "postgresql://h/",
        "mysql://h/d",
        "postgresql+psycopg2://h/d",
        "sqlite+pysqlite:///x.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///file:x?mode=memory&cache=shared&uri=true",
    ],
)
async def test_addresses_of_no_database(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory every connection would be a ledger of its own."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatabaseUnavailable):
        async with open_ledger(url):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_does_not_tell_the_password() -> None:
    with pytest.raises(DatabaseUnavailable) as refused:
        normalise_url("mysql://root:hunter2@h/d")
    assert "hunter2" not in str(refused.value)


# Files


async def test_folders_are_made(tmp_path: Path) -> None:
    await opens(f"sqlite:///{tmp_path}/a/b/tallywire.db")
    assert (tmp_path / "a" / "b" / "tallywire.db").is_file()


async def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (f"{tmp_path}/file/x.db", "/proc/nowhere/x.db", f"{tmp_path}"):
        with pytest.raises(DatabaseUnavailable):
            await opens(f"sqlite:///{place}")


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_text("This is not a database, and it must survive being taken for one.\n" * 99)
    before = file.read_bytes()
    with pytest.raises(DatabaseUnavailable):
        await opens(f"sqlite:///{file}")
    assert file.read_bytes() == before


# Servers


async def test_servers_that_do_not_answer(postgres_server: PostgresServer) -> None:
    nobody = "postgresql://nobody@127.0.0.1:9/none"
    for url in (nobody, postgres_server.url("there_is_no_such_database")):
        with pytest.raises(DatabaseUnavailable):
            await opens(url)


# Schemas


async def test_an_empty_database_gets_everything(empty_database_url: str) -> None:
    async with open_ledger(empty_database_url) as ledger:
        assert {asset.code: asset.scale for asset in ledger.catalog.assets.values()} == {
            "USD": 2,
            "EUR": 2,
            "USDT": 6,
            "BTC": 8,
            "ETH": 9,
            "COIN": 0,
        }
        assert set(ledger.catalog.books) == {"main", "demo"}
        assert all(book.self_service for book in ledger.catalog.books.values())
        assert (await ledger.reader.head()).position == 0
    epoch = await opens(empty_database_url)
    assert await opens(empty_database_url) == epoch
    assert await examine(empty_database_url) == 2


async def test_several_first_openings_at_once(empty_database_url: str) -> None:
    """One makes the schema, the others wait for it: one journal, one epoch."""
    epochs = await asyncio.gather(*(opens(empty_database_url) for _ in range(4)))
    assert len(set(epochs)) == 1
    assert await examine(empty_database_url) == 4


async def test_a_schema_of_a_newer_program(database_url: str) -> None:
    await execute(database_url, "UPDATE tallywire_version SET version_num = '9999'")
    for upgrade in (False, True):
        with pytest.raises(SchemaMismatch, match="newer"):
            async with open_ledger(database_url, upgrade=upgrade):
                pass
    assert await rows(database_url, "SELECT version_num FROM tallywire_version") == [
        {"version_num": "9999"}
    ]


async def test_a_schema_of_an_older_program(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused by name of the command, or upgraded where that is asked for."""
    monkeypatch.setattr("tallywire.ledger.migrations.schema_state", lambda _: "older")
    with pytest.raises(SchemaMismatch, match="tallywire upgrade"):
        await opens(database_url)
    async with open_ledger(database_url, upgrade=True) as ledger:
        await ledger.post(deposit(ledger, "alice"))


async def test_a_neighbours_tables_are_left_alone(empty_database_url: str) -> None:
    await execute(empty_database_url, "CREATE TABLE alembic_version (version_num text)")
    await execute(empty_database_url, "INSERT INTO alembic_version VALUES ('theirs')")
    await opens(empty_database_url)
    assert await rows(empty_database_url, "SELECT * FROM alembic_version") == [
        {"version_num": "theirs"}
    ]


async def test_a_neighbours_table_of_our_name(empty_database_url: str) -> None:
    """Refused whole: nothing of ours is left beside it."""
    await execute(empty_database_url, "CREATE TABLE seals (id integer)")
    with pytest.raises(DatabaseUnavailable):
        await opens(empty_database_url)
    with pytest.raises(Exception, match="accounts"):
        await rows(empty_database_url, "SELECT * FROM accounts")


@pytest.mark.parametrize(
    ("options", "error"),
    [({"default_asset": "XYZ"}, UnknownAsset), ({"default_book": "nowhere"}, UnknownBook)],
)
async def test_defaults_must_exist(
    database_url: str, options: dict[str, str], error: type[LedgerError]
) -> None:
    with pytest.raises(error):
        async with open_ledger(database_url, upgrade=False, **options):  # type: ignore[arg-type]
            pass


# Roles and copies of PostgreSQL


@pytest.fixture
def restricted(postgres_server: PostgresServer) -> Iterator[str]:
    """A database whose owner may nothing else; the result is its address for that role."""
    name = postgres_server.create_database()
    role = f"owner_of_{name}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
    postgres_server.execute(f'ALTER DATABASE "{name}" OWNER TO {role}')
    yield postgres_server.url(name).replace("postgres@", f"{role}@")
    postgres_server.drop_database(name)
    postgres_server.execute(f"DROP ROLE {role}")


async def test_an_owner_without_further_rights(restricted: str) -> None:
    """As hosters give it: open, use, and settle a lost COMMIT without a superuser's rights."""
    epoch = await opens(restricted)
    assert await opens(restricted) == epoch
    async with open_ledger(restricted) as ledger:
        await ledger.administration.pause("root")
        await ledger.administration.resume("root")
        # Ends its own session only: another role's would not be its to end.
        await execute(
            restricted,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'tallywire writer' AND datname = current_database()",
        )
        assert (await ledger.post(deposit(ledger, "alice"))).position == 3
    assert await examine(restricted) == 3


async def test_a_copied_database_is_another_journal(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    """A copy goes its own way from here: its readers must not take it for the first."""
    epoch = await opens(postgres_url)
    copy = postgres_server.create_database(template=postgres_url.rpartition("/")[2])
    try:
        copied = await opens(postgres_server.url(copy))
        assert copied != epoch
        assert await opens(postgres_server.url(copy)) == copied
        assert await examine(postgres_server.url(copy)) == 3
    finally:
        postgres_server.drop_database(copy)
    assert await opens(postgres_url) == epoch


async def test_a_copied_file_cannot_be_told_from_the_first(sqlite_url: str, tmp_path: Path) -> None:
    epoch = await opens(sqlite_url)
    copy = tmp_path / "copy.db"
    shutil.copyfile(sqlite_url.removeprefix("sqlite+aiosqlite:///"), copy)
    assert await opens(f"sqlite:///{copy}") == epoch


# Without an event loop


def test_from_many_threads(database_url: str) -> None:
    """COMMITTED_SURVIVES_FAULT needs no loop of the caller's: each thread gets its own receipt."""
    with open_ledger_sync(database_url, default_asset="COIN") as manager:

        def work(number: int) -> list[int]:
            wallet = manager.wallet(f"user-{number % 3}")
            return [wallet.add_to_balance("2", "prize").position for _ in range(10)]

        with ThreadPoolExecutor(8) as threads:
            positions = [p for done in threads.map(work, range(8)) for p in done]
        assert sorted(positions) == list(range(1, 81))
        assert manager.get_balance("user-0") == Decimal(60)
        assert manager.catalog.books["main"].side == "credit"
        with pytest.raises(InsufficientFunds):
            manager.wallet("user-1").subtract_from_balance("61", "too much")
    assert asyncio.run(examine(database_url)) == 80
