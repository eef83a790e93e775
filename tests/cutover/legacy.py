"""An application's own tables, made beside a ledger or elsewhere, and imports from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tallywire.cutover import ControlTotals, ImportedBook, Refused, TableSource, import_balances
from tallywire.cutover.sources import Source, SourceRow
from tallywire.ledger import BalanceManager, SystemClock
from tallywire.ledger.database import Database

MAIN_USD = ImportedBook("main", "USD")


async def run_sql(url: str, *statements: str) -> None:
    """Run `statements` as they are in one transaction."""
    database = Database(url)
    try:
        async with database.write() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)
    finally:
        await database.close()


async def make_users(
    url: str, users: Sequence[tuple[Any, Any]], columns: str = "id text, balance numeric(14, 4)"
) -> None:
    """A table `users` with the two `columns`, and these rows, as SQL literals."""
    rows = ", ".join(f"({literal(user)}, {literal(balance)})" for user, balance in users)
    await run_sql(url, f"CREATE TABLE users ({columns})", f"INSERT INTO users VALUES {rows}")


def literal(value: object) -> str:
    """`value` as SQL writes it: text in quotes, None as NULL, anything else as it is shown."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value)


@dataclass
class Rows(Source):
    """A source of given rows, by pages of `size`."""

    given: Sequence[tuple[object, object]]
    size: int = 100
    name: str = "rows"

    async def pages(self) -> AsyncIterator[list[SourceRow]]:
        """The rows, numbered from 1."""
        numbered = [(i, user, balance) for i, (user, balance) in enumerate(self.given, start=1)]
        for first in range(0, len(numbered), self.size):
            yield numbered[first : first + self.size]


async def imported(
    manager: BalanceManager, source: Source, place: ImportedBook = MAIN_USD, **options: Any
) -> tuple[ControlTotals, list[Refused]]:
    """What an import of `source` answers; its totals always agree."""
    refused: list[Refused] = []
    totals = await import_balances(
        manager,
        source,
        place,
        actor="operator",
        clock=SystemClock(),
        refused=refused.append,
        **options,
    )
    assert totals.agree, totals
    assert totals.refused.rows == len(refused)
    return totals, refused


def users_table(url: str) -> TableSource:
    """The table of `make_users`."""
    return TableSource(url, "users", "id", "balance")
