"""The `tallywire` command: each sub-command imports what it needs when it runs."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import quote

import click

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from .ledger import BalanceManager
    from .ledger.verify import Report
    from .settings import Settings

GOOD, BAD_ANSWER, COULD_NOT_RUN = 0, 1, 2

Answer = TypeVar("Answer")
_ROLES = click.Choice(["user", "auditor", "admin", "superadmin"])


def main() -> NoReturn:
    """
    Run the command line of this process and exit: 0 = as it should be, 1 = the answer is bad,
    2 = could not run.
    """
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


class CannotRun(Exception):
    """The command cannot do its work; the message is one line for the operator."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


@cli.command()
@click.option("--host", metavar="ADDRESS", help="Listen here instead of HOST (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of PORT (3000); 0 = any free.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Processes that serve; 1.")
@click.option("--listener", type=int, hidden=True, help="Of a worker: the socket that it serves.")
def serve(host: str | None, port: int | None, workers: int, listener: int | None) -> None:
    """
    Serve HTTP and WebSocket until SIGTERM or Ctrl-C, then drain.

    Several workers share the port; they need PostgreSQL, REDIS_URL and TALLYWIRE_SECRET.

    \b
    tallywire serve
    tallywire serve --port 8080
    DATABASE_URL=postgresql://... TALLYWIRE_SECRET=... tallywire serve --host 0.0.0.0
    DATABASE_URL=... REDIS_URL=redis://... TALLYWIRE_SECRET=... tallywire serve --workers 4
    """
    settings = _settings(HOST=host, PORT=None if port is None else str(port))
    if workers > 1:
        _check_many(settings)
    from .logs import configure_logging
    from .serving import CannotListen, listen

    if listener is not None:
        shared = socket(fileno=listener)
    else:
        try:
            shared = listen(settings.host, settings.port)
        except CannotListen as error:
            raise CannotRun(str(error)) from error
    url = _url(settings.host, shared.getsockname()[1])
    configure_logging(settings.log)
    if workers > 1:
        from .supervising import supervise

        def started() -> None:
            click.echo(f"Tallywire serves {url} with {workers} workers")

        click.get_current_context().exit(supervise(settings, shared, workers, started))
    from .app import create_app
    from .serving import serve as serve_app

    app = create_app(settings)
    serve_app(
        app,
        shared,
        started=lambda: _announce(app, settings, url),
        drain=lambda: app.state.services.hub.shutdown(),
        supervised=listener is not None,
    )


def _check_many(settings: Settings) -> None:
    """Raise CannotRun where several processes could not serve together."""
    from .ledger.database import normalise_url

    if settings.development:
        raise CannotRun("--workers above 1 needs TALLYWIRE_SECRET: development mode is one process")
    if normalise_url(settings.database_url).get_backend_name() != "postgresql":
        raise CannotRun("--workers above 1 needs PostgreSQL: set DATABASE_URL=postgresql://...")
    if settings.redis_url is None:
        raise CannotRun("--workers above 1 needs Redis: set REDIS_URL=redis://...")


def _announce(app: Starlette, settings: Settings, url: str) -> None:
    if not settings.development:
        click.echo(f"Tallywire serves {url}")
        return
    token = app.state.services.tokens.encode("root", "superadmin", 24 * 3600)
    deposit = json.dumps({"user_id": "alice", "asset": "USDT", "amount": "12.50"})
    click.echo(
        f"Tallywire serves {url}\n"
        "Development mode: no TALLYWIRE_SECRET is set, so anyone on this machine is anyone.\n"
        f"Open {url}/ and watch alice's balance move:\n\n"
        f"curl -sS {url}/v1/deposits -H 'Content-Type: application/json'"
        f" -H 'Authorization: Bearer {token}' -d '{deposit}'\n"
    )


@cli.command()
def worker() -> None:
    """
    Do the work that comes round by itself, until SIGTERM or Ctrl-C.

    Of several workers one does it, and another takes over within 15 seconds where it fails. In
    development mode the server does it.

    \b
    DATABASE_URL=postgresql://... TALLYWIRE_SECRET=... tallywire worker
    """
    from .logs import configure_logging
    from .working import work

    settings = _settings()
    configure_logging(settings.log)
    work(settings, started=lambda: click.echo("Tallywire's worker runs."))


@cli.command()
def upgrade() -> None:
    """
    Bring the database's schema up to this program; a new database gets its first one.

    \b
    DATABASE_URL=postgresql://... tallywire upgrade
    """
    from .ledger import open_ledger

    settings = _settings()
    _log_warnings(settings)

    async def run() -> None:
        async with open_ledger(settings.database_url, upgrade=True):
            pass

    asyncio.run(run())
    click.echo("The schema is current.")


@cli.command()
@click.argument("user")
@click.option("--role", type=_ROLES, default="user", show_default=True)
@click.option(
    "--ttl", type=click.IntRange(1), default=3600, show_default=True, help="Seconds until expiry."
)
def token(user: str, role: str, ttl: int) -> None:
    """
    Print a token for USER, signed with TALLYWIRE_SECRET.

    In development mode the running server makes it (and decides how long it lasts).

    \b
    tallywire token alice
    tallywire token root --role superadmin --ttl 300
    curl -H "Authorization: Bearer $(tallywire token alice)" localhost:3000/v1/users/me/balances
    """
    settings = _settings()
    click.echo(_token(settings, _url(settings.host, settings.port), user, role, ttl))


@cli.command()
@click.argument("code", required=False)
@click.option("--scale", type=click.IntRange(0, 12), help="Decimals; fixed once it is used.")
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
            await manager.administration.put_asset(code, scale=scale, actor=_actor())
        return [f"{each.code}\t{each.scale}" for each in manager.catalog.assets.values()]

    _print(_with_ledger(work))


@cli.command()
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
            await manager.administration.put_book(name, settings, actor=_actor())
        return [f"{each.name}\t{each.side}" for each in manager.catalog.books.values()]

    _print(_with_ledger(work))


@cli.command()
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

    report = _with_ledger(work)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(report))
    else:
        for found in report.details:
            fields = (found.invariant, found.account, found.stored, found.actual, found.difference)
            click.echo(" ".join(["MISMATCH", *("-" if f is None else str(f) for f in fields)]))
        click.echo(f"checked {report.checked}, discrepancies {report.errors}", err=True)
    ctx.exit(BAD_ANSWER if report.errors else GOOD)


@cli.command()
def pause() -> None:
    """
    Refuse changes on every process, until `tallywire resume`; reads go on.

    \b
    tallywire pause && pg_dump ... ; tallywire resume
    """

    async def work(manager: BalanceManager) -> None:
        await manager.administration.pause(actor=_actor())

    _with_ledger(work)
    click.echo("Changes are paused.")


@cli.command()
def resume() -> None:
    """
    Take changes again, after `tallywire pause`.

    \b
    tallywire resume
    """

    async def work(manager: BalanceManager) -> None:
        await manager.administration.resume(actor=_actor())

    _with_ledger(work)
    click.echo("Changes are taken.")


@cli.command()
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
    from .watching import CannotWatch, View
    from .watching import watch as watch_live

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
    settings = _settings()
    base = (url or _url(settings.host, settings.port)).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise click.UsageError("--url begins with http:// or https://")

    async def token() -> str:
        if given is not None:
            return given
        name, role = ("auditor", "auditor") if everyone else (str(user), "user")
        return await asyncio.to_thread(_token, settings, base, name, role, 3600)

    try:
        asyncio.run(
            watch_live(
                f"ws{base.removeprefix('http')}/ws",
                View(monitor=everyone, filters=filters),
                token,
                _print,
            )
        )
    except CannotWatch as error:
        raise CannotRun(f"{base}: {error}") from error
    except KeyboardInterrupt:
        click.echo(err=True)


def _settings(**given: str | None) -> Settings:
    """The environment's settings, with `given` (names as in the environment) before it."""
    from .settings import Settings

    return Settings.from_environ(
        {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    )


def _with_ledger(work: Callable[[BalanceManager], Awaitable[Answer]]) -> Answer:
    """What `work` answers on the ledger of DATABASE_URL, which must be there and current."""
    from .ledger import open_ledger

    settings = _settings()
    _log_warnings(settings)
    url = settings.database_url

    async def run() -> Answer:
        await _check_present(url)
        async with open_ledger(url) as manager:
            return await work(manager)

    _check_file(url)
    return asyncio.run(run())


def _log_warnings(settings: Settings) -> None:
    """Log to stderr, so that stdout holds the answer alone, and no more than is worth reading."""
    import logging

    from .logs import configure_logging

    configure_logging(settings.log)
    logging.getLogger().setLevel(logging.WARNING)


def _check_file(url: str) -> None:
    """Raise CannotRun where `url` is that of a SQLite file which is not there."""
    from .ledger.database import normalise_url

    parsed = normalise_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
        raise CannotRun(f"there is no database at {parsed.database}; make it: tallywire upgrade")


async def _check_present(url: str) -> None:
    """Raise CannotRun where the database is empty: a misspelt address is not a new ledger."""
    from .ledger.database import Database
    from .ledger.migrations import schema_state

    database = Database(url, readers=1)
    try:
        async with database.read() as connection:
            state = await connection.run_sync(schema_state)
    finally:
        await database.close()
    if state == "empty":
        raise CannotRun("the database holds no ledger; make it: tallywire upgrade")


def _token(settings: Settings, base: str, user: str, role: str, ttl: int) -> str:
    """A token signed here or, in development mode, by the server at `base` (http://…)."""
    if settings.development:
        return _development_token(base, user, role)
    from .auth import Tokens
    from .ledger.clock import SystemClock

    return Tokens(settings.secrets, SystemClock().now).encode(user, role, ttl)


def _development_token(base: str, user: str, role: str) -> str:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    request = Request(  # noqa: S310
        f"{base}/dev/token",
        json.dumps({"user_id": user, "role": role}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=5) as answer:  # noqa: S310
            token: str = json.load(answer)["token"]
            return token
    except HTTPError as error:
        raise CannotRun(f"{base} makes no token for {user!r}: {error.reason}") from error
    except (URLError, OSError, ValueError) as error:
        raise CannotRun(
            f"no development server at {base} to make a token:"
            " start `tallywire serve`, or set TALLYWIRE_SECRET"
        ) from error


def _url(host: str, port: int) -> str:
    """Where a browser on this machine finds a server that listens on `host`."""
    bare = host.removeprefix("[").removesuffix("]")
    if bare in ("0.0.0.0", "::"):  # noqa: S104
        bare = "127.0.0.1"
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"


def _actor() -> str:
    return f"cli:{quote(getpass.getuser())}"


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
