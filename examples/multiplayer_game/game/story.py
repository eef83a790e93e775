"""A game from its first dollar to its last mishap, as a function of its numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import String, Table, cast, select

from .mishaps import set_by_hand
from .server import GameServer
from .tables import game_sessions, player_sessions
from .turns import begin, process_turn


@dataclass(frozen=True)
class Numbers:
    """
    What the story is played with, amounts in dollars. before: what the player brings from the old
    single-player game; start: what she is then set to; order: what a procurement order costs;
    sales: what is earned; turn: the income of each turn that old code processes; purchase: what is
    bought meanwhile, `times` turns and as many purchases at the same moment; by_hand: what somebody
    writes over a balance.
    """

    before: str = "1200.00"
    start: str = "75000.00"
    order: str = "5000.00"
    sales: str = "10000.00"
    turn: str = "1250.50"
    purchase: str = "300.25"
    times: int = 10
    by_hand: str = "99999.99"


@dataclass(frozen=True)
class Step:
    """
    What happened, and what each place says of the player then, in dollars; had_mismatch: what a
    check answered, where the step was one.
    """

    what: str
    ledger: Decimal
    player_session: Decimal
    game_session: Decimal
    had_mismatch: bool | None = None


async def play(
    games: GameServer, numbers: Numbers, game_id: str, player_id: str
) -> AsyncIterator[Step]:
    """The story of a player in a new game, a step at a time."""

    async def step(what: str, had_mismatch: bool | None = None) -> Step:
        return Step(
            what,
            await games.wallet(game_id, player_id).get_balance(),
            await _stored(games, player_sessions, game_id, player_id),
            await _stored(games, game_sessions, game_id, player_id),
            had_mismatch,
        )

    async def checks(what: str) -> AsyncIterator[Step]:
        yield await step(what)
        for _ in range(2):
            had_mismatch, _ = await games.check(game_id, player_id)
            yield await step("  checked and fixed", had_mismatch)

    await games.create_game(game_id)
    await begin(games.engine, game_id, player_id, numbers.before)
    await games.join(game_id, player_id)
    yield await step(f"joined, with {numbers.before} from single-player")
    await games.set_balance(game_id, player_id, numbers.start, "start money")
    yield await step(f"set to {numbers.start}")
    await games.procure(game_id, player_id, "machines", numbers.order)
    yield await step(f"procurement order of {numbers.order}")
    await games.sell(game_id, player_id, numbers.sales)
    yield await step(f"sales of {numbers.sales}")

    await process_turn(games.engine, game_id, player_id, numbers.turn)
    yield await step(f"old code processed a turn: {numbers.turn}")
    await games.session(game_id, player_id)
    yield await step("session retrieved: the turn is booked")

    await _turns_and_purchases(games, numbers, game_id, player_id)
    await games.session(game_id, player_id)
    yield await step(f"{numbers.times} turns, {numbers.times} purchases at the same moment")

    for table in ("accounts", "player_sessions", "game_sessions"):
        await set_by_hand(games.engine, table, game_id, player_id, numbers.by_hand)
        async for each in checks(f"{table} set by hand to {numbers.by_hand}"):
            yield each


async def _turns_and_purchases(
    games: GameServer, numbers: Numbers, game_id: str, player_id: str
) -> None:
    async def turns() -> None:
        for _ in range(numbers.times):
            await process_turn(games.engine, game_id, player_id, numbers.turn)

    async def purchases() -> None:
        for _ in range(numbers.times):
            await games.procure(game_id, player_id, "fuel", numbers.purchase)

    await asyncio.gather(turns(), purchases())


async def _stored(games: GameServer, table: Table, game_id: str, player_id: str) -> Decimal:
    """What a session's row says, in dollars."""
    # As text, since SQLite keeps decimals as floats.
    query = select(cast(table.c.balance, String)).where(
        table.c.game_id == game_id, table.c.player_id == player_id
    )
    async with games.engine.connect() as connection:
        return Decimal((await connection.execute(query)).scalar_one()).quantize(Decimal("0.01"))
