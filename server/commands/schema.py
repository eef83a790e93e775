"""`upgrade`: the database's schema."""

from __future__ import annotations

import asyncio

import click

from .running import log_warnings, read_settings


@click.command()
def upgrade() -> None:
    """
    Bring the database's schema up to this program; a new database gets its first one.

    \b
    DATABASE_URL=postgresql://... tallywire upgrade
    """
    from ..ledger import open_ledger

    settings = read_settings()
    log_warnings(settings)

    async def run() -> None:
        async with open_ledger(settings.database_url, upgrade=True):
            pass

    asyncio.run(run())
    click.echo("The schema is current.")
