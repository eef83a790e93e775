"""
What happened to users, a row for each transaction: exactly once, whoever committed it.

A commit hook alone would lose the transactions whose process died before the hook ran. So the
journal is what is read, and a commit only says that there is something to read.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

from sqlalchemy import CursorResult, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tallywire import BalanceManager, Batch, LedgerError

from .tables import activity, activity_cursor

_log = logging.getLogger(__name__)


async def begin_activity(connection: AsyncConnection) -> None:
    """Put the cursor at the journal's beginning, where there is none."""
    await connection.execute(
        text("INSERT INTO activity_cursor (id, position) VALUES (1, 0) ON CONFLICT DO NOTHING")
    )


async def keep_activity(engine: AsyncEngine, ledger: BalanceManager) -> None:
    """Keep `activity` as the journal grows, until it is cancelled; several processes may."""
    while True:
        try:
            async for batch in ledger.follow(await _reached(engine)):
                if not await _keep(engine, batch):
                    # Another process was here first: go on from where it left off.
                    break
        except (LedgerError, SQLAlchemyError):
            # Nothing is lost meanwhile: the journal has it.
            _log.exception("activity is not kept; trying again")
            await asyncio.sleep(1)


async def catch_up(engine: AsyncEngine, ledger: BalanceManager) -> None:
    """Bring `activity` to the journal's end of this moment."""
    while (batch := await ledger.read_journal(await _reached(engine))) is not None:
        await _keep(engine, batch)


async def _reached(engine: AsyncEngine) -> int:
    """The position up to which the journal is kept; it is restored with the ledger, as one."""
    async with engine.connect() as connection:
        position: int = (await connection.execute(select(activity_cursor.c.position))).scalar_one()
    return position


async def _keep(engine: AsyncEngine, batch: Batch) -> bool:
    """The batch's rows and the cursor behind it, in one transaction; whether it was still there."""
    async with engine.begin() as connection:
        moved: CursorResult[tuple[()]] = await connection.execute(
            update(activity_cursor)
            .where(activity_cursor.c.position == batch.first - 1)
            .values(position=batch.last)
        )
        if moved.rowcount:
            await connection.execute(insert(activity), _rows(batch))
    return bool(moved.rowcount)


def _rows(batch: Batch) -> list[dict[str, object]]:
    return [
        {
            "transaction_id": told["transaction_id"],
            "user_id": told["user_id"] or "",
            "position": told["position"],
            "kind": told["change_type"],
            "amount": int(sum(Decimal(change["amount"]) for change in told["changes"])),
            "at": told["timestamp"],
        }
        for told in batch.updates()
    ]
