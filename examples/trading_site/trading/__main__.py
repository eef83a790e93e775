"""`python -m trading`: play the story against a Tallywire that serves."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import fields
from decimal import Decimal, InvalidOperation

import click

from .ledger import Refused
from .screens import ScreenEnded
from .site import open_site
from .story import Numbers, Unexpected, play
from .tables import database_url
from .tokens import NoTokens, Unreachable

_TROUBLE = (Refused, Unreachable, NoTokens, ScreenEnded, Unexpected, TimeoutError)


class Amount(click.ParamType[str]):
    """A decimal number, handed on as it was written: whether it fits the asset, Tallywire says."""

    name = "amount"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        try:
            Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is not a decimal number", param, ctx)
        return value


@click.command()
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="Of Tallywire.")
@click.option("--notices", is_flag=True, help="Have a webhook tell the site's mailer.")
def main(url: str, notices: bool, **amounts: str) -> None:
    """Staff deposit, withdraw and adjust; two users and the monitor watch."""
    try:
        asyncio.run(_main(url, Numbers(**amounts), notices))
    except _TROUBLE as error:
        sys.exit(f"{type(error).__name__}: {error}")


async def _main(url: str, numbers: Numbers, with_notices: bool) -> None:
    secret = os.environ.get("TALLYWIRE_SECRET") or None
    async with open_site(url, database_url(), secret) as site:
        await play(site, numbers, click.echo, with_notices=with_notices)


for number in fields(Numbers):
    main.params.append(
        click.Option(
            [f"--{number.name.replace('_', '-')}"],
            type=click.STRING if number.name == "asset" else Amount(),
            default=number.default,
            show_default=True,
        )
    )

if __name__ == "__main__":
    main()
