"""examples/multiplayer_game: its story, with its numbers and with others."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from game.mishaps import TABLES, set_by_hand
from game.server import GameServer, open_games
from game.story import Numbers, Step, play
from game.turns import process_turn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tallywire import InsufficientFunds

from ..ledger.raw import count, rows


@pytest.fixture
async def games(database_url: str) -> AsyncIterator[GameServer]:
    async with open_games(database_url) as games:
        yield games


def expected(numbers: Numbers) -> list[tuple[Any, ...]]:
    """What the story must tell: ledger, player_sessions, game_sessions, what a check answers."""
    told: list[tuple[Any, ...]] = []

    def tell(*places: Decimal, had_mismatch: bool | None = None) -> None:
        told.append((*(places if len(places) == 3 else places * 3), had_mismatch))

    start, turn, by_hand = map(Decimal, (numbers.start, numbers.turn, numbers.by_hand))
    tell(Decimal(numbers.before))
    tell(start)
    balance = start - Decimal(numbers.order)
    tell(balance)
    balance += Decimal(numbers.sales)
    tell(balance)
    tell(balance, balance, balance + turn)
    balance += turn
    tell(balance)
    balance += numbers.times * (turn - Decimal(numbers.purchase))
    tell(balance)
    tell(by_hand, balance, balance)
    tell(balance, had_mismatch=by_hand != balance)
    tell(balance, had_mismatch=False)
    tell(balance, by_hand, balance)
    tell(balance, had_mismatch=by_hand != balance)
    tell(balance, had_mismatch=False)
    tell(balance, balance, by_hand)
    tell(by_hand, had_mismatch=by_hand != balance)
    tell(by_hand, had_mismatch=False)
    return told


async def played(games: GameServer, numbers: Numbers) -> list[Step]:
    return [step async for step in play(games, numbers, str(uuid4()), "ann")]


def told(steps: list[Step]) -> list[tuple[Any, ...]]:
    return [
        (step.ledger, step.player_session, step.game_session, step.had_mismatch) for step in steps
    ]


async def test_the_story(games: GameServer, database_url: str) -> None:
    steps = await played(games, Numbers())
    assert told(steps) == expected(Numbers())
    balances = [step.ledger for step in steps]
    assert balances[1:4] == [75000, 70000, 80000]
    assert balances[6] == 80000 + 11 * Decimal("1250.50") - 10 * Decimal("300.25")
    costs = await rows(database_url, "SELECT cost_cents FROM orders ORDER BY cost_cents")
    assert [row["cost_cents"] for row in costs] == [30025] * 10 + [500000]
    assert (await games.ledger.verify())["errors"] == 0


_cents = st.integers(1, 10**9)
_dollars = _cents.map(lambda cents: str(Decimal(cents).scaleb(-2)))


@settings(
    max_examples=3,
    deadline=None,
    # Each example is a whole story: shrinking one takes minutes.
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    numbers=st.builds(
        Numbers,
        before=_dollars,
        start=st.integers(2 * 10**9, 10**12).map(lambda cents: str(Decimal(cents).scaleb(-2))),
        order=_dollars,
        sales=_dollars,
        turn=st.integers(-(10**6), 10**9).map(lambda cents: str(Decimal(cents).scaleb(-2))),
        purchase=st.integers(1, 10**6).map(lambda cents: str(Decimal(cents).scaleb(-2))),
        times=st.integers(1, 5),
        by_hand=st.integers(-(10**9), 10**13).map(lambda cents: str(Decimal(cents).scaleb(-2))),
    )
)
def test_the_story_with_other_numbers(database_url: str, numbers: Numbers) -> None:
    async def story() -> list[Step]:
        async with open_games(database_url) as games:
            return await played(games, numbers)

    assert told(asyncio.run(story())) == expected(numbers)


async def in_step(games: GameServer, url: str, game_id: str, balance: Decimal) -> None:
    """CONSERVATION and MIRROR=LEDGER: a session is retrieved, and everything says `balance`."""
    assert (await games.session(game_id, "ann")).balance == balance
    for table in ("player_sessions", "game_sessions"):
        said = await rows(url, f"SELECT balance FROM {table} WHERE player_id = 'ann'")
        assert round(Decimal(said[0]["balance"]), 2) == balance, table
    assert (await games.ledger.verify())["details"] == []


async def test_turns_while_purchases_run(games: GameServer, database_url: str) -> None:
    """No cent is lost, none counts twice, whoever looks meanwhile."""
    game_id = await games.create_game()
    await games.join(game_id, "ann")
    await games.set_balance(game_id, "ann", "75000.00", "start money")

    async def turns() -> None:
        for _ in range(24):
            await process_turn(games.engine, game_id, "ann", "10.01")

    async def purchases() -> None:
        for _ in range(8):
            await games.procure(game_id, "ann", "fuel", "7.03")

    async def looks() -> None:
        for _ in range(4):
            await games.session(game_id, "ann")
            await games.check(game_id, "ann")

    await asyncio.gather(turns(), purchases(), purchases(), looks())
    balance = 75000 + 24 * Decimal("10.01") - 16 * Decimal("7.03")
    await in_step(games, database_url, game_id, balance)
    assert await count(database_url, "orders") == 16


# Old code that takes its time over each turn, its row locked.
_SLOW_TURNS = """
import asyncio, asyncpg, sys

async def main(url, game):
    connection = await asyncpg.connect(url)
    for _ in range(6):
        async with connection.transaction():
            await connection.execute(
                "UPDATE game_sessions SET balance = balance + 10.01"
                " WHERE game_id = CAST($1 AS text)::uuid", game
            )
            print("turn", flush=True)
            await connection.execute("SELECT pg_sleep(0.1)")
    await connection.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_turns_of_another_process_that_keeps_its_row_locked(postgres_url: str) -> None:
    """Purchases wait for the row, and each is on top of what was written there."""
    async with open_games(postgres_url) as games:
        game_id = await games.create_game()
        await games.join(game_id, "ann")
        await games.set_balance(game_id, "ann", "75000.00", "start money")
        old_code = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SLOW_TURNS, postgres_url, game_id, stdout=asyncio.subprocess.PIPE
        )
        assert old_code.stdout is not None
        bought = 0
        while await old_code.stdout.readline():
            await games.procure(game_id, "ann", "fuel", "7.03")
            bought += 1
        assert await old_code.wait() == 0
        assert bought == 6
        balance = 75000 + 6 * Decimal("10.01") - bought * Decimal("7.03")
        await in_step(games, postgres_url, game_id, balance)


async def test_one_player_in_two_games(games: GameServer) -> None:
    one, other = await games.create_game(), await games.create_game()
    for game_id, balance in ((one, "100.00"), (other, "7.00")):
        await games.join(game_id, "ann")
        await games.set_balance(game_id, "ann", balance, "start money")
    await process_turn(games.engine, one, "ann", "0.50")
    assert (await games.session(other, "ann")).balance == 7
    assert (await games.session(one, "ann")).balance == Decimal("100.50")


async def test_nobody_has_no_turn_and_no_mishap(games: GameServer) -> None:
    game_id = await games.create_game()
    with pytest.raises(LookupError):
        await process_turn(games.engine, game_id, "nobody", "1.00")
    for table in TABLES:
        with pytest.raises(LookupError):
            await set_by_hand(games.engine, table, game_id, "nobody", "1.00")


async def test_an_order_that_cannot_be_paid(games: GameServer, database_url: str) -> None:
    """A turn may leave less than nothing, since that money has moved; an order may not."""
    game_id = await games.create_game()
    await games.join(game_id, "ann")
    await games.set_balance(game_id, "ann", "5.00", "start money")
    first = await games.procure(game_id, "ann", "fuel", "5.00")
    again = await games.procure(game_id, "ann", "fuel", "5.00", order_id=first)
    assert first == again
    await process_turn(games.engine, game_id, "ann", "-2.50")
    with pytest.raises(InsufficientFunds):
        await games.procure(game_id, "ann", "fuel", "0.01")
    assert await count(database_url, "orders") == 1
    await in_step(games, database_url, game_id, Decimal("-2.50"))


async def test_joining_fills_rows_that_were_missing(games: GameServer, database_url: str) -> None:
    """A player may have money before there is a session."""
    game_id = await games.create_game()
    await games.set_balance(game_id, "ann", "75000.00", "start money")
    assert await games.check(game_id, "ann") == (False, Decimal(75000))
    assert (await games.join(game_id, "ann")).balance == 75000
    await games.join(game_id, "ann")
    await in_step(games, database_url, game_id, Decimal(75000))
    assert await count(database_url, "transactions") == 1
