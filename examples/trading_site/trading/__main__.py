"""`python -m trading`: play the story against a Tallywire that serves."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import click

from .ledger import Refused
from .screens import ScreenEnded
from .site import open_site
from .story import Numbers, Unexpected, play
from .tables import database_url
from .tokens import NoTokens, Unreachable

Command = TypeVar("Command", bound=Callable[..., object])

_NUMBERS = Numbers()
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


def _amount(name: str, default: str, help_: str) -> Callable[[Command], Command]:
    return click.option(name, type=Amount(), default=default, show_default=True, help=help_)


@click.command()
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="Of Tallywire.")
@click.option("--notices", is_flag=True, help="Have a webhook tell the site's mailer.")
@click.option("--asset", default=_NUMBERS.asset, show_default=True, help="What is moved.")
@_amount("--deposit", _NUMBERS.deposit, "What Ann gets.")
@_amount("--withdrawal", _NUMBERS.withdrawal, "What she pays out.")
@_amount("--adjustment", _NUMBERS.adjustment, "What she is put right by, signed.")
@_amount("--beyond", _NUMBERS.beyond, "So much more than she has is asked for, and refused.")
@_amount("--second-deposit", _NUMBERS.second_deposit, "What Ben gets.")
@_amount("--second-withdrawal", _NUMBERS.second_withdrawal, "What he pays out.")
@_amount("--bonus", _NUMBERS.bonus, "What both get in the end.")
def main(url: str, notices: bool, **numbers: str) -> None:
    """Staff deposit, withdraw and adjust; two users and the monitor watch."""
    try:
        asyncio.run(_main(url, Numbers(**numbers), notices))
    except _TROUBLE as error:
        sys.exit(f"{type(error).__name__}: {error}")


async def _main(url: str, numbers: Numbers, with_notices: bool) -> None:
    secret = os.environ.get("TALLYWIRE_SECRET") or None
    async with open_site(url, database_url(), secret) as site:
        await play(site, numbers, click.echo, with_notices=with_notices)


if __name__ == "__main__":
    main()
