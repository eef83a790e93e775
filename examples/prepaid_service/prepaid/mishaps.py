"""
What goes wrong with balances in life: somebody writes one by hand, past everything.

``python -m prepaid.mishaps CUSTOMER BALANCE`` does it from a shell.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .tables import database_url

# The ledger's own row. Its unit is the dong, as the asset's scale is 0.
_WRITE = text(
    "UPDATE accounts SET balance = :balance"
    " WHERE book = 'main' AND owner = :customer AND asset = 'VND'"
)


async def write_by_hand(engine: AsyncEngine, customer_id: str, balance: int) -> None:
    """Make the ledger's row say that a customer has `balance` dong."""
    async with engine.begin() as connection:
        await connection.execute(_WRITE, {"customer": customer_id, "balance": balance})


async def _main(customer_id: str, balance: int) -> None:
    engine = create_async_engine(database_url())
    await write_by_hand(engine, customer_id, balance)
    await engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python -m prepaid.mishaps CUSTOMER BALANCE")
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
