"""`watch`: balances live in a terminal."""

from __future__ import annotations

import asyncio

import click

from .running import CannotRun, print_lines, read_settings, server_url
from .tokens import TOKEN_SECONDS, make_token


@click.command()
@click.argument("user", required=False)
@click.option(
    "--all", "everyone", is_flag=True, help="Everyone's changes, as an auditor sees them."
)
@click.option("--url", metavar="URL", help="The server; http://HOST:PORT if not given.")
@click.option("--token", "given", envvar="TALLYWIRE_TOKEN", help="Instead of one made here.")
@click.option("--asset", metavar="CODE", help="With --all: only this asset.")
@click.option("--book", "in_book", metavar="BOOK", help="With --all: only this book.")
@click.option("--type", "change_type", metavar="TYPE", help="With --all: only this type.")
@click.option("--min-amount", metavar="AMOUNT", help="With --all: only changes this large.")
def watch(
    user: str | None,
    everyone: bool,
    url: str | None,
    given: str | None,
    asset: str | None,
    in_book: str | None,
    change_type: str | None,
    min_amount: str | None,
) -> None:
    """
    Show USER's balances live, or everyone's changes, until Ctrl-C.

    It follows the server through restarts, misses nothing, and checks each entry's digest.

    \b
    tallywire watch alice
    tallywire watch --all --asset USDT --min-amount 1000
    TALLYWIRE_TOKEN=... tallywire watch --url https://ledger.example.com
    """
    from ..watching import CannotWatch, View
    from ..watching import watch as watch_live

    filters = {
        name: value
        for name, value in (
            ("user_id", user if everyone else None),
            ("asset", asset),
            ("book", in_book),
            ("change_type", change_type),
            ("min_amount", min_amount),
        )
        if value is not None
    }
    if filters and not everyone:
        raise click.UsageError("filters go with --all")
    if not everyone and user is None and given is None:
        raise click.UsageError("whose balances? tallywire watch USER, or --all")
    settings = read_settings()
    base = (url or server_url(settings.host, settings.port)).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise click.UsageError("--url begins with http:// or https://")

    async def token() -> str:
        if given is not None:
            return given
        name, role = ("auditor", "auditor") if everyone else (str(user), "user")
        return await asyncio.to_thread(make_token, settings, base, name, role, TOKEN_SECONDS)

    try:
        asyncio.run(
            watch_live(
                f"ws{base.removeprefix('http')}/ws",
                View(monitor=everyone, filters=filters),
                token,
                print_lines,
            )
        )
    except CannotWatch as error:
        raise CannotRun(f"{base}: {error}") from error
    except KeyboardInterrupt:
        click.echo(err=True)
