"""
What goes wrong with balances in life: somebody changes one by hand, past everything.

``python -m game.mishaps player_sessions GAME PLAYER BALANCE`` does it from a shell.
"""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .tables import database_url, game_sessions

TABLES = ("accounts", "player_sessions", "game_sessions")

_SESSION = (
    "UPDATE {table} SET balance = CAST(:balance AS DECIMAL(20, 2))"
    " WHERE game_id = :game AND player_id = :player"
)
# The ledger's own row, which holds cents.
_ACCOUNT = text(
    "UPDATE accounts SET balance = :cents WHERE book = :book AND owner = :player AND asset = 'USD'"
)


async def set_by_hand(
    engine: AsyncEngine, table: str, game_id: str, player_id: str, balance: str
) -> None:
    """
    Make one of `TABLES` say that the player has `balance` dollars. Raises LookupError where it has
    no row of the player.
    """
    given: dict[str, str | int] = {"player": player_id}
    if table == "accounts":
        statement = _ACCOUNT
        given |= {"book": f"game:{game_id}", "cents": int(Decimal(balance).scaleb(2))}
    else:
        statement = text(_SESSION.format(table=table)).bindparams(
            bindparam("game", type_=game_sessions.c.game_id.type)
        )
        given |= {"game": game_id, "balance": balance}
    async with engine.begin() as connection:
        done = await connection.execute(statement, given)
    if not done.rowcount:
        raise LookupError(f"{player_id} plays no game {game_id}")


async def _main(table: str, game_id: str, player_id: str, balance: str) -> None:
    engine = create_async_engine(database_url())
    try:
        await set_by_hand(engine, table, game_id, player_id, balance)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] not in TABLES:
        sys.exit(f"python -m game.mishaps {'|'.join(TABLES)} GAME PLAYER BALANCE")
    try:
        asyncio.run(_main(*sys.argv[1:]))
    except LookupError as error:
        sys.exit(str(error))
