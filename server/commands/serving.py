"""`serve` and `worker`: the processes that run until a signal."""

from __future__ import annotations

import json
from socket import socket
from typing import TYPE_CHECKING

import click

from .running import CannotRun, read_settings, server_url

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from ..settings import Settings


@click.command()
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
    settings = read_settings(HOST=host, PORT=None if port is None else str(port))
    if workers > 1:
        _check_many(settings)
    from ..logs import configure_logging
    from ..serving import CannotListen, listen

    if listener is not None:
        shared = socket(fileno=listener)
    else:
        try:
            shared = listen(settings.host, settings.port)
        except CannotListen as error:
            raise CannotRun(str(error)) from error
    url = server_url(settings.host, shared.getsockname()[1])
    configure_logging(settings.log)
    if workers > 1:
        from ..supervising import supervise

        def started() -> None:
            click.echo(f"Tallywire serves {url} with {workers} workers")

        click.get_current_context().exit(supervise(settings, shared, workers, started))
    from ..app import create_app
    from ..serving import serve as serve_app

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
    from ..ledger.database import normalise_url

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
    from ..api.development import TOKEN_SECONDS

    token = app.state.services.tokens.encode("root", "superadmin", TOKEN_SECONDS)
    deposit = json.dumps({"user_id": "alice", "asset": "USDT", "amount": "12.50"})
    click.echo(
        f"Tallywire serves {url}\n"
        "Development mode: no TALLYWIRE_SECRET is set, so anyone on this machine is anyone.\n"
        f"Open {url}/, choose alice and watch her balance move:\n\n"
        f"curl -sS {url}/v1/deposits -H 'Content-Type: application/json'"
        f" -H 'Authorization: Bearer {token}' -d '{deposit}'\n"
    )


@click.command()
def worker() -> None:
    """
    Do the work that comes round by itself, until SIGTERM or Ctrl-C.

    Of several workers one does it, and another takes over within 15 seconds where it fails; prices
    are simulated by whichever is first. In development mode the server does it.

    \b
    DATABASE_URL=postgresql://... TALLYWIRE_SECRET=... tallywire worker
    """
    from ..logs import configure_logging
    from ..working import work

    settings = read_settings()
    configure_logging(settings.log)
    work(settings, started=lambda: click.echo("Tallywire's worker runs."))
