"""Statements of an application's own that run with a change, and what they may say of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

from sqlalchemy import BindParameter, bindparam
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import Executable

_transaction_id: ContextVar[str] = ContextVar("transaction_id")

# In a statement alongside a change: the id (a string) of the change's own transaction, which only
# the ledger knows by then. In text() it is :tallywire_transaction_id.
TRANSACTION_ID: BindParameter[str] = bindparam(
    "tallywire_transaction_id", callable_=_transaction_id.get
)


async def run_alongside(
    connection: AsyncConnection, statements: Sequence[Executable], transaction_id: str
) -> None:
    """Execute all `statements` or none, for the transaction; raises what the database raises."""
    token = _transaction_id.set(transaction_id)
    try:
        async with connection.begin_nested():
            for statement in statements:
                await connection.execute(statement)
    finally:
        _transaction_id.reset(token)
