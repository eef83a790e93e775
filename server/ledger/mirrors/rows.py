"""
Every SQL statement about mirrors: the host application's rows and what is remembered of them.

Rows are found by their key's own index: it is the parameter that is cast, never the column. They
are known by the key's text as the database gives it back, so that a row which only reads
like the wanted one (another case, another spelling of a number) is not it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ..dialects import Sets
from .mirror import Mirror, MirrorState, RowKey

STATES_PER_STATEMENT = 5000

_ACCOUNT = "a.id, a.balance, a.held, a.total_in, a.total_out, a.total_earned"


class MirrorRows:
    """The statements on one dialect, ``sqlite`` or ``postgresql``."""

    def __init__(self, dialect: str) -> None:
        self._sqlite = dialect == "sqlite"
        sets = Sets(dialect)
        self._any, self._set = sets.among, sets.parameter

    async def lock(
        self, connection: AsyncConnection, mirror: Mirror, keys: Sequence[RowKey]
    ) -> dict[RowKey, Any]:
        """
        The values of those rows of `keys` that nobody else has locked, locked in key order
        until the transaction ends; rows that refer to them are not held up.
        """
        lock = "" if self._sqlite else " FOR NO KEY UPDATE OF t SKIP LOCKED"
        order = ", ".join(f"t.{_quoted(column.name)}" for column in mirror.key)
        return await self._read(connection, mirror, keys, f" ORDER BY {order}{lock}")

    async def present(
        self, connection: AsyncConnection, mirror: Mirror, keys: Sequence[RowKey]
    ) -> set[RowKey]:
        """Those of `keys` that there are rows of, locked by others or not."""
        return set(await self._read(connection, mirror, keys, ""))

    async def write(
        self, connection: AsyncConnection, mirror: Mirror, values: Mapping[RowKey, str]
    ) -> dict[RowKey, Any]:
        """Write a text to each row; the value that each row then has, by its key."""
        kind = "bigint" if mirror.kind == "integer" else "numeric"
        value = "w.v" if self._sqlite else f"CAST(w.v AS {kind})"
        # SQLite knows no alias there, PostgreSQL would take the names for those of `w` too.
        of = "" if self._sqlite else "t."
        rows = await connection.execute(
            text(
                f"UPDATE {_table(mirror)} AS t SET {_quoted(mirror.column)} = {value}"
                f" FROM {self._wanted(mirror, ('v',))} WHERE {self._on(mirror)}"
                f" RETURNING {self._key_texts(mirror, of)}, {of}{_quoted(mirror.column)}"
            ),
            self._parameters(mirror, list(values), {"v": list(values.values())}),
        )
        return {tuple(row[:-1]): row[-1] for row in rows.all()}

    async def states(
        self, connection: AsyncConnection, mirrors: Sequence[int], accounts: Sequence[int]
    ) -> dict[tuple[int, int], MirrorState]:
        """What is remembered of the accounts' rows, by mirror and account id."""
        rows = await connection.execute(
            text(
                "SELECT mirror, account_id, written, failure FROM mirror_states"
                f" WHERE mirror {self._any('mirrors', 'bigint')}"
                f" AND account_id {self._any('accounts', 'bigint')}"
            ),
            {"mirrors": self._set(mirrors), "accounts": self._set(accounts)},
        )
        return {(row[0], row[1]): MirrorState(row[2], row[3]) for row in rows.all()}

    async def remember(
        self, connection: AsyncConnection, states: Mapping[tuple[int, int], MirrorState]
    ) -> None:
        """Remember `states`, by mirror and account id."""
        rows = [(*place, state.written, state.failure) for place, state in states.items()]
        if self._sqlite:
            source = (
                "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
                " json_extract(value, '$[2]'), json_extract(value, '$[3]')"
                " FROM json_each(:rows) WHERE true"
            )
            parameters: dict[str, Any] = {"rows": _json(rows)}
        else:
            source = (
                "SELECT * FROM unnest(CAST(:mirrors AS bigint[]), CAST(:accounts AS bigint[]),"
                " CAST(:written AS bigint[]), CAST(:failures AS text[]))"
            )
            names = ("mirrors", "accounts", "written", "failures")
            parameters = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        await connection.execute(
            text(
                f"INSERT INTO mirror_states (mirror, account_id, written, failure) {source}"
                " ON CONFLICT (mirror, account_id) DO UPDATE"
                " SET written = excluded.written, failure = excluded.failure"
            ),
            parameters,
        )

    async def forget(self, connection: AsyncConnection) -> bool:
        """Delete some of what is remembered of mirrors that are no more; whether there was any."""
        deleted = await connection.execute(
            text(
                "DELETE FROM mirror_states WHERE (mirror, account_id) IN (SELECT mirror,"
                " account_id FROM mirror_states WHERE mirror NOT IN (SELECT id FROM mirrors)"
                " LIMIT :limit)"
            ),
            {"limit": STATES_PER_STATEMENT},
        )
        return bool(deleted.rowcount)

    async def deferred(
        self, connection: AsyncConnection, after: tuple[int, int], limit: int
    ) -> list[tuple[int, int]]:
        """The next `limit` mirrors and account ids whose row is known to lack its value."""
        rows = await connection.execute(
            text(
                "SELECT mirror, account_id FROM mirror_states WHERE failure IS NOT NULL"
                " AND (mirror, account_id) > (:mirror, :account)"
                " ORDER BY mirror, account_id LIMIT :limit"
            ),
            {"mirror": after[0], "account": after[1], "limit": limit},
        )
        return [(row[0], row[1]) for row in rows.all()]

    async def compare(
        self, connection: AsyncConnection, mirror: Mirror, wanted: Mapping[int, RowKey]
    ) -> list[tuple[Any, ...]]:
        """
        Accounts and their rows as of one moment, `wanted` by account id: id, balance, held,
        total_in, total_out, total_earned, the id again where a state is remembered, its written and
        failure, the row's value, and its key's texts (None where there is no row).
        """
        empty = (None,) * len(mirror.key)
        rows = await connection.execute(
            text(
                f"SELECT {_ACCOUNT}, s.account_id, s.written, s.failure,"
                f" t.{_quoted(mirror.column)}, {self._key_texts(mirror, 't.')}"
                f" FROM {self._wanted(mirror, ('n',))}"
                f" JOIN accounts AS a ON a.id = {'w.n' if self._sqlite else 'CAST(w.n AS bigint)'}"
                " LEFT JOIN mirror_states AS s ON s.mirror = :mirror AND s.account_id = a.id"
                f" LEFT JOIN {_table(mirror)} AS t ON {self._on(mirror)}"
            ),
            {
                "mirror": mirror.id,
                **self._parameters(
                    mirror,
                    [key or empty for key in wanted.values()],
                    {"n": [str(id_) for id_ in wanted]},
                ),
            },
        )
        return [tuple(row) for row in rows.all()]

    async def _read(
        self, connection: AsyncConnection, mirror: Mirror, keys: Sequence[RowKey], rest: str
    ) -> dict[RowKey, Any]:
        rows = await connection.execute(
            text(
                f"SELECT {self._key_texts(mirror, 't.')}, t.{_quoted(mirror.column)}"
                f" FROM {self._wanted(mirror)} JOIN {_table(mirror)} AS t"
                f" ON {self._on(mirror)}{rest}"
            ),
            self._parameters(mirror, keys),
        )
        return {tuple(row[:-1]): row[-1] for row in rows.all()}

    # The keys that are wanted, as a table `w` with a text column for each key column and more

    def _wanted(self, mirror: Mirror, more: Sequence[str] = ()) -> str:
        names = [*(f"k{i}" for i in range(len(mirror.key))), *more]
        if self._sqlite:
            columns = ", ".join(
                f"json_extract(value, '$[{i}]') AS {name}" for i, name in enumerate(names)
            )
            return f"(SELECT {columns} FROM json_each(:rows)) AS w"
        arrays = ", ".join(f"CAST(:{name} AS text[])" for name in names)
        return f"unnest({arrays}) AS w({', '.join(names)})"

    def _parameters(
        self,
        mirror: Mirror,
        keys: Sequence[tuple[str | None, ...]],
        more: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Any]:
        columns = {f"k{i}": [key[i] for key in keys] for i in range(len(mirror.key))}
        columns.update({name: list(values) for name, values in (more or {}).items()})
        if self._sqlite:
            return {"rows": _json(list(zip(*columns.values(), strict=True)))}
        return columns

    def _on(self, mirror: Mirror) -> str:
        return " AND ".join(
            f"t.{_quoted(column.name)} = "
            + (f"w.k{i}" if self._sqlite else f"CAST(w.k{i} AS {column.type})")
            for i, column in enumerate(mirror.key)
        )

    def _key_texts(self, mirror: Mirror, of: str) -> str:
        return ", ".join(f"CAST({of}{_quoted(column.name)} AS text)" for column in mirror.key)


def _table(mirror: Mirror) -> str:
    return ".".join(map(_quoted, mirror.table.split(".")))


def _quoted(name: str) -> str:
    """`name` as an identifier; a colon in it is no parameter."""
    escaped = name.replace('"', '""').replace(":", "\\:")
    return f'"{escaped}"'


def _json(values: Any) -> str:
    return msgspec.json.encode(values).decode()
