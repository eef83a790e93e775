"""`verify`: what is stored, checked against the invariants."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .running import BAD_ANSWER, GOOD, with_ledger

if TYPE_CHECKING:
    from ..ledger import BalanceManager
    from ..ledger.invariants import Discrepancy
    from ..ledger.report import Report


def mismatch(found: Discrepancy) -> str:
    """The line that tells of a discrepancy (contract, section 7)."""
    fields = (found.invariant, found.account, found.stored, found.actual, found.difference)
    return " ".join(["MISMATCH", *("-" if field is None else str(field) for field in fields)])


@click.command()
@click.option("--user-id", metavar="USER", help="Only this user's accounts.")
@click.option("--book", "in_book", metavar="BOOK", help="Only this book.")
@click.option("--json", "as_json", is_flag=True, help="The whole report as one JSON object.")
@click.pass_context
def verify(ctx: click.Context, user_id: str | None, in_book: str | None, as_json: bool) -> None:
    """
    Check every invariant of the ledger; exit 1 where one does not hold.

    Each discrepancy is a line: MISMATCH invariant account stored actual difference.

    \b
    tallywire verify
    tallywire verify --user-id alice --book main
    tallywire verify --json | jq .errors
    """

    def progress(checked: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\rchecked {checked} of {total}\x1b[K", nl=False, err=True)

    async def work(manager: BalanceManager) -> Report:
        return await manager.verify(user_id=user_id, book=in_book, progress=progress)

    report = with_ledger(work)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(report))
    else:
        for found in report.details:
            click.echo(mismatch(found))
        click.echo(f"checked {report.checked}, discrepancies {report.errors}", err=True)
    ctx.exit(BAD_ANSWER if report.errors else GOOD)
