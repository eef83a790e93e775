"""Tokens that show Tallywire who of the site's users asks, and with which role."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import httpx
import jwt

from .people import People, Session

# Seconds. Short, since a token goes on being good after its user has logged out.
_GOOD_FOR = 300

Sign = Callable[[str, str], Awaitable[str]]
"""(user id, role) -> a token; raises Unreachable or NoTokens."""


class Unreachable(ConnectionError):
    """Tallywire does not answer."""


class NoTokens(Exception):
    """Tallywire makes no tokens for others: it was started with a secret."""


class Tokens:
    """Tokens for those who are logged in, and for nobody else."""

    def __init__(self, people: People, sign: Sign) -> None:
        """sign: makes the token, such as `with_secret` or `by_development_server`."""
        self._people = people
        self._sign = sign

    async def token(self, session: Session) -> str:
        """A token with the role that the user has now; raises NotLoggedIn."""
        now = await self._people.session(session.id)
        return await self._sign(now.user_id, now.role)


def with_secret(secret: str) -> Sign:
    """Signs with the secret that the site shares with Tallywire (TALLYWIRE_SECRET)."""
    # While a secret is rotated there are two, and the first is the new one.
    newest = secret.split(",")[0]

    async def sign(user_id: str, role: str) -> str:
        now = int(time.time())
        claims = {"sub": user_id, "role": role, "iat": now, "exp": now + _GOOD_FOR}
        return jwt.encode(claims, newest, algorithm="HS256")

    return sign


def by_development_server(http: httpx.AsyncClient) -> Sign:
    """Asks a Tallywire that runs without a secret; http: a client with its address as base."""

    async def sign(user_id: str, role: str) -> str:
        try:
            answer = await http.post("/dev/token", json={"user_id": user_id, "role": role})
        except httpx.TransportError as error:
            raise Unreachable(f"no answer from {http.base_url}: {error!r}") from error
        if answer.status_code == 404:
            raise NoTokens("Tallywire has a TALLYWIRE_SECRET: start the site with the same")
        token: str = answer.raise_for_status().json()["token"]
        return token

    return sign
