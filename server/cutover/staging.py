"""The rows of a source as they were read at one moment, on disk: memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class StagedRow(NamedTuple):
    """
    One row of a source. number: where it stands there, from 1; shown_user, shown_balance: as
    the source has them; user_id, minor: what they were read as, None where they cannot be;
    problem: why it cannot be booked, or None.
    """

    number: int
    shown_user: str
    shown_balance: str
    user_id: str | None
    minor: int | None
    problem: str | None


class Staging:
    """A temporary table of rows, which is gone when it is closed."""

    def __init__(self) -> None:
        # An empty name: a private database in a temporary file, which SQLite deletes.
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(
            "CREATE TABLE rows (number INTEGER PRIMARY KEY, shown_user TEXT, shown_balance TEXT,"
            " user_id TEXT, minor INTEGER, problem TEXT)"
        )

    def add(self, rows: Iterable[StagedRow]) -> None:
        """Append rows, each with a number of its own."""
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def refuse_duplicates(self) -> None:
        """Give every row of a user who has several a problem: none of them is known to be right."""
        self._connection.execute("CREATE INDEX by_user ON rows (user_id) WHERE user_id IS NOT NULL")
        self._connection.execute(
            "UPDATE rows SET problem = 'the user is listed more than once' WHERE user_id IN"
            " (SELECT user_id FROM rows WHERE user_id IS NOT NULL GROUP BY user_id"
            " HAVING count(*) > 1)"
        )

    def pages(self, size: int) -> Iterator[list[StagedRow]]:
        """All rows in their order, at most `size` at a time."""
        last = 0
        while True:
            page = [
                StagedRow(*row)
                for row in self._connection.execute(
                    "SELECT * FROM rows WHERE number > ? ORDER BY number LIMIT ?", (last, size)
                )
            ]
            if not page:
                return
            yield page
            last = page[-1].number

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()
