"""`token`: tokens signed here or, in development mode, by the running server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..auth import ROLES, Tokens
from ..ledger.clock import SystemClock
from .running import CannotRun, read_settings, server_url

if TYPE_CHECKING:
    from ..settings import Settings

TOKEN_SECONDS = 3600


@click.command()
@click.argument("user")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True)
@click.option(
    "--ttl",
    type=click.IntRange(1),
    default=TOKEN_SECONDS,
    show_default=True,
    help="Seconds until expiry.",
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
    settings = read_settings()
    click.echo(make_token(settings, server_url(settings.host, settings.port), user, role, ttl))


def make_token(settings: Settings, base: str, user: str, role: str, ttl: int) -> str:
    """A token signed here or, in development mode, by the server at `base` (http://…)."""
    if settings.development:
        return _development_token(base, user, role)
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
            " start `tallywire serve`, set PORT where it has another, or set TALLYWIRE_SECRET"
        ) from error
