"""What the site's mailer has to tell: one notice for each change of a user's balance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Table, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from .tables import notices, users

_INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class Notices:
    """
    Written from Tallywire's messages, each once, however often a message comes.

    A notice is one entry of the journal, known by its transaction and account. That holds as
    (epoch, position) does, and also where a restored journal tells under a new epoch what it told
    before.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """engine: of the database that has the site's tables."""
        self._engine = engine
        self._told = 0
        self._news = asyncio.Event()

    async def take(self, message: Mapping[str, Any]) -> None:
        """Write down all of a message, or nothing; the same again changes nothing."""
        touched = {u["user_id"] for u in message["updates"] if u["user_id"] is not None}
        async with self._engine.begin() as connection:
            await connection.execute(
                # After a restore: what was told beyond the backup has not happened.
                update(notices)
                .where(notices.c.epoch != message["epoch"], notices.c.position > message["from"])
                .values(is_void=True)
            )
            # Tallywire may have other sites' users too.
            ours = set(await connection.scalars(select(users.c.id).where(users.c.id.in_(touched))))
            rows = [
                row for each in message["updates"] if each["user_id"] in ours for row in _rows(each)
            ]
            if rows:
                insert = _INSERTS[connection.dialect.name](notices)
                again = {name: insert.excluded[name] for name in ("epoch", "position", "is_void")}
                keys = ["transaction_id", "account"]
                await connection.execute(
                    insert.on_conflict_do_update(index_elements=keys, set_=again), rows
                )
        self._told = message["to"]
        self._news.set()

    async def until(self, position: int, within: float = 30.0) -> None:
        """Wait until everything up to `position` was told; raises TimeoutError (seconds)."""
        try:
            async with asyncio.timeout(within):
                while self._told < position:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"no notice of position {position} in {within:g} s") from None

    async def of(self, user_id: str) -> list[str]:
        """A user's notices that stand, in their order."""
        query = (
            select(notices.c.text)
            .where(notices.c.user_id == user_id, ~notices.c.is_void)
            .order_by(notices.c.position)
        )
        async with self._engine.connect() as connection:
            return list(await connection.scalars(query))


def _rows(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "transaction_id": told["transaction_id"],
            "account": change["account"],
            "epoch": told["epoch"],
            "position": told["position"],
            "user_id": told["user_id"],
            "text": f"{told['description'] or told['change_type']}:"
            f" {change['amount']} {change['asset']}, you have {change['balance']}",
            "is_void": False,
        }
        for change in told["changes"]
    ]
