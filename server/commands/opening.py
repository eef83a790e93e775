"""`import-balances`: the balances that an application has, as the ledger's opening balances."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .running import BAD_ANSWER, GOOD, actor, read_settings, with_ledger

if TYPE_CHECKING:
    from ..cutover import ControlTotals, Refused
    from ..ledger import BalanceManager

_LINES = ("read", "booked", "replayed", "refused", "ledger")


@click.command("import-balances")
@click.option("--table", metavar="NAME", help="A table or view; schema.name elsewhere.")
@click.option(
    "--from", "url", metavar="URL", help="The table's database, where it is not DATABASE_URL."
)
@click.option(
    "--csv",
    "file",
    type=click.Path(path_type=Path),
    help="Instead of a table: UTF-8, the columns' names in the first line.",
)
@click.option("--id", "id_column", default="id", show_default=True, help="Column of user ids.")
@click.option(
    "--balance", "balance_column", default="balance", show_default=True, help="Column of balances."
)
@click.option("--asset", required=True, metavar="CODE", help="What the balances count.")
@click.option("--book", default="main", show_default=True)
@click.option("--minor-units", is_flag=True, help="The column counts cents, not units.")
@click.option("--allow-negative", is_flag=True, help="Open accounts below their floor too.")
@click.option("--dry-run", is_flag=True, help="The same answer, and nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Totals and refused rows as one JSON object.")
@click.pass_context
def import_balances(
    ctx: click.Context,
    table: str | None,
    url: str | None,
    file: Path | None,
    id_column: str,
    balance_column: str,
    asset: str,
    book: str,
    minor_units: bool,
    allow_negative: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """
    Open an account for every row of a table or CSV file; exit 1 where a row is refused.

    May be ended and repeated at any time: an account is opened once. Each refused row is a line,
    then come the control totals, which must agree. The way from there to live: docs/cutover.md.

    \b
    tallywire import-balances --table users --id id --balance balance --asset USD --dry-run
    tallywire import-balances --table billing.wallets --id owner --balance cents \\
      --asset EUR --minor-units --from postgresql://reader@db/shop
    tallywire import-balances --csv flats.csv --id flat --balance debt --asset EUR --book rent
    """
    if (table is None) == (file is None):
        raise click.UsageError("from where? give either --table or --csv")
    if url is not None and file is not None:
        raise click.UsageError("--from goes with --table")
    from ..cutover import CsvSource, ImportedBook, Source, TableSource
    from ..cutover import import_balances as import_from
    from ..ledger import SystemClock

    source: Source
    if file is not None:
        source = CsvSource(file, id_column, balance_column)
    else:
        database = url or read_settings().database_url
        source = TableSource(database, str(table), id_column, balance_column)
    into = ImportedBook(book, asset, minor_units, allow_negative)
    listed: list[Refused] = []

    async def work(manager: BalanceManager) -> ControlTotals:
        return await import_from(
            manager,
            source,
            into,
            actor=actor(),
            clock=SystemClock(),
            dry_run=dry_run,
            refused=listed.append if as_json else _print_refused,
            progress=_progress(),
        )

    totals = with_ledger(work)
    if as_json:
        click.echo(json.dumps({**totals.view(), "details": [row._asdict() for row in listed]}))
    else:
        _print_totals(totals)
    ctx.exit(GOOD if totals.agree and not totals.refused.rows else BAD_ANSWER)


def _print_refused(row: Refused) -> None:
    click.echo(f"REFUSED row {row.row} {row.user!r} {row.balance!r}: {row.reason}")


def _print_totals(totals: ControlTotals) -> None:
    view = totals.view()
    width = max(len(view[name]["sum"]) for name in _LINES)
    click.echo(f"{'':10}{'rows':>12}  {'sum':>{width}}")
    for name in _LINES:
        shown = "would book" if totals.dry_run and name == "booked" else name
        click.echo(f"{shown:10}{view[name]['rows']:>12}  {view[name]['sum']:>{width}}")
    if totals.unreadable:
        click.echo(f"{totals.unreadable} refused without a readable balance, in no sum")
    if totals.elsewhere:
        click.echo(f"@opening holds {view['opening_account']}, {view['elsewhere']} not from here")
    click.echo("the totals agree" if totals.agree else "THE TOTALS DO NOT AGREE")


def _progress() -> Any:
    """What shows rows done, their rate and the time left, where stderr is a terminal."""
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        rate = done / max(time.monotonic() - began, 0.001)
        left = (total - done) / max(rate, 0.001)
        end = "\r\x1b[K" if done == total else f"  {rate:.0f} rows/s, {left:.0f} s left\x1b[K"
        click.echo(f"\r{done} of {total} rows{end}", nl=False, err=True)

    return show if sys.stderr.isatty() else lambda done, total: None
