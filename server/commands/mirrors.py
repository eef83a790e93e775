"""`mirrors`: copies of balances in other tables, compared and put right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .proof import mismatch, summary
from .running import BAD_ANSWER, GOOD, actor, print_lines, with_ledger

if TYPE_CHECKING:
    from ..ledger import BalanceManager
    from ..ledger.mirrors.mirror import Mirror
    from ..ledger.report import Report

_in_book = click.option("--book", "in_book", metavar="BOOK", help="Only this book.")


@click.group()
def mirrors() -> None:
    """
    List the copies of balances in other tables, compare them with the ledger, or put them right.

    \b
    tallywire mirrors list
    tallywire mirrors check
    tallywire mirrors sync --book main
    """


@mirrors.command("list")
def list_() -> None:
    """
    List the mirrors that are registered, each on a line, its fields between tabs.

    \b
    tallywire mirrors list
    """

    async def work(manager: BalanceManager) -> list[str]:
        return [_described(each) for each in manager.catalog.mirrors]

    print_lines(with_ledger(work))


def _described(mirror: Mirror) -> str:
    key = ",".join(f"{column.name}={column.template}" for column in mirror.key)
    choices = ("book", "asset", "value", "on_drift", "on_failure", "mode")
    told = (f"{field}={getattr(mirror, field)}" for field in choices)
    return "\t".join([mirror.name, f"{mirror.table}.{mirror.column}", f"key={key}", *told])


@mirrors.command()
@_in_book
@click.pass_context
def check(ctx: click.Context, in_book: str | None) -> None:
    """
    Report every row that does not say what the ledger says; exit 1 where there is one.

    Each is a line: MISMATCH MIRROR=LEDGER account stored actual difference; without a row,
    stored and difference are "-".

    \b
    tallywire mirrors check
    """

    async def work(manager: BalanceManager) -> int:
        errors = 0
        async for page in manager.mirrors.check(book=in_book):
            errors += len(page)
            for found in page:
                click.echo(mismatch(found))
        return errors

    errors = with_ledger(work)
    click.echo(f"discrepancies {errors}", err=True)
    ctx.exit(BAD_ANSWER if errors else GOOD)


@mirrors.command()
@_in_book
@click.pass_context
def sync(ctx: click.Context, in_book: str | None) -> None:
    """
    Put every row right: book what others wrote where the mirror adopts, else write over it.

    What is not right then (no row, a row that cannot be written, a mirror in shadow mode) is a
    line as of `check`, and the exit is 1. It may be stopped and run again.

    \b
    tallywire mirrors sync --book game:42
    """

    async def work(manager: BalanceManager) -> Report:
        return await manager.sync_balances(book=in_book, actor=actor())

    report = with_ledger(work)
    for found in report.details:
        click.echo(mismatch(found))
    click.echo(summary(report), err=True)
    ctx.exit(BAD_ANSWER if report.errors else GOOD)
