"""Reads of trades: one, lists, those that have expired; and how a user's options end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, text

from ..database import Database
from ..intents import Mode
from .trade_rows import SELECT_TRADES
from .trades import Expired, Kind

TradeRow = Row[Any]


class TradeReader:
    """
    Reads trades as they stand, as rows that `trade_from` takes, each call in a short transaction
    of its own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def trade(self, trade_id: str) -> TradeRow | None:
        """The trade `trade_id`, or None."""
        found = await self._trades("id = :id", {"id": trade_id}, 1)
        return found[0] if found else None

    async def trades(
        self,
        *,
        kind: Kind | None,
        user_id: str | None,
        status: str | None,
        book: str | None,
        before: int | None,
        limit: int,
    ) -> list[TradeRow]:
        """
        At most `limit` trades opened below position `before` (None: the newest), newest first.

        kind, user_id, status, book: only those that have it.
        """
        wanted = {"kind": kind, "user_id": user_id, "status": status, "book": book}
        given: dict[str, Any] = {k: value for k, value in wanted.items() if value is not None}
        conditions = [f"{name} = :{name}" for name in given]
        if before is not None:
            conditions.append("position < :before")
            given["before"] = before
        condition = " AND ".join(conditions) or "1 = 1"
        return await self._trades(f"{condition} ORDER BY position DESC", given, limit)

    async def expired(self, now: str, after: tuple[str, str], limit: int) -> list[Expired]:
        """
        At most `limit` open options that expired before `now` (RFC 3339), the first to expire
        first, and after that expiry and id.
        """
        async with self._database.read() as connection:
            rows = await connection.execute(
                text(
                    "SELECT id, user_id, book, pair, expires_at FROM trades"
                    " WHERE status = 'open' AND expires_at < :now"
                    " AND (expires_at, id) > (:expiry, :id) ORDER BY expires_at, id LIMIT :limit"
                ),
                {"now": now, "expiry": after[0], "id": after[1], "limit": limit},
            )
            return [Expired(**row._mapping) for row in rows]

    async def first_expiry(self) -> str | None:
        """When the first open option expires, or did (RFC 3339); None where none is open."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                text("SELECT min(expires_at) FROM trades WHERE status = 'open'")
            )
            first: str | None = rows.scalar_one()
            return first

    async def control(self, user_id: str, book: str) -> Mode:
        """How the user's options in `book` end that are opened now."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                text("SELECT mode FROM trading_controls WHERE book = :book AND user_id = :user_id"),
                {"book": book, "user_id": user_id},
            )
            mode: Mode = rows.scalar_one_or_none() or "normal"
            return mode

    async def _trades(
        self, condition: str, parameters: dict[str, Any], limit: int
    ) -> list[TradeRow]:
        async with self._database.read() as connection:
            rows = await connection.execute(
                text(f"{SELECT_TRADES} WHERE {condition} LIMIT :limit"),
                {**parameters, "limit": limit},
            )
            return list(rows)
