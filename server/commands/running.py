"""What sub-commands run with (settings, the ledger, who acts) and how they end."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import click

if TYPE_CHECKING:
    from ..ledger import BalanceManager
    from ..settings import Settings

GOOD, BAD_ANSWER, COULD_NOT_RUN = 0, 1, 2

Answer = TypeVar("Answer")


class CannotRun(Exception):
    """The command cannot do its work; the message is one line for the operator."""


def read_settings(**given: str | None) -> Settings:
    """The environment's settings, with `given` (names as in the environment) before it."""
    from ..settings import Settings

    return Settings.from_environ(
        {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    )


def with_ledger(work: Callable[[BalanceManager], Awaitable[Answer]]) -> Answer:
    """What `work` answers on the ledger of DATABASE_URL, which must be there and current."""
    from ..ledger import open_ledger

    async def run(url: str) -> Answer:
        async with open_ledger(url) as manager:
            return await work(manager)

    return with_database(run)


def with_database(work: Callable[[str], Awaitable[Answer]]) -> Answer:
    """What `work` answers on DATABASE_URL, where a ledger must be."""
    settings = read_settings()
    log_warnings(settings)
    url = settings.database_url

    async def run() -> Answer:
        try:
            await _check_present(url)
            return await work(url)
        except Exception as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # What a driver says that was broken off by Ctrl-C is nothing to be told.
                raise asyncio.CancelledError from error
            raise

    _check_file(url)
    return asyncio.run(run())


def log_warnings(settings: Settings) -> None:
    """Log to stderr, so that stdout holds the answer alone, and no more than is worth reading."""
    import logging

    from ..logs import configure_logging

    configure_logging(settings.log)
    logging.getLogger().setLevel(logging.WARNING)


def _check_file(url: str) -> None:
    """Raise CannotRun where `url` is that of a SQLite file which is not there."""
    from ..ledger.database import normalise_url

    parsed = normalise_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
        raise CannotRun(f"there is no database at {parsed.database}; make it: tallywire upgrade")


async def _check_present(url: str) -> None:
    """Raise CannotRun where the database is empty: a misspelt address is not a new ledger."""
    from ..ledger.database import Database
    from ..ledger.migrations import schema_state

    database = Database(url, readers=1)
    try:
        async with database.read() as connection:
            state = await connection.run_sync(schema_state)
    finally:
        await database.close()
    if state == "empty":
        raise CannotRun("the database holds no ledger; make it: tallywire upgrade")


def server_url(host: str, port: int) -> str:
    """Where a browser on this machine finds a server that listens on `host`."""
    from ..settings import bare_host

    bare = bare_host(host)
    if bare in ("0.0.0.0", "::"):  # noqa: S104
        bare = "127.0.0.1"
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"


def actor() -> str:
    """Who the ledger records as having run this command."""
    return f"cli:{quote(getpass.getuser())}"


def print_lines(lines: Iterable[str]) -> None:
    """Print `lines` to stdout."""
    for line in lines:
        click.echo(line)
