"""
What goes wrong in life, as commands: ``python -m wallets.mishaps`` and

- ``restore USER…``: a backup of the profiles is put back, from before the users had any coins;
- ``rename TABLE TO``: somebody else's migration;
- ``crash USER AMOUNT``: a reward whose process is killed right after the commit.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tallywire import Batch

from .service import TASK_REWARD, open_wallets
from .tables import database_url, profiles


async def restore_profiles(engine: AsyncEngine, user_ids: Sequence[str]) -> None:
    """Make the profiles of users say 0, as they did before there were wallets."""
    ids = [int(user_id) for user_id in user_ids]
    async with engine.begin() as connection:
        await connection.execute(
            update(profiles)
            .where(profiles.c.user_id.in_(ids))
            .values(deltacoin_balance=0, lifetime_earnings=0)
        )


async def rename_table(engine: AsyncEngine, name: str, to: str) -> None:
    """Rename a table of the application's."""
    async with engine.begin() as connection:
        await connection.execute(text(f'ALTER TABLE "{name}" RENAME TO "{to}"'))


async def crash_after_commit(address: str, user_id: str, amount: int) -> None:
    """Credit a reward, and die between its commit and whatever follows from that."""

    async def die(_batch: Batch) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async with open_wallets(address) as service:
        service.ledger.on_commit(die)
        await service.credit(user_id, amount, TASK_REWARD)
        await asyncio.Event().wait()


async def _main(what: str, *names: str) -> None:
    if what == "crash":
        user_id, amount = names
        await crash_after_commit(database_url(), user_id, int(amount))
        return
    engine = create_async_engine(database_url())
    if what == "restore":
        await restore_profiles(engine, names)
    else:
        await rename_table(engine, *names)
    await engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("restore", "rename", "crash"):
        sys.exit("python -m wallets.mishaps restore USER… | rename TABLE TO | crash USER AMOUNT")
    asyncio.run(_main(*sys.argv[1:]))
