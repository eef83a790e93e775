"""Every SQL statement of a verification, named; all of them read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from .. import schema
from ..accounts import StoredState
from ..dialects import HALF, Sets
from ..money import LARGEST
from .holds import StoredHold
from .stored import StoredAccount, StoredEntry

TRANSACTION_COLUMNS = tuple(column.name for column in schema.transactions.columns)


class Selection(NamedTuple):
    """Which accounts are looked at; those made after the start are left to the next time."""

    last_account: int
    users: Collection[str] | None = None
    book: str | None = None
    asset: str | None = None

    @property
    def whole(self) -> bool:
        """Whether it leaves none out."""
        return self.users is None and self.book is None and self.asset is None


class Statements:
    """The statements of a verification on one dialect, ``sqlite`` or ``postgresql``."""

    def __init__(self, dialect: str) -> None:
        sqlite = dialect == "sqlite"
        self._sets = Sets(dialect)
        columns = ", ".join(TRANSACTION_COLUMNS)
        size = "length(encoded)" if sqlite else "octet_length(encoded)"
        entry = ", ".join(StoredEntry._fields)
        state = ", ".join(f"a.{name}" for name in StoredState._fields)
        last_state = ", ".join(f"last.{name}" for name in StoredState._fields)
        # A position that is no number, which SQLite would keep, sorts after all that are.
        last = f"(SELECT max({{0}}) FROM {{1}} WHERE {{0}} <= {LARGEST})"
        beyond = f"(SELECT count(*) FROM {{1}} WHERE {{0}} > {LARGEST})"
        self.bounds = text(
            "SELECT c.position, c.seal, c.created_at,"
            f" {last.format('position', 'transactions')} AS transactions,"
            f" {last.format('position', 'postings')} AS postings,"
            f" {last.format('last', 'seals')} AS seals,"
            " (SELECT seal FROM seals ORDER BY last DESC LIMIT 1) AS last_seal,"
            " (SELECT created_at FROM seals ORDER BY last DESC LIMIT 1) AS last_time,"
            f" {beyond.format('position', 'transactions')}"
            f" + {beyond.format('position', 'postings')}"
            f" + {beyond.format('last', 'seals')} AS beyond,"
            " (SELECT max(id) FROM accounts) AS last_account FROM clock c"
        )
        # Not more than fits: as many rows as the bytes before them allow, and always one.
        self.transactions = text(
            f"SELECT {columns} FROM (SELECT {columns}, sum({size}) OVER (ORDER BY position)"
            f" - {size} AS bytes_before FROM (SELECT {columns} FROM transactions"
            " WHERE position > :after AND position <= :head ORDER BY position"
            " LIMIT :limit) page) sized WHERE bytes_before < :bytes ORDER BY position"
        )
        self.postings = text(
            f"SELECT {entry} FROM postings WHERE position > :after AND position <= :upto"
        )
        self.transactions_of = text(
            f"SELECT {', '.join(f't.{name}' for name in TRANSACTION_COLUMNS)} FROM postings p"
            " JOIN transactions t ON t.position = p.position WHERE p.account_id = :account_id"
            " AND p.position > :after ORDER BY p.position LIMIT :limit"
        )
        self.postings_at = self._by_set(f"SELECT {entry} FROM postings WHERE position", "positions")
        self.users = text(
            "SELECT DISTINCT owner FROM accounts WHERE owner > :after"
            " AND substr(owner, 1, 1) <> '@'"
            " ORDER BY owner LIMIT :limit"
        )
        self.user_count = text(
            "SELECT count(DISTINCT owner) FROM accounts WHERE substr(owner, 1, 1) <> '@'"
        )
        self.account_keys = self._by_set(
            "SELECT id, book, owner, asset FROM accounts WHERE id", "ids"
        )
        self.originals = self._by_set(
            "SELECT o.id, o.position, o.type, (SELECT min(r.position) FROM transactions r"
            " WHERE r.reverses = o.id) FROM transactions o WHERE o.id",
            "ids",
            "text",
        )
        self.openings = self._by_set(
            "SELECT o.id, o.position, o.encoded, (SELECT min(e.position) FROM transactions e"
            " WHERE e.trade = o.id AND e.id <> o.id) FROM transactions o"
            " WHERE o.trade = o.id AND o.id",
            "ids",
            "text",
        )
        self.legs = self._by_set(
            "SELECT position, account_id, amount FROM postings WHERE position", "positions"
        )
        self.seals = text(
            "SELECT last, first, created_at, seal FROM seals WHERE last > :after AND last <= :head"
            " ORDER BY last LIMIT :limit"
        )
        self.seal = text("SELECT seal FROM seals WHERE last = :position")
        self.entries = text(
            f"SELECT {entry} FROM postings WHERE (account_id, position) > (:account_id, :position)"
            " AND account_id <= :last AND position <= :head"
            " ORDER BY account_id, position LIMIT :limit"
        )
        self.causes = self._by_set(
            "SELECT t.position, t.id, t.type, t.hold, o.type,"
            " CASE WHEN t.reverses IS NOT NULL THEN t.metadata END, t.trade"
            " FROM transactions t LEFT JOIN transactions o ON o.id = t.reverses WHERE t.position",
            "positions",
        )
        last_entry = (
            "LEFT JOIN postings last ON last.account_id = a.id AND last.position ="
            " (SELECT max(position) FROM postings WHERE account_id = a.id)"
            if sqlite
            else "LEFT JOIN LATERAL (SELECT * FROM postings WHERE account_id = a.id"
            " ORDER BY position DESC LIMIT 1) last ON true"
        )
        open_holds = "FROM holds h WHERE h.account_id = a.id AND h.status = 'open'"
        self.cached = self._by_set(
            "SELECT a.id, last.position,"
            f" (SELECT SUM(h.remaining / {HALF}) {open_holds}),"
            f" (SELECT SUM(h.remaining % {HALF}) {open_holds}),"
            f" {state}, {last_state} FROM accounts a {last_entry} WHERE a.id",
            "ids",
        )
        hold = ", ".join(f"h.{name}" for name in StoredHold._fields)
        self.holds = self._by_set(
            f"SELECT p.id, q.account_id, p.position, n.position, n.encoded, {hold}"
            " FROM transactions p JOIN postings q ON q.position = p.position"
            " JOIN transactions n ON n.hold = p.id AND n.position ="
            " (SELECT max(m.position) FROM transactions m WHERE m.hold = p.id)"
            " LEFT JOIN holds h ON h.id = p.id WHERE p.id",
            "ids",
            "text",
        )
        self.hold_moves = self._by_set(
            "SELECT t.hold, t.position, q.held_change FROM transactions t JOIN postings q"
            " ON q.position = t.position WHERE t.hold",
            "ids",
            "text",
        )
        self.loose_holds = self._by_set(
            "SELECT h.id, h.account_id, h.remaining FROM holds h WHERE NOT EXISTS"
            " (SELECT 1 FROM transactions t JOIN postings q ON q.position = t.position"
            " WHERE t.id = h.id AND t.hold = t.id AND q.account_id = h.account_id)"
            " AND h.account_id",
            "ids",
        )
        self.system_postings = text(
            "SELECT position, amount FROM postings WHERE account_id = :id AND position > :after"
            " ORDER BY account_id, position LIMIT :limit"
        )
        self.system_row = text(
            f"SELECT {state}, p.position, p.amount FROM accounts a LEFT JOIN postings p"
            " ON p.account_id = a.id AND p.position > :after WHERE a.id = :id ORDER BY p.position"
        )

    def accounts(self, selection: Selection) -> tuple[TextClause, dict[str, Any]]:
        """A page of the accounts selected, those after the id `:after`; and its parameters."""
        columns = ", ".join(StoredAccount._fields)
        condition, parameters = self._selected(selection)
        return text(
            f"SELECT {columns} FROM accounts WHERE id > :after AND {condition}"
            " ORDER BY id LIMIT :limit"
        ), parameters

    def count_accounts(self, selection: Selection) -> tuple[TextClause, dict[str, Any]]:
        """How many accounts are selected; and its parameters."""
        condition, parameters = self._selected(selection)
        return text(f"SELECT count(*) FROM accounts WHERE {condition}"), parameters

    def _selected(self, selection: Selection) -> tuple[str, dict[str, Any]]:
        conditions = ["id <= :last_account"]
        parameters: dict[str, Any] = {"last_account": selection.last_account}
        if selection.users is not None:
            conditions.append(f"owner {self._sets.among('users', 'text')}")
            parameters["users"] = self.set(selection.users)
        for column in ("book", "asset"):
            if (value := getattr(selection, column)) is not None:
                conditions.append(f"{column} = :{column}")
                parameters[column] = value
        return " AND ".join(conditions), parameters

    def set(self, values: Iterable[Any]) -> Any:
        """`values` as a parameter of a statement that looks them up."""
        return self._sets.parameter(sorted(values))

    def _by_set(self, statement: str, name: str, kind: str = "bigint") -> TextClause:
        return text(f"{statement} {self._sets.among(name, kind)}")


async def rows(
    connection: AsyncConnection, statement: TextClause, **parameters: Any
) -> Sequence[Any]:
    """The rows of one statement."""
    return (await connection.execute(statement, parameters)).all()
