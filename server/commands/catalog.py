"""`asset` and `book`: what the ledger keeps balances of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..ledger.catalog import Book
from ..ledger.money import LARGEST_SCALE
from .running import actor, print_lines, with_ledger

if TYPE_CHECKING:
    from ..ledger import BalanceManager


@click.command()
@click.argument("code", required=False)
@click.option(
    "--scale", type=click.IntRange(0, LARGEST_SCALE), help="Decimals; fixed once it is used."
)
def asset(code: str | None, scale: int | None) -> None:
    """
    Make the asset CODE, or list all assets.

    \b
    tallywire asset
    tallywire asset GBP --scale 2
    """
    if code is not None and scale is None:
        raise click.UsageError("an asset needs --scale, its number of decimals")

    async def work(manager: BalanceManager) -> list[str]:
        if code is not None:
            await manager.administration.put_asset(code, scale=scale, actor=actor())
        return [f"{each.code}\t{each.scale}" for each in manager.catalog.assets.values()]

    print_lines(with_ledger(work))


@click.command()
@click.argument("name", required=False)
@click.option("--side", type=click.Choice(["credit", "debit"]), help="credit = what we owe users.")
@click.option("--default-floor", metavar="AMOUNT", help="Of new accounts; 'none' = no limit.")
@click.option("--accounts", type=click.Choice(["open", "strict"]))
@click.option("--self-service/--no-self-service", default=None, help="May users move their own?")
@click.option("--timezone", metavar="ZONE", help="An IANA name, such as Europe/Berlin.")
@click.option("--starts-on", metavar="DATE", help="Nothing is effective before.")
@click.option("--closed-through", metavar="DATE", help="Nothing is effective on or before.")
def book(name: str | None, **options: Any) -> None:
    """
    Make the book NAME or change what is given, or list all books.

    A line has the settings that are not a new book's.

    \b
    tallywire book
    tallywire book rent:2026 --side debit --accounts strict --timezone Europe/Athens
    tallywire book rent:2026 --closed-through 2026-06-30
    """
    settings = {key: value for key, value in options.items() if value is not None}
    if settings.get("default_floor") == "none":
        settings["default_floor"] = None
    if settings and name is None:
        raise click.UsageError("which book?")

    async def work(manager: BalanceManager) -> list[str]:
        if name is not None:
            await manager.administration.put_book(name, settings, actor=actor())
        return [_described(each) for each in manager.catalog.books.values()]

    print_lines(with_ledger(work))


def _described(book: Book) -> str:
    # A debit book has no floor.
    floor = "0" if book.side == "credit" else None
    new = Book(name=book.name, side=book.side, default_floor=floor)
    values = {
        field: getattr(book, field)
        for field in Book.__struct_fields__
        if getattr(book, field) != getattr(new, field)
    }
    words = {None: "none", True: "true"}
    told = (f"{field}={words.get(value, value)}" for field, value in values.items())
    return "\t".join([book.name, book.side, *told])
