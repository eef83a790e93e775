"""Sources: any table, view or CSV file, read exactly as it is stored."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tallywire.cutover import CannotRead, CsvSource, Source, TableSource
from tallywire.ledger import BalanceManager
from tallywire.ledger.database import DatabaseUnavailable

from .legacy import imported, make_users, run_sql, users_table


async def _rows(source: Source) -> list[Any]:
    return [row for page in [page async for page in source.pages()] for row in page]


async def test_names_are_quoted_and_never_sql(database_url: str) -> None:
    await run_sql(
        database_url,
        """CREATE TABLE "Order; DROP TABLE users--" ("user id" text, "bal:ance %s" integer)""",
        """INSERT INTO "Order; DROP TABLE users--" VALUES ('a', 1)""",
    )
    table = "Order; DROP TABLE users--"
    source = TableSource(database_url, table, "user id", "bal:ance %s")
    assert await _rows(source) == [(1, "a", 1)]
    with pytest.raises(CannotRead, match="no column \"1; SELECT 'x'\""):
        await _rows(TableSource(database_url, table, "user id", "1; SELECT 'x'"))


async def test_what_is_not_there_is_told_with_what_is(database_url: str) -> None:
    await make_users(database_url, [("a", 1)])
    with pytest.raises(CannotRead, match=r"no table 'user'; there are .*'users'"):
        await _rows(TableSource(database_url, "user", "id", "balance"))
    with pytest.raises(CannotRead, match="no column 'saldo', but 'id', 'balance'"):
        await _rows(TableSource(database_url, "users", "id", "saldo"))


async def test_a_view_serves_as_a_table(database_url: str) -> None:
    await make_users(database_url, [("a", 1), ("b", None)])
    await run_sql(
        database_url,
        "CREATE VIEW balances AS SELECT id AS who, coalesce(balance, 0) AS balance FROM users",
    )
    rows = await _rows(TableSource(database_url, "balances", "who", "balance"))
    assert [(user, int(balance)) for _, user, balance in rows] == [("a", 1), ("b", 0)]


async def test_a_schema_is_named_before_the_table(postgres_url: str) -> None:
    await run_sql(
        postgres_url,
        "CREATE SCHEMA shop",
        "CREATE TABLE shop.users (id uuid, balance numeric)",
        "INSERT INTO shop.users VALUES ('6F9619FF-8B86-D011-B42D-00CF4FC964FF', 0.1)",
    )
    ((_, user, balance),) = await _rows(TableSource(postgres_url, "shop.users", "id", "balance"))
    assert (str(user), balance) == ("6f9619ff-8b86-d011-b42d-00cf4fc964ff", Decimal("0.1"))
    with pytest.raises(CannotRead, match=r"no table 'none\.users'"):
        await _rows(TableSource(postgres_url, "none.users", "id", "balance"))


@pytest.mark.parametrize(
    ("column", "stored", "minor"),
    [
        ("numeric(20, 6)", "1234567890123.450000", 123456789012345),
        ("bigint", "12", 1200),
        ("double precision", "0.29", 29),
        ("text", "'12.5'", 1250),
    ],
)
async def test_columns_of_every_kind_are_read_exactly(
    ledger: BalanceManager, database_url: str, column: str, stored: str, minor: int
) -> None:
    await run_sql(
        database_url,
        f"CREATE TABLE users (id integer, balance {column})",
        f"INSERT INTO users VALUES (7, {stored})",
    )
    totals, refused = await imported(ledger, users_table(database_url))
    assert refused == []
    assert totals.ledger.sum == minor


async def test_many_rows_are_read_by_pages_from_another_database(
    ledger: BalanceManager, empty_database_url: str
) -> None:
    await make_users(empty_database_url, [(f"u{i}", i) for i in range(1100)])
    totals, _ = await imported(ledger, users_table(empty_database_url))
    assert (totals.booked.rows, totals.booked.sum) == (1100, 100 * sum(range(1100)))


async def test_a_sqlite_file_is_neither_made_nor_changed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/legacy.db"
    with pytest.raises(CannotRead, match="there is no database at"):
        await _rows(users_table(url))
    assert list(tmp_path.iterdir()) == []
    await make_users(url, [("a", 1)])
    await run_sql(url.replace("sqlite:", "sqlite+aiosqlite:"), "SELECT 1")
    before = (tmp_path / "legacy.db").read_bytes()
    assert len(await _rows(users_table(url))) == 1
    assert (tmp_path / "legacy.db").read_bytes() == before


async def test_a_database_that_is_away(ledger: BalanceManager) -> None:
    with pytest.raises(DatabaseUnavailable):
        await imported(ledger, users_table("postgresql://nobody@127.0.0.1:1/x"))


class TestCsv:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    async def test_rows_are_numbered_by_their_lines(self, tmp_path: Path, encoding: str) -> None:
        file = tmp_path / "users.csv"
        file.write_text('balance,name,id\r\n1.50,"Ж, ""x""\nz",a\r\n\r\n2,,b\r\n3\r\n', encoding)
        assert await _rows(CsvSource(file, "id", "balance")) == [
            (3, "a", "1.50"),
            (5, "b", "2"),
            (6, None, "3"),
        ]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "there are none"),
            (b"id;balance\na;1\n", "'id;balance'"),
            (b"id,balance,id\na,1,b\n", "one column 'id'"),
            (b"id,balance\n\xff,1\n", "utf-8"),
            (b'id,balance\n"a,1\n', "cannot read"),
            (b"id,balance\na,1\nb,1,50\n", "line 3 of .* has more fields"),
        ],
    )
    async def test_what_is_no_csv_file(self, tmp_path: Path, content: bytes, said: str) -> None:
        file = tmp_path / "users.csv"
        file.write_bytes(content)
        with pytest.raises(CannotRead, match=said):
            await _rows(CsvSource(file, "id", "balance"))

    async def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(CannotRead, match="cannot read"):
            await _rows(CsvSource(tmp_path / "none.csv", "id", "balance"))
