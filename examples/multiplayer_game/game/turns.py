"""
The old single-player code: it begins games and processes turns, and knows nothing of the ledger.

It runs as it always did, in the game's process or in one of its own:
``python -m game.turns GAME PLAYER INCOME``.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .tables import database_url, game_sessions

_BEGIN = text(
    "INSERT INTO game_sessions (game_id, player_id, balance)"
    " VALUES (:game, :player, CAST(:balance AS DECIMAL(20, 2)))"
).bindparams(bindparam("game", type_=game_sessions.c.game_id.type))

# In one statement: a balance read first and written later would undo what came between.
_TURN = text(
    "UPDATE game_sessions SET balance = balance + CAST(:income AS DECIMAL(20, 2))"
    " WHERE game_id = :game AND player_id = :player"
).bindparams(bindparam("game", type_=game_sessions.c.game_id.type))


async def begin(engine: AsyncEngine, game_id: str, player_id: str, balance: str) -> None:
    """Begin a single-player game with `balance` dollars."""
    async with engine.begin() as connection:
        await connection.execute(_BEGIN, {"game": game_id, "player": player_id, "balance": balance})


async def process_turn(engine: AsyncEngine, game_id: str, player_id: str, income: str) -> None:
    """
    Add `income` (dollars; negative is a loss) to what the player has. Raises LookupError where
    there is no such session.
    """
    async with engine.begin() as connection:
        done = await connection.execute(
            _TURN, {"income": income, "game": game_id, "player": player_id}
        )
    if not done.rowcount:
        raise LookupError(f"{player_id} plays no game {game_id}")


async def _main(game_id: str, player_id: str, income: str) -> None:
    engine = create_async_engine(database_url())
    try:
        await process_turn(engine, game_id, player_id, income)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("python -m game.turns GAME PLAYER INCOME")
    try:
        asyncio.run(_main(*sys.argv[1:]))
    except LookupError as error:
        sys.exit(str(error))
