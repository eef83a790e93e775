"""`python -m game`: the story of a player, step by step."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import click
from tallywire import LedgerError

from .server import open_games
from .story import Numbers, Step, play
from .tables import database_url

_NUMBERS = Numbers()


@click.command()
@click.option("--game", "game_id", type=UUID, help="The id of a new game; a random one.")
@click.option("--player", "player_id", default="ann", show_default=True)
@click.option("--before", default=_NUMBERS.before, show_default=True, help="From single-player.")
@click.option("--start", default=_NUMBERS.start, show_default=True, help="What she is set to then.")
@click.option("--order", default=_NUMBERS.order, show_default=True, help="A procurement order.")
@click.option("--sales", default=_NUMBERS.sales, show_default=True, help="What is earned.")
@click.option("--turn", default=_NUMBERS.turn, show_default=True, help="Income of each turn.")
@click.option("--purchase", default=_NUMBERS.purchase, show_default=True, help="Bought meanwhile.")
@click.option("--times", default=_NUMBERS.times, show_default=True, help="Turns and purchases.")
@click.option("--by-hand", default=_NUMBERS.by_hand, show_default=True, help="The mishaps.")
def game(game_id: UUID | None, player_id: str, **numbers: Any) -> None:
    """Play a new game; amounts are dollars."""
    try:
        asyncio.run(_play(str(game_id or uuid4()), player_id, Numbers(**numbers)))
    except LedgerError as refused:
        raise click.ClickException(refused.detail) from refused


async def _play(game_id: str, player_id: str, numbers: Numbers) -> None:
    async with open_games(database_url()) as games:
        click.echo(f"{player_id} in game:{game_id}")
        click.echo(_line("", "ledger", "player_sessions", "game_sessions"))
        async for step in play(games, numbers, game_id, player_id):
            click.echo(_told(step))


def _told(step: Step) -> str:
    places = [f"{each:.2f}" for each in (step.ledger, step.player_session, step.game_session)]
    answer = "" if step.had_mismatch is None else f"  ({step.had_mismatch}, {places[0]})"
    return _line(step.what, *places) + answer


def _line(what: str, *places: str) -> str:
    return f"{what:<44}" + "".join(f"{place:>16}" for place in places)


if __name__ == "__main__":
    game(prog_name="python -m game")
