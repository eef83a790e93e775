"""The `tallywire` command: its sub-commands put together, and how it ends."""

from __future__ import annotations

import gc
import sys
import traceback
from typing import NoReturn

import click

from .commands import (
    bench,
    catalog,
    journal,
    mirrors,
    opening,
    pausing,
    proof,
    schema,
    serving,
    tokens,
    watching,
)
from .commands.running import COULD_NOT_RUN, GOOD, CannotRun

_ALLOCATIONS_PER_COLLECTION = 50_000


def main() -> NoReturn:
    """
    Run the command line of this process and exit: 0 = as it should be, 1 = the answer is bad,
    2 = could not run.
    """
    # What starting makes stays, and what a commit allocates dies by its reference counts: at
    # Python's own threshold the search for cycles takes a sixth of the time of either.
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION)
    try:
        code = cli.main(prog_name="tallywire", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(COULD_NOT_RUN)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        line = _known(error)
        if line is None:
            traceback.print_exc()
        click.echo(f"Error: {line or error}", err=True)
        sys.exit(COULD_NOT_RUN)
    sys.exit(code if isinstance(code, int) else GOOD)


def _known(error: Exception) -> str | None:
    """One line on a failure that the operator can do something about; None for a defect."""
    from sqlalchemy.exc import DBAPIError

    from .ledger.database import reason
    from .ledger.errors import LedgerError
    from .settings import SettingsError

    if isinstance(error, (LedgerError, SettingsError, CannotRun)):
        return str(error)
    if isinstance(error, DBAPIError):
        return f"the database refused: {reason(error)}"
    return None


@click.group(
    commands=[
        serving.serve,
        serving.worker,
        schema.upgrade,
        tokens.token,
        catalog.asset,
        catalog.book,
        catalog.pair,
        opening.import_balances,
        proof.verify,
        proof.rebuild,
        proof.reconcile,
        proof.verifications,
        mirrors.mirrors,
        journal.export_journal,
        journal.import_journal,
        journal.epoch,
        pausing.pause,
        pausing.resume,
        watching.watch,
        bench.bench,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="tallywire")
def cli() -> None:
    """
    Balances your users can watch and your auditors can check.

    Everything is set by the environment: DATABASE_URL, TALLYWIRE_SECRET, HOST, PORT and the
    others in the README. Without TALLYWIRE_SECRET this is development mode: loopback only, and
    tokens for anyone.

    \b
    A first look, on SQLite, with the users alice and bob:
      tallywire serve
      tallywire watch alice          in a second terminal
    \b
    In earnest:
      export DATABASE_URL=postgresql://tallywire@db/tallywire TALLYWIRE_SECRET=...
      tallywire upgrade && tallywire serve --host 0.0.0.0
      tallywire token root --role superadmin
      tallywire verify
    """
