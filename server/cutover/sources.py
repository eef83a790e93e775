"""Where opening balances are read from: a table or view of any database, or a CSV file."""

from __future__ import annotations

import csv
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import ColumnClause, Connection, Select, column, inspect, quoted_name, select, table
from sqlalchemy.exc import SAWarning, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..ledger.database import Database, normalise_url, reason
from ..ledger.errors import LedgerError

_PAGE = 1000
_MOST_NAMES = 30

SourceRow = tuple[int, object, object]


class CannotRead(LedgerError):
    """The source cannot be read."""

    code = "cannot_read"


class Source(Protocol):
    """Rows of user ids and balances, as of one moment."""

    @property
    def name(self) -> str:
        """What it is called in the audit."""

    def pages(self) -> AsyncIterator[list[SourceRow]]:
        """All rows as (number, user id, balance), the values as stored. Raises CannotRead."""


@dataclass(frozen=True)
class TableSource:
    """
    Two columns of a table or view, read by one statement and so as of one moment.

    url: as DATABASE_URL; table: its name, or ``schema.name``; names are matched exactly.
    """

    url: str
    table: str
    id_column: str
    balance_column: str

    @property
    def name(self) -> str:
        """What it is called in the audit."""
        return f"table {self.table}, column {self.balance_column}"

    async def pages(self) -> AsyncIterator[list[SourceRow]]:
        """All rows as (number from 1, user id, balance). Raises CannotRead, DatabaseUnavailable."""
        _check_file(self.url)
        database = Database(self.url, readers=1)
        try:
            async with database.read() as connection:
                with warnings.catch_warnings():
                    # Types that SQLAlchemy does not know are none of our business here.
                    warnings.simplefilter("ignore", SAWarning)
                    statement = await connection.run_sync(self._statement)
                async for page in _numbered(connection, statement):
                    yield page
        except SQLAlchemyError as error:
            raise CannotRead(f"cannot read table {self.table}: {reason(error)}") from error
        finally:
            await database.close()

    def _statement(self, connection: Connection) -> Select[Any]:
        inspector = inspect(connection)
        schema: str | None = None
        name = self.table
        if not inspector.has_table(name) and "." in name:
            schema, _, name = name.partition(".")
        if not inspector.has_table(name, schema):
            present = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
            raise CannotRead(f"there is no table {self.table!r}; there are {_listed(present)}")
        columns = [each["name"] for each in inspector.get_columns(name, schema)]
        for wanted in (self.id_column, self.balance_column):
            if wanted not in columns:
                raise CannotRead(f"{self.table} has no column {wanted!r}, but {_listed(columns)}")
        user: ColumnClause[Any] = column(quoted_name(self.id_column, True))
        balance: ColumnClause[Any] = column(quoted_name(self.balance_column, True))
        place = quoted_name(schema, True) if schema else None
        # Labels, so that one column may be read as both.
        return select(user.label("user_id"), balance.label("balance")).select_from(
            table(quoted_name(name, True), user, balance, schema=place)
        )


@dataclass(frozen=True)
class CsvSource:
    """Two columns, named in the first line, of a CSV file in UTF-8, with or without a BOM."""

    path: Path
    id_column: str
    balance_column: str

    @property
    def name(self) -> str:
        """What it is called in the audit."""
        return f"file {self.path.name}, column {self.balance_column}"

    async def pages(self) -> AsyncIterator[list[SourceRow]]:
        """All rows as (number of the line, user id, balance). Raises CannotRead."""
        with self._lines() as lines:
            page: list[SourceRow] = []
            for fields in lines:
                if None in fields:
                    # An unquoted comma inside a number would cut it off.
                    raise CannotRead(
                        f"line {lines.line_num} of {self.path} has more fields than the first"
                    )
                page.append((lines.line_num, fields[self.id_column], fields[self.balance_column]))
                if len(page) == _PAGE:
                    yield page
                    page = []
            yield page

    @contextmanager
    def _lines(self) -> Iterator[csv.DictReader[str]]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                lines = csv.DictReader(file, strict=True)
                present = list(lines.fieldnames or ())
                for wanted in (self.id_column, self.balance_column):
                    if present.count(wanted) != 1:
                        raise CannotRead(
                            f"the first line of {self.path} names one column {wanted!r};"
                            f" there are {_listed(present)}"
                        )
                yield lines
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CannotRead(f"cannot read {self.path}: {error}") from error


async def _numbered(
    connection: AsyncConnection, statement: Select[Any]
) -> AsyncIterator[list[SourceRow]]:
    number = 0
    # Server-side, so that neither the rows nor the snapshot are kept here.
    async with connection.stream(statement) as result:
        async for rows in result.partitions(_PAGE):
            yield [(number + i, row[0], row[1]) for i, row in enumerate(rows, start=1)]
            number += len(rows)


def _check_file(url: str) -> None:
    """Raise CannotRead where `url` is that of a SQLite file that is not there: none is made."""
    parsed = normalise_url(url)
    file = Path(str(parsed.database))
    if parsed.get_backend_name() == "sqlite" and not file.is_file():
        raise CannotRead(f"there is no database at {file}")


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    more = ", …" if len(names) > _MOST_NAMES else ""
    return ", ".join(repr(name) for name in names[:_MOST_NAMES]) + more
