"""Calls to Tallywire over HTTP, each with the token of the one who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from .people import Session
from .tokens import Tokens, Unreachable

Json = dict[str, Any]

# Seconds between attempts, longer where the server says so; after the last it is given up.
_WAITS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 3.2, 3.2, 3.2)


class Refused(Exception):
    """Tallywire said no, and nothing has changed; `problem` is its PROBLEM."""

    def __init__(self, problem: Json) -> None:
        super().__init__(problem["detail"])
        self.problem = problem
        self.status: int = problem["status"]
        self.code: str = problem["code"]


class Ledger:
    """
    Tallywire, as the site calls it.

    What got no answer, or a 429 or 503, is asked again: a read is harmless, and a change goes
    under its idempotency key, so that it is booked once. Both raise Refused, Unreachable and
    NotLoggedIn.
    """

    def __init__(self, http: httpx.AsyncClient, tokens: Tokens) -> None:
        """http: a client with Tallywire's address as base."""
        self._http = http
        self._tokens = tokens

    async def change(self, session: Session, path: str, body: Json, key: str) -> httpx.Response:
        """POST `body` to `path` under the idempotency key `key`; the answer, a 201."""
        headers = {"Idempotency-Key": key}
        return await self._ask(session, "POST", path, json=body, headers=headers)

    async def administer(
        self, session: Session, method: str, path: str, body: Json | None = None
    ) -> Json:
        """PUT or DELETE a setting, which may be repeated; what it answers."""
        answer: Json = (await self._ask(session, method, path, json=body)).json()
        return answer

    async def read(self, session: Session, path: str, query: Mapping[str, str]) -> Json:
        """GET `path`; what it answers."""
        answer: Json = (await self._ask(session, "GET", path, params=query)).json()
        return answer

    async def _ask(
        self,
        session: Session,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **sent: Any,
    ) -> httpx.Response:
        waits = iter(_WAITS)
        while True:
            least = 0.0
            try:
                bearer = {"Authorization": f"Bearer {await self._tokens.token(session)}"}
                answer = await self._http.request(
                    method, path, headers={**bearer, **(headers or {})}, **sent
                )
            except (httpx.TransportError, Unreachable) as error:
                failure: Exception = Unreachable(f"no answer from {self._http.base_url}: {error!r}")
            else:
                if answer.is_success:
                    return answer
                failure = Refused(answer.json())
                if answer.status_code not in (429, 503):
                    raise failure
                least = float(answer.headers.get("Retry-After", 0))
            wait = next(waits, None)
            if wait is None:
                raise failure
            await asyncio.sleep(max(wait, least))
