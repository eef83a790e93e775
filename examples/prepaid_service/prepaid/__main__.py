"""`python -m prepaid`: the story, scene by scene."""

from __future__ import annotations

import asyncio
from secrets import token_hex
from typing import Any

import click
from tallywire import LedgerError

from .billing import open_billing
from .story import Numbers, play
from .tables import database_url
from .telling import scene_lines

_NUMBERS = Numbers()


@click.command()
@click.option("--customer", help="A new customer; an-… with a random end.")
@click.option("--other", help="The one whose account is written by hand; binh-… likewise.")
@click.option("--recharge", default=_NUMBERS.recharge, show_default=True, help="The first payment.")
@click.option("--charge", default=_NUMBERS.charge, show_default=True, help="Each of two charges.")
@click.option("--backup", default=_NUMBERS.backup, show_default=True, help="A smaller charge.")
@click.option("--again", default=_NUMBERS.again, show_default=True, help="The next payment.")
@click.option("--server", default=_NUMBERS.server, show_default=True, help="Each of more charges.")
@click.option("--servers", default=_NUMBERS.servers, show_default=True, help="How many more.")
@click.option("--suspend-below", default=_NUMBERS.suspend_below, show_default=True)
@click.option("--alert-below", default=_NUMBERS.alert_below, show_default=True)
@click.option("--actual", default=_NUMBERS.actual, show_default=True, help="What the other has.")
@click.option("--stored", default=_NUMBERS.stored, show_default=True, help="Written over it.")
def prepaid(customer: str | None, other: str | None, **numbers: Any) -> None:
    """Play the story of two new customers; amounts are whole dong."""
    customer_id = customer or f"an-{token_hex(3)}"
    other_id = other or f"binh-{token_hex(3)}"
    try:
        asyncio.run(_play(customer_id, other_id, Numbers(**numbers)))
    except LedgerError as refused:
        raise click.ClickException(refused.detail) from refused


async def _play(customer_id: str, other_id: str, numbers: Numbers) -> None:
    async with open_billing(database_url()) as billing:
        async for scene in play(billing, numbers, customer_id, other_id):
            for line in scene_lines(scene):
                click.echo(line)


if __name__ == "__main__":
    prepaid(prog_name="python -m prepaid")
