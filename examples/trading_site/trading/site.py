"""The site put together: its own database, and Tallywire at an address."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .cashier import Cashier
from .ledger import Ledger
from .notices import Notices
from .people import People, Session
from .screens import Screen
from .tables import metadata
from .tokens import Tokens, Unreachable, by_development_server, with_secret
from .view import Stream, View


@dataclass(frozen=True)
class Site:
    """What the pages of the site work with."""

    people: People
    cashier: Cashier
    ledger: Ledger
    tokens: Tokens
    engine: AsyncEngine
    screens_url: str

    def screen(self, session: Session, stream: Stream = "balances") -> Screen:
        """A screen of somebody who is logged in, not open yet."""
        token = functools.partial(self.tokens.token, session)
        return Screen(self.screens_url, View(stream), token)

    def notices(self) -> Notices:
        """The mailer's notices, which are kept with the site."""
        return Notices(self.engine)


@asynccontextmanager
async def open_site(url: str, database_url: str, secret: str | None = None) -> AsyncIterator[Site]:
    """
    The site on its database, with the Tallywire that serves at `url` (http://HOST:PORT).

    secret: Tallywire's TALLYWIRE_SECRET; None = it runs in development mode and makes the tokens.
    Raises Unreachable where there is no Tallywire.
    """
    engine = create_async_engine(database_url)
    try:
        # A proxy of the environment is for the world outside.
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            await _look_for_tallywire(http)
            async with engine.begin() as connection:
                await connection.run_sync(metadata.create_all)
            people = People(engine)
            sign = by_development_server(http) if secret is None else with_secret(secret)
            tokens = Tokens(people, sign)
            ledger = Ledger(http, tokens)
            screens_url = f"ws{url.removeprefix('http').rstrip('/')}/ws"
            yield Site(people, Cashier(ledger, engine), ledger, tokens, engine, screens_url)
    finally:
        await engine.dispose()


async def _look_for_tallywire(http: httpx.AsyncClient) -> None:
    try:
        answer = await http.get("/readyz")
    except httpx.TransportError as error:
        raise Unreachable(f"nothing answers at {http.base_url}: {error!r}") from error
    if answer.status_code != 200 or '"checks"' not in answer.text:
        raise Unreachable(f"what answers at {http.base_url} is no Tallywire that is ready")
