"""`pause` and `resume`: whether changes are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .running import actor, with_ledger

if TYPE_CHECKING:
    from ..ledger import BalanceManager


@click.command()
def pause() -> None:
    """
    Refuse changes on every process, until `tallywire resume`; reads go on.

    \b
    tallywire pause && pg_dump ... ; tallywire resume
    """

    async def work(manager: BalanceManager) -> None:
        await manager.administration.pause(actor=actor())

    with_ledger(work)
    click.echo("Changes are paused.")


@click.command()
def resume() -> None:
    """
    Take changes again, after `tallywire pause`.

    \b
    tallywire resume
    """

    async def work(manager: BalanceManager) -> None:
        await manager.administration.resume(actor=actor())

    with_ledger(work)
    click.echo("Changes are taken.")
