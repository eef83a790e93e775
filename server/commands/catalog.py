"""`asset`, `book` and `pair`: what the ledger keeps balances of, and what is traded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..ledger.catalog import Book
from ..ledger.money import LARGEST_SCALE
from .running import actor, print_lines, with_ledger

if TYPE_CHECKING:
    from ..ledger import BalanceManager
    from ..ledger.objects import Pair


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


@click.command()
@click.argument("name", required=False)
@click.option("--minimum", metavar="AMOUNT", help="The least of base in a spot order.")
@click.option("--price-decimals", type=click.IntRange(0, LARGEST_SCALE), help="2; fixed for good.")
@click.option("--fee-bps", type=int, help="Of a spot order's quote, in 1/10000; 10.")
@click.option(
    "--duration",
    "durations",
    multiple=True,
    metavar="SECONDS=RATE",
    help="Of options, with the payout of the stake; all of them.",
)
@click.option("--maximum-stake", metavar="AMOUNT", help="Of an option; 1000.")
@click.option("--exposure-limit", metavar="AMOUNT", help="Of all payouts to come; 100000.")
@click.option("--stale-after-s", type=int, help="An older price refuses trades; 15.")
@click.option("--settlement-age-s", type=int, help="How old an expiry's price may be; 60.")
def pair(name: str | None, durations: tuple[str, ...], **options: Any) -> None:
    """
    Make the pair NAME (BASE-QUOTE) or change what is given, or list all pairs.

    \b
    tallywire pair
    tallywire pair BTC-EUR --minimum 0.0001 --fee-bps 25
    tallywire pair BTC-EUR --duration 60=0.85 --duration 3600=0.92
    """
    settings = {key: value for key, value in options.items() if value is not None}
    if durations:
        settings["durations"] = [_duration(each) for each in durations]
    if settings and name is None:
        raise click.UsageError("which pair?")

    async def work(manager: BalanceManager) -> list[str]:
        from ..ledger.views import pair_view

        if name is not None:
            await manager.administration.put_pair(name, settings, actor=actor())
        views = [pair_view(each, manager.catalog) for each in manager.catalog.pairs.values()]
        return [_described_pair(view) for view in sorted(views, key=lambda view: view.pair)]

    print_lines(with_ledger(work))


def _duration(text: str) -> dict[str, Any]:
    seconds, _, rate = text.partition("=")
    if not (seconds.isascii() and seconds.isdigit()):
        raise click.UsageError(f"{text!r} is not SECONDS=RATE, such as 60=0.85")
    return {"duration_s": int(seconds), "payout_rate": rate}


def _described_pair(view: Pair) -> str:
    durations = ",".join(f"{each.duration_s}={each.payout_rate}" for each in view.durations)
    settings = {name: getattr(view, name) for name in view.__struct_fields__[3:]}
    told = [f"{name}={value}" for name, value in (settings | {"durations": durations}).items()]
    return "\t".join([view.pair, *told])


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
