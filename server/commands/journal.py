"""`export`, `import` and `epoch`: the journal as a file, and what follows a restored copy."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import click

from .running import CannotRun, actor, with_database, with_ledger

if TYPE_CHECKING:
    from ..ledger import BalanceManager
    from ..ledger.exporting import Exported
    from ..ledger.importing import Imported

_HISTORY_PAGE = 500


@click.command("export")
@click.argument("file", required=False, default="-")
@click.option("--history", metavar="USER", help="Instead: this user's history, as CSV.")
def export_journal(file: str, history: str | None) -> None:
    """
    Write the whole journal to FILE as JSON Lines, or to stdout.

    The file holds everything up to the head of the moment, while the servers go on, and proves
    itself: digests, content hashes and seals are those of the ledger. It is compressed where its
    name ends in .gz. Note the seal that is printed at the end.

    \b
    tallywire export journal.jsonl.gz
    tallywire export | gzip | ssh elsewhere 'cat > journal.jsonl.gz'
    tallywire export --history alice alice.csv
    """
    if history is not None:
        with_ledger(lambda manager: _export_history(manager, history, file))
        return

    async def work(manager: BalanceManager) -> Exported:
        with _writing(file) as write:
            return await manager.export_journal(write, progress=_progress("exported"))

    done = with_ledger(work)
    click.echo(f"exported to position {done.position}, seal {done.seal}", err=True)


@click.command("import")
@click.argument("file", required=False, default="-")
def import_journal(file: str) -> None:
    """
    Fill an empty ledger with the journal in FILE, or from stdin.

    The ledger must be new, as `tallywire upgrade` makes it, on either kind of database. Every
    line is verified; of a file that was cut or changed nothing is taken in. The journal gets a
    new epoch. Compare the seal that is printed with the one that the export printed.

    \b
    export DATABASE_URL=postgresql://...
    tallywire upgrade && tallywire import journal.jsonl.gz && tallywire verify
    """

    async def work(url: str) -> Imported:
        from ..ledger import import_journal

        with _reading(file) as source:
            return await import_journal(url, source, actor=actor(), progress=_progress("imported"))

    done = with_database(work)
    click.echo(
        f"imported to position {done.position}, seal {done.seal}, epoch {done.epoch}", err=True
    )


@click.group()
def epoch() -> None:
    """
    Which journal this is: clients of another one are told their balances anew.

    \b
    tallywire epoch renew
    """


@epoch.command()
def renew() -> None:
    """
    Give the journal a new epoch, after a copy was restored.

    Clients that are connected, and those that come back, are told their balances anew; running
    servers need no restart. PostgreSQL is renewed by itself where a copy is in another cluster or
    database; a restored SQLite file, a machine's snapshot and a restore into the same database
    cannot be noticed, so there this command is part of the restore.

    \b
    tallywire epoch renew
    """

    async def work(manager: BalanceManager) -> str:
        return await manager.administration.renew_epoch(actor())

    click.echo(with_ledger(work))


async def _export_history(manager: BalanceManager, user: str, file: str) -> None:
    """Every change of the user's accounts, newest first, page by page."""
    from ..api.csv_answers import csv_rows
    from ..api.history_rows import HISTORY_COLUMNS, history_rows

    before: int | None = None
    with _writing(file) as write:
        write(csv_rows([HISTORY_COLUMNS]))
        while page := await manager.history(user, before=before, limit=_HISTORY_PAGE):
            write(csv_rows(history_rows(page)))
            before = page[-1]["position"]


@contextmanager
def _writing(file: str) -> Iterator[Callable[[bytes], object]]:
    """What writes to `file`, which is there only once it is whole; to stdout where it is ``-``."""
    part = Path(f"{file}.part")
    try:
        if file == "-":
            yield sys.stdout.buffer.write
            sys.stdout.buffer.flush()
            return
        with _open(part, "wb", packed=file.endswith(".gz")) as output:
            yield output.write
        part.replace(file)
    except OSError as error:
        raise CannotRun(f"cannot write {file}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _reading(file: str) -> Iterator[IO[bytes]]:
    """`file`, or stdin where it is ``-``, open for reading."""
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        source = _open(Path(file), "rb", packed=file.endswith(".gz"))
    except OSError as error:
        raise CannotRun(f"cannot read {file}: {error.strerror}") from error
    with source:
        yield source


def _open(file: Path, mode: str, *, packed: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file, mode) if packed else file.open(mode))


def _progress(did: str) -> Callable[[int, int], None] | None:
    """Tells a terminal how far it is."""
    if not sys.stderr.isatty():
        return None
    return lambda done, total: click.echo(f"\r{did} {done} of {total}\x1b[K", nl=False, err=True)
