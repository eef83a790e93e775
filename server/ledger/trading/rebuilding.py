"""
What trading keeps besides the journal, made anew from it: trades, controls, exposures.

In the transaction of whoever does it: a repair, whose rows are locked before they are read, or an
import, which nobody else is beside.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ..catalog import Catalog
from ..dialects import Sets, halves, joined
from ..intents import RepairTrading
from ..updates import admin_fields
from .trade_rows import Place, TradeRows
from .trades import DEMO_BOOK

NEWEST_CONTROL = (
    "(SELECT max(m.position) FROM transactions m"
    " WHERE m.subject = {0} AND m.type = 'trading_control')"
)


class Rebuilding:
    """The rows of trades, exposures and controls, within the transaction of `connection`."""

    def __init__(self, connection: AsyncConnection, catalog: Catalog) -> None:
        self._connection = connection
        self._catalog = catalog
        self._rows = TradeRows(connection.dialect.name)
        sets = Sets(connection.dialect.name)
        self._any, self._set = sets.among, sets.parameter

    async def repair(self, wanted: Collection[RepairTrading]) -> None:
        """What the repairs `wanted` ask for: whoever changes these rows waits until it is done."""
        users = sorted({each.user for each in wanted if each.control and each.user is not None})
        places = sorted({place for each in wanted for place in each.places})
        if users:
            controls = [(DEMO_BOOK, user) for user in users]
            await self._rows.lock_controls(self._connection, controls)
            await self.controls(users)
        if places:
            await self._rows.lock_exposures(self._connection, places)
        await self.trades([id_ for each in wanted for id_ in each.trades])
        await self.exposures(places)

    async def trades(self, ids: Sequence[str]) -> None:
        """Write these trades anew as their newest transactions tell them, if they have any."""
        if not ids:
            return
        trades = await self._rows.in_journal(self._connection, ids, self._catalog)
        await self._connection.execute(
            text(f"DELETE FROM trades WHERE id {self._any('ids', 'text')}"),
            {"ids": self._set(ids)},
        )
        await self._rows.write_trades(self._connection, trades, self._catalog)

    async def exposures(self, places: Sequence[Place]) -> None:
        """Set the exposures of `places`, whose rows are there, to what open options may pay out."""
        for book, pair in places:
            found = await self._connection.execute(
                text(
                    f"SELECT {halves('payout')} FROM trades"
                    " WHERE status = 'open' AND book = :book AND pair = :pair"
                ),
                {"book": book, "pair": pair},
            )
            high, low = found.one()
            await self._rows.write_exposures(self._connection, {(book, pair): joined(high, low)})

    async def controls(self, users: Sequence[str]) -> None:
        """Set the controls of `users`, whose rows are there, as the newest transactions did."""
        found = await self._connection.execute(
            text(
                "SELECT n.subject, n.position, n.encoded FROM transactions n"
                " WHERE n.type = 'trading_control' AND n.position ="
                f" {NEWEST_CONTROL.format('n.subject')}"
                f" AND n.subject {self._any('users', 'text')}"
            ),
            {"users": self._set(users)},
        )
        for statement in (
            "DELETE FROM trading_controls WHERE book <> 'demo' AND",
            "UPDATE trading_controls SET mode = 'normal', position = NULL WHERE",
        ):
            await self._connection.execute(
                text(f"{statement} user_id {self._any('users', 'text')}"),
                {"users": self._set(users)},
            )
        controls = {
            (DEMO_BOOK, row.subject): (
                admin_fields(row.encoded.encode())["control"]["mode"],
                row.position,
            )
            for row in found
        }
        await self._rows.write_controls(self._connection, controls)

    async def all_exposures(self) -> None:
        """The exposures of every book and pair that has open options."""
        found = await self._connection.execute(
            text("SELECT DISTINCT book, pair FROM trades WHERE status = 'open' ORDER BY book, pair")
        )
        places = [(row.book, row.pair) for row in found]
        if places:
            await self._rows.lock_exposures(self._connection, places)
            await self.exposures(places)
