"""Opening: every kind of database that is there, is not, or is not ours."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from tallywire.ledger import LedgerError, open_ledger
from tallywire.ledger.database import Database, DatabaseUnavailable, normalise_url
from tallywire.ledger.errors import (
    Overloaded,
    SchemaMismatch,
    UnknownAsset,
    UnknownBook,
)

from ..conftest import RunTallywire
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
        "postgresql://h/d?connect_timeout=3",
        "postgresql://h/d?sslmode=require&channel_binding=require",
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
    """Refused by its name: nothing of ours is left beside it, and a file is not touched at all."""
    await execute(
        empty_database_url,
        "CREATE TABLE accounts (id integer)",
        "CREATE TABLE codes (id integer)",
        "CREATE VIEW assets AS SELECT id FROM codes",
    )
    file = Path(empty_database_url.removeprefix("sqlite+aiosqlite:///"))
    before = file.read_bytes() if file.is_file() else b""
    for upgrade in (False, True):
        with pytest.raises(SchemaMismatch, match="not the ledger's: accounts, assets;"):
            async with open_ledger(empty_database_url, upgrade=upgrade):
                pass
    assert (file.read_bytes() if file.is_file() else b"") == before
    with pytest.raises(Exception, match="tallywire_version"):
        await rows(empty_database_url, "SELECT * FROM tallywire_version")


async def test_a_schema_of_its_own(empty_postgres_url: str, tallywire: RunTallywire) -> None:
    """Beside tables of the same names: found by the search path in the URL."""
    await execute(
        empty_postgres_url,
        "CREATE TABLE accounts (name text)",
        "CREATE TABLE orders (id int)",
        "INSERT INTO accounts VALUES ('theirs')",
    )
    path = f"{empty_postgres_url}?options=-csearch_path%3Dledger,public"
    with pytest.raises(SchemaMismatch, match="'ledger', which the search path names first"):
        await opens(path)
    await execute(empty_postgres_url, "CREATE SCHEMA ledger", "CREATE SCHEMA second")
    order = text("INSERT INTO orders VALUES (1)")
    async with open_ledger(path) as ledger:
        await ledger.add_to_balance("alice", "5", "prize", alongside=[order])
    assert await rows(empty_postgres_url, "SELECT * FROM accounts") == [{"name": "theirs"}]
    assert await rows(empty_postgres_url, "SELECT * FROM orders") == [{"id": 1}]
    assert await rows(empty_postgres_url, "SELECT position FROM ledger.clock") == [{"position": 1}]
    assert tallywire("verify", database_url=path).returncode == 0
    # Another ledger's schema further along the path is not taken for this one's.
    second = f"{empty_postgres_url}?options=-c%20search_path=second,ledger"
    async with open_ledger(second) as ledger:
        assert (await ledger.reader.head()).position == 0


async def test_sessions_that_the_url_describes(postgres_url: str) -> None:
    """As platforms write it: libpq's sslmode and options; the ledger's own settings stay."""
    url = f"{postgres_url}?sslmode=disable&options=-cwork_mem%3D8MB%20-cstatement_timeout%3D0"
    database = Database(url)
    async with database.write() as connection:
        settings = [
            await connection.scalar(text(f"SHOW {name}"))
            for name in ("work_mem", "statement_timeout")
        ]
    await database.close()
    assert settings == ["8MB", "6s"]
    with pytest.raises(DatabaseUnavailable, match="options"):
        Database(f"{postgres_url}?options=--verbose")


async def test_a_closed_ledger_connects_no_more(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        await ledger.post(deposit(ledger, "alice"))
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await ledger.get_balance("alice")
    with pytest.raises(Overloaded):
        await ledger.add_to_balance("alice", "1", "late")


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
