"""
Every SQL statement of the write path, named, in the order in which a batch runs them.

Sets of values travel as arrays on PostgreSQL (``unnest``) and as JSON on SQLite
(``json_each``); rows are written by one statement on PostgreSQL and by the driver's
``executemany`` on SQLite. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Row, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from . import schema
from .accounts import Account, AccountKey, StoredState
from .catalog import Asset, Book, Catalog
from .changes import IdempotencyKey
from .dialects import Sets
from .digest import GENESIS
from .holds import Hold
from .mirrors.mirror import Mirror
from .trading.pairs import Duration, Pair
from .updates import Committed

STATE_COLUMNS = StoredState._fields
_HOLD_COLUMNS = tuple(column.name for column in schema.holds.columns)
_ACCOUNT_COLUMNS = ("id", "book", "owner", "asset", *STATE_COLUMNS)
_NAME_COLUMNS = ("name", "book", "owner", "asset")
_PAIR_COLUMNS = Pair.__struct_fields__
ENTRY_COLUMNS = (
    "seq",
    *(name for name in STATE_COLUMNS if name not in ("seq", "digest", "total_earned")),
    "digest",
    "total_earned",
)


class ClockState(Struct, frozen=True):
    """The clock row: the journal's head, its seal, and the version of the settings."""

    position: int
    epoch: str
    seal: str
    created_at: str
    settings_version: int
    paused: bool


class Replay(Struct, frozen=True):
    """What an idempotency key was used for."""

    fingerprint: str
    committed: Committed


class Journal:
    """The write path's statements on one dialect, ``sqlite`` or ``postgresql``."""

    def __init__(self, dialect: str) -> None:
        self._sqlite = dialect == "sqlite"
        sets = Sets(dialect)
        self._any, self._set = sets.among, sets.parameter
        self._insert_transactions = self._insert(schema.transactions)
        self._insert_postings = self._insert(schema.postings)
        self._update_accounts = self._update(schema.accounts, STATE_COLUMNS)
        self._write_holds = (
            f"{self._insert(schema.holds)} ON CONFLICT (id) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in _HOLD_COLUMNS[1:])
        )

    # Reading, before anything is locked

    async def clock(self, connection: AsyncConnection) -> ClockState:
        """The clock as committed, not locked."""
        return _clock(
            (
                await connection.execute(
                    text(
                        "SELECT position, epoch, seal, created_at, settings_version, paused"
                        " FROM clock WHERE id = 1"
                    )
                )
            ).one()
        )

    async def catalog(self, connection: AsyncConnection) -> Catalog:
        """All assets, books, mirrors and pairs."""
        clock = await self.clock(connection)
        assets = await connection.execute(text("SELECT code, scale FROM assets"))
        books = await connection.execute(
            text(
                "SELECT name, side, default_floor, accounts, self_service, timezone, starts_on,"
                " closed_through FROM books"
            )
        )
        mirrors = await connection.execute(text("SELECT definition FROM mirrors ORDER BY id"))
        pairs = await connection.execute(text(f"SELECT {', '.join(_PAIR_COLUMNS)} FROM pairs"))
        return Catalog(
            version=clock.settings_version,
            paused=clock.paused,
            assets={row.code: Asset(row.code, row.scale) for row in assets},
            books={
                row.name: Book(**{**row._mapping, "self_service": bool(row.self_service)})
                for row in books
            },
            mirrors=tuple(msgspec.json.decode(row.definition, type=Mirror) for row in mirrors),
            pairs={row.pair: _pair_from(row) for row in pairs},
        )

    async def account_ids(
        self, connection: AsyncConnection, names: Sequence[str]
    ) -> dict[str, int]:
        """The ids of those of the accounts `names` that exist."""
        rows = await connection.execute(
            text(f"SELECT name, id FROM accounts WHERE name {self._any('names', 'text')}"),
            {"names": self._set(names)},
        )
        return {row.name: row.id for row in rows}

    async def create_accounts(
        self, connection: AsyncConnection, keys: Iterable[AccountKey]
    ) -> dict[str, int]:
        """
        Make empty accounts, in name order so that two writers cannot deadlock; returns the ids
        of those that this transaction made.
        """
        new = sorted(keys, key=lambda key: key.name)
        if self._sqlite:
            columns = ", ".join(f"json_extract(value, '$[{i}]')" for i in range(4))
            source = f"SELECT {columns} FROM json_each(:new)"
            parameters: dict[str, Any] = {"new": self._set([(key.name, *key) for key in new])}
        else:
            arrays = ", ".join(f"CAST(:{column} AS text[])" for column in _NAME_COLUMNS)
            source = f"SELECT * FROM unnest({arrays})"
            parameters = {column: [getattr(key, column) for key in new] for column in _NAME_COLUMNS}
        names = ", ".join(_NAME_COLUMNS)
        rows = await connection.execute(
            text(
                f"WITH new({names}) AS ({source}) INSERT INTO accounts ({names}, balance, held,"
                " total_in, total_out, status, seq, digest)"
                f" SELECT {names}, 0, 0, 0, 0, 'active', 0, '{GENESIS}' FROM new WHERE 1 = 1"
                " ON CONFLICT (name) DO NOTHING RETURNING name, id"
            ),
            parameters,
        )
        return {row.name: row.id for row in rows}

    # Locking, and what may be looked up only behind the locks

    async def lock_accounts(
        self, connection: AsyncConnection, ids: Sequence[int]
    ) -> dict[AccountKey, Account]:
        """The accounts `ids`, locked in id order until the transaction ends."""
        columns = ", ".join(_ACCOUNT_COLUMNS)
        rows = await connection.execute(
            text(
                f"SELECT {columns} FROM accounts WHERE id {self._any('ids', 'bigint')}"
                f" ORDER BY id{'' if self._sqlite else ' FOR UPDATE'}"
            ),
            {"ids": self._set(ids)},
        )
        accounts = {}
        for id_, book, owner, asset, *state in rows.all():
            key = AccountKey(book, owner, asset)
            accounts[key] = Account(id_, key, *state)
        return accounts

    async def last_entries(
        self, connection: AsyncConnection, ids: Sequence[int]
    ) -> dict[int, tuple[Any, ...]]:
        """The state that each account's last entry left, as STATE_COLUMNS, by account id."""
        columns = ", ".join(f"last.{name}" for name in STATE_COLUMNS)
        if self._sqlite:
            source = (
                "json_each(:ids) AS wanted JOIN postings AS last ON last.account_id = wanted.value"
                " AND last.position = (SELECT max(position) FROM postings"
                " WHERE account_id = wanted.value)"
            )
        else:
            source = (
                "unnest(CAST(:ids AS bigint[])) AS wanted(id) CROSS JOIN LATERAL"
                " (SELECT * FROM postings WHERE account_id = wanted.id"
                " ORDER BY position DESC LIMIT 1) AS last"
            )
        rows = await connection.execute(
            text(f"SELECT last.account_id, {columns} FROM {source}"), {"ids": self._set(ids)}
        )
        return {row[0]: tuple(row[1:]) for row in rows.all()}

    async def replays(
        self, connection: AsyncConnection, keys: Sequence[IdempotencyKey]
    ) -> dict[IdempotencyKey, Replay]:
        """What those of the `keys` that were used before were used for."""
        if self._sqlite:
            wanted = (
                "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
                " json_extract(value, '$[2]') FROM json_each(:keys)"
            )
            parameters: dict[str, Any] = {
                "keys": self._set([(key.namespace, key.principal, key.key) for key in keys])
            }
        else:
            wanted = (
                "SELECT * FROM unnest(CAST(:namespaces AS text[]), CAST(:principals AS text[]),"
                " CAST(:keys AS text[]))"
            )
            parameters = {
                "namespaces": [key.namespace for key in keys],
                "principals": [key.principal for key in keys],
                "keys": [key.key for key in keys],
            }
        rows = await connection.execute(
            text(
                "SELECT key_namespace, key_principal, key, fingerprint, position, id, type,"
                " encoded FROM transactions"
                f" WHERE key IS NOT NULL AND (key_namespace, key_principal, key) IN ({wanted})"
            ),
            parameters,
        )
        return {
            IdempotencyKey(row[0], row[1], row[2]): Replay(row[3], committed_from(row[4:]))
            for row in rows
        }

    async def holds(self, connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Hold]:
        """The holds `ids` by id; whoever changes one has its account locked."""
        rows = await connection.execute(
            text(f"{SELECT_HOLDS} WHERE h.id {self._any('ids', 'text')}"), {"ids": self._set(ids)}
        )
        return {row.id: hold_from(row) for row in rows}

    async def reversed_ids(self, connection: AsyncConnection, ids: Sequence[str]) -> set[str]:
        """Those of the transactions `ids` that are reversed."""
        rows = await connection.execute(
            text(f"SELECT reverses FROM transactions WHERE reverses {self._any('ids', 'text')}"),
            {"ids": self._set(ids)},
        )
        return {row.reverses for row in rows}

    async def holds_in_journal(
        self, connection: AsyncConnection, account_id: int
    ) -> list[tuple[int, Committed]]:
        """Where each hold of an account was placed, and the newest transaction of that hold."""
        rows = await connection.execute(
            text(
                "SELECT placed.position AS placed_at, t.position, t.id, t.type, t.encoded"
                " FROM postings p JOIN transactions placed ON placed.position = p.position"
                " AND placed.hold = placed.id"
                " JOIN transactions t ON t.hold = placed.id AND t.position ="
                " (SELECT max(n.position) FROM transactions n WHERE n.hold = placed.id)"
                " WHERE p.account_id = :id"
            ),
            {"id": account_id},
        )
        return [(row.placed_at, committed_from(row[1:])) for row in rows]

    # Writing

    async def write_accounts(
        self, connection: AsyncConnection, accounts: Sequence[Account]
    ) -> None:
        """Write the states of locked user accounts."""
        rows = [
            (*(getattr(account, name) for name in STATE_COLUMNS), account.id)
            for account in accounts
        ]
        await self._write(connection, self._update_accounts, rows)

    async def write_holds(
        self, connection: AsyncConnection, holds: Sequence[tuple[int, Hold]]
    ) -> None:
        """Write holds, each with the id of its account, which is locked."""
        rows = [
            (
                hold.id,
                hold.position,
                account_id,
                hold.amount,
                hold.remaining,
                hold.status,
                hold.placed_by,
                hold.expires_at,
                hold.reference,
            )
            for account_id, hold in holds
        ]
        await self._write(connection, self._write_holds, rows)

    async def forget_holds(self, connection: AsyncConnection, account_ids: Sequence[int]) -> None:
        """Delete the hold rows of locked accounts, to be written anew from the journal."""
        await connection.execute(
            text(f"DELETE FROM holds WHERE account_id {self._any('ids', 'bigint')}"),
            {"ids": self._set(account_ids)},
        )

    async def forget_accounts(self, connection: AsyncConnection, ids: Sequence[int]) -> None:
        """Delete accounts that this transaction made and no accepted change used."""
        await connection.execute(
            text(f"DELETE FROM accounts WHERE id {self._any('ids', 'bigint')}"),
            {"ids": self._set(ids)},
        )

    async def take_clock(self, connection: AsyncConnection) -> ClockState:
        """
        The clock, locked until the transaction ends: positions are given only under this
        lock, so commit order is position order. Nothing after it may wait for others.
        """
        lock = "" if self._sqlite else " FOR UPDATE"
        return _clock(
            (
                await connection.execute(
                    text(
                        "SELECT position, epoch, seal, created_at, settings_version, paused"
                        f" FROM clock WHERE id = 1{lock}"
                    )
                )
            ).one()
        )

    async def move_system_balances(
        self, connection: AsyncConnection, moves: Sequence[tuple[int, int]]
    ) -> None:
        """Add to each system account, given as (id, minor units, credit-positive)."""
        rows = [(amount, id_) for id_, amount in moves]
        if self._sqlite:
            statement = "UPDATE accounts SET balance = balance + ? WHERE id = ?"
        else:
            statement = (
                "UPDATE accounts SET balance = balance + moved.amount"
                " FROM unnest($1::bigint[], $2::bigint[]) AS moved(amount, id)"
                " WHERE accounts.id = moved.id"
            )
        await self._write(connection, statement, rows)

    async def restore_system_balance(
        self, connection: AsyncConnection, id_: int, position: int, balance: int
    ) -> None:
        """Set a system account to `balance`, as at `position`, and what was posted since."""
        await connection.execute(
            text(
                "UPDATE accounts SET held = 0, total_in = 0, total_out = 0, floor = NULL,"
                " suspend_below = NULL, alert_below = NULL, status = 'active', seq = 0,"
                " digest = :digest, total_earned = NULL, balance = :balance"
                " + (SELECT COALESCE(SUM(amount), 0) FROM postings"
                " WHERE account_id = :id AND position > :position) WHERE id = :id"
            ),
            {"id": id_, "position": position, "balance": balance, "digest": GENESIS},
        )

    async def write_audit(
        self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write rows of the audit, each by its columns' names."""
        for row in rows:
            await connection.execute(
                text(
                    "INSERT INTO audit (time, actor, action, target, details)"
                    " VALUES (:time, :actor, :action, :target, :details)"
                ),
                row,
            )

    async def write_pair(self, connection: AsyncConnection, pair: Pair) -> None:
        """Make a pair, or give it other settings."""
        set_ = ", ".join(f"{name} = excluded.{name}" for name in _PAIR_COLUMNS[1:])
        await connection.execute(
            text(
                f"INSERT INTO pairs ({', '.join(_PAIR_COLUMNS)})"
                f" VALUES ({', '.join(f':{name}' for name in _PAIR_COLUMNS)})"
                f" ON CONFLICT (pair) DO UPDATE SET {set_}"
            ),
            _pair_row(pair),
        )

    async def append(
        self,
        connection: AsyncConnection,
        transactions: Sequence[tuple[Any, ...]],
        postings: Sequence[tuple[Any, ...]],
    ) -> None:
        """Append rows in the order of the tables' columns."""
        await self._write(connection, self._insert_transactions, transactions)
        await self._write(connection, self._insert_postings, postings)

    async def advance_clock(
        self, connection: AsyncConnection, first: int, last: int, created_at: str, seal: str
    ) -> None:
        """Seal the batch `first` to `last` and move the journal's head to it."""
        await connection.execute(
            text(
                "INSERT INTO seals (last, first, created_at, seal)"
                " VALUES (:last, :first, :created_at, :seal)"
            ),
            {"last": last, "first": first, "created_at": created_at, "seal": seal},
        )
        await connection.execute(
            text(
                "UPDATE clock SET position = :last, created_at = :created_at, seal = :seal"
                " WHERE id = 1"
            ),
            {"last": last, "created_at": created_at, "seal": seal},
        )

    # After a COMMIT whose answer was lost

    async def writer_identity(self, connection: AsyncConnection) -> tuple[int, str] | None:
        """The server process behind a PostgreSQL connection: its pid and start time."""
        if self._sqlite:
            return None
        row = (
            await connection.execute(
                text(
                    "SELECT pid, CAST(backend_start AS text) FROM pg_stat_activity"
                    " WHERE pid = pg_backend_pid()"
                )
            )
        ).one()
        return row[0], row[1]

    async def end_writer(self, connection: AsyncConnection, pid: int, started: str) -> None:
        """End the server process `pid`, if it is still the one that `started` then."""
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = :pid AND CAST(backend_start AS text) = :started"
            ),
            {"pid": pid, "started": started},
        )

    async def committed(self, connection: AsyncConnection, ids: Sequence[str]) -> set[str]:
        """Those of the transaction `ids` that are in the journal."""
        rows = await connection.execute(
            text(f"SELECT id FROM transactions WHERE id {self._any('ids', 'text')}"),
            {"ids": self._set(ids)},
        )
        return {row.id for row in rows}

    # Forms of the two dialects

    def _insert(self, table: Table) -> str:
        names = ", ".join(column.name for column in table.columns)
        if self._sqlite:
            marks = ", ".join("?" for _ in table.columns)
            return f"INSERT INTO {table.name} ({names}) VALUES ({marks})"
        arrays = ", ".join(
            f"${i}::{_array(column)}" for i, column in enumerate(table.columns, start=1)
        )
        return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"

    def _update(self, table: Table, names: Sequence[str]) -> str:
        if self._sqlite:
            return f"UPDATE {table.name} SET {', '.join(f'{n} = ?' for n in names)} WHERE id = ?"
        columns = [*names, "id"]
        arrays = ", ".join(
            f"${i}::{_array(table.columns[name])}" for i, name in enumerate(columns, start=1)
        )
        return (
            f"UPDATE {table.name} SET {', '.join(f'{n} = new.{n}' for n in names)}"
            f" FROM unnest({arrays}) AS new({', '.join(columns)}) WHERE {table.name}.id = new.id"
        )

    async def _write(
        self, connection: AsyncConnection, statement: str, rows: Sequence[tuple[Any, ...]]
    ) -> None:
        if not rows:
            return
        if self._sqlite:
            await connection.exec_driver_sql(statement, list(rows))
        else:
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            await connection.exec_driver_sql(statement, columns)


SELECT_HOLDS = (
    "SELECT h.id, h.position, h.amount, h.remaining, h.status, h.placed_by, h.expires_at,"
    " h.reference, a.book, a.owner, a.asset FROM holds h JOIN accounts a ON a.id = h.account_id"
)


def hold_from(row: Row[Any]) -> Hold:
    """The hold of a row of SELECT_HOLDS."""
    return Hold(
        id=row.id,
        key=AccountKey(row.book, row.owner, row.asset),
        amount=row.amount,
        remaining=row.remaining,
        status=row.status,
        placed_by=row.placed_by,
        expires_at=row.expires_at,
        reference=row.reference,
        position=row.position,
    )


def committed_from(row: Sequence[Any]) -> Committed:
    """The wire-ready form of a stored (position, id, type, encoded)."""
    return Committed(row[0], row[1], row[2], row[3].encode())


def _clock(row: Row[Any]) -> ClockState:
    return ClockState(
        position=row.position,
        epoch=row.epoch,
        seal=row.seal,
        created_at=row.created_at,
        settings_version=row.settings_version,
        paused=bool(row.paused),
    )


def _pair_from(row: Row[Any]) -> Pair:
    """The pair of a row of _PAIR_COLUMNS."""
    durations = msgspec.json.decode(row.durations, type=tuple[Duration, ...])
    return Pair(**{**row._mapping, "durations": durations})


def _pair_row(pair: Pair) -> dict[str, Any]:
    """The values of _PAIR_COLUMNS for `pair`."""
    durations = msgspec.json.encode(pair.durations).decode()
    return {**msgspec.structs.asdict(pair), "durations": durations}


def _array(column: Any) -> str:
    return "text[]" if column.type.python_type is str else "bigint[]"
