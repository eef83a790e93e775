"""examples/multiplayer_game: its story, with its numbers and with others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from game.server import GameServer, open_games
from game.story import Numbers, Step, play
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ..ledger.raw import rows


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
