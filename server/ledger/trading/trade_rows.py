"""Every SQL statement of the write path that has to do with trades, named; see `journal`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ..catalog import Catalog
from ..dialects import Sets
from ..intents import Mode
from ..updates import admin_fields
from .trades import Option, Trade, kind_of, trade_from_view, trade_view

_COLUMNS = (
    "id",
    "position",
    "kind",
    "user_id",
    "book",
    "pair",
    "status",
    "expires_at",
    "client_order_id",
    "payout",
    "forced",
    "told",
)
SELECT_TRADES = "SELECT position, told FROM trades"

Place = tuple[str, str]


class TradeRows:
    """The statements on one dialect, ``sqlite`` or ``postgresql``."""

    def __init__(self, dialect: str) -> None:
        self._sqlite = dialect == "sqlite"
        self._sets = Sets(dialect)
        self._any, self._set = self._sets.among, self._sets.parameter

    # Behind the locks of the accounts

    async def lock_exposures(
        self, connection: AsyncConnection, places: Sequence[Place]
    ) -> dict[Place, int]:
        """What open options may pay out, by book and pair, locked in that order."""
        found = await self._lock(connection, "exposures", ("book", "pair"), "amount", 0, places)
        return cast(dict[Place, int], found)

    async def lock_controls(
        self, connection: AsyncConnection, users: Sequence[Place]
    ) -> dict[Place, Mode]:
        """The modes of trading controls by book and user, locked in that order."""
        key = ("book", "user_id")
        found = await self._lock(connection, "trading_controls", key, "mode", "normal", users)
        return cast(dict[Place, Mode], found)

    async def in_journal(
        self, connection: AsyncConnection, ids: Sequence[str], catalog: Catalog
    ) -> list[Trade]:
        """
        The trades `ids` as the journal has them, whatever their rows say; whoever changes one has
        its account locked.
        """
        if not ids:
            return []
        rows = await connection.execute(
            text(
                "SELECT opened.position, newest.encoded FROM transactions opened"
                " JOIN transactions newest ON newest.trade = opened.id AND newest.position ="
                " (SELECT max(n.position) FROM transactions n WHERE n.trade = opened.id)"
                f" WHERE opened.trade = opened.id AND opened.id {self._any('ids', 'text')}"
            ),
            {"ids": self._set(ids)},
        )
        return [
            trade_from_view(admin_fields(row.encoded.encode())["trade"], row.position, catalog)
            for row in rows
        ]

    async def open_options(
        self, connection: AsyncConnection, users: Sequence[str], catalog: Catalog
    ) -> list[Trade]:
        """The open options of `users`."""
        if not users:
            return []
        rows = await connection.execute(
            text(f"{SELECT_TRADES} WHERE status = 'open' AND user_id {self._any('users', 'text')}"),
            {"users": self._set(users)},
        )
        return [trade_from(row, catalog) for row in rows]

    async def client_orders(
        self, connection: AsyncConnection, orders: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], str]:
        """The ids of the trades with those users and client_order_ids, by these."""
        if not orders:
            return {}
        wanted, parameters = self._sets.pairs(orders)
        rows = await connection.execute(
            text(
                "SELECT user_id, client_order_id, id FROM trades"
                f" WHERE (user_id, client_order_id) IN ({wanted})"
            ),
            parameters,
        )
        return {(row.user_id, row.client_order_id): row.id for row in rows}

    # Writing

    async def write_trades(
        self, connection: AsyncConnection, trades: Sequence[Trade], catalog: Catalog
    ) -> None:
        """Write trades, each as its newest transaction left it."""
        if not trades:
            return
        names = ", ".join(_COLUMNS)
        values = ", ".join(f":{name}" for name in _COLUMNS)
        later = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
        await connection.execute(
            text(
                f"INSERT INTO trades ({names}) VALUES ({values})"
                f" ON CONFLICT (id) DO UPDATE SET {later}"
            ),
            [_row(trade, catalog) for trade in trades],
        )

    async def write_exposures(
        self, connection: AsyncConnection, exposures: Mapping[Place, int]
    ) -> None:
        """Write what open options may pay out, by book and pair, whose rows are locked."""
        if exposures:
            await connection.execute(
                text("UPDATE exposures SET amount = :amount WHERE book = :book AND pair = :pair"),
                [
                    {"book": book, "pair": pair, "amount": amount}
                    for (book, pair), amount in exposures.items()
                ],
            )

    async def write_controls(
        self, connection: AsyncConnection, controls: Mapping[Place, tuple[Mode, int]]
    ) -> None:
        """Write modes and the positions that set them, by book and user, whose rows are locked."""
        if controls:
            await connection.execute(
                text(
                    "UPDATE trading_controls SET mode = :mode, position = :position"
                    " WHERE book = :book AND user_id = :user"
                ),
                [
                    {"book": book, "user": user, "mode": mode, "position": position}
                    for (book, user), (mode, position) in controls.items()
                ],
            )

    async def _lock(
        self,
        connection: AsyncConnection,
        table: str,
        key: tuple[str, str],
        value: str,
        initial: object,
        places: Sequence[Place],
    ) -> dict[Place, Any]:
        """
        The `value` of the rows of `table` by their two-part `key`, locked in its order. A row that
        is not there is made first, since what is not there cannot be locked.
        """
        if not places:
            return {}
        wanted, parameters = self._sets.pairs(sorted(places))
        columns = ", ".join(key)
        await connection.execute(
            text(
                f"INSERT INTO {table} ({columns}, {value})"
                f" SELECT wanted.*, :initial FROM ({wanted}) AS wanted WHERE 1 = 1"
                f" ON CONFLICT ({columns}) DO NOTHING"
            ),
            {**parameters, "initial": initial},
        )
        # A new statement, so that it sees what the insertion waited for.
        rows = await connection.execute(
            text(
                f"SELECT {columns}, {value} FROM {table} WHERE ({columns}) IN ({wanted})"
                f" ORDER BY {columns}{'' if self._sqlite else ' FOR UPDATE'}"
            ),
            parameters,
        )
        return {(row[0], row[1]): row[2] for row in rows}


def trade_from(row: Any, catalog: Catalog) -> Trade:
    """The trade of a row of SELECT_TRADES."""
    return trade_from_view(msgspec.json.decode(row.told), row.position, catalog)


def _row(trade: Trade, catalog: Catalog) -> dict[str, Any]:
    option = trade if isinstance(trade, Option) else None
    return {
        "id": trade.id,
        "position": trade.position,
        "kind": kind_of(trade),
        "user_id": trade.user_id,
        "book": trade.book,
        "pair": trade.pair,
        "status": trade.status,
        "expires_at": None if option is None else option.expires_at,
        "client_order_id": trade.client_order_id,
        "payout": None if option is None else option.payout,
        "forced": int(option is not None and option.forced),
        "told": msgspec.json.encode(trade_view(trade, catalog)).decode(),
    }
