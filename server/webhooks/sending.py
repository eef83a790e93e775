"""One attempt to deliver one message: a POST that cannot be led astray and cannot last."""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime
from functools import cache
from importlib.metadata import version
from types import TracebackType

import httpx
from msgspec import Struct

from ..ledger.clock import Clock
from ..ledger.errors import InvalidRequest
from . import backoff, signing
from .destinations import Destinations
from .registrations import Registration

# How long one attempt may take from connecting to the answer's end, in seconds.
PATIENCE = 10.0
# How much of an answer is read, in bytes: what a receiver that means well has to say, and no more.
MOST_READ = 65_536

_GONE = 410
_LONGEST_ERROR = 200


class Outcome(Struct, frozen=True):
    """
    What became of an attempt. error: one line, empty where the receiver has taken the message;
    gone: it wants no more of them; not_before: when it asked to be tried again.
    """

    error: str = ""
    gone: bool = False
    not_before: datetime | None = None


class Sender:
    """
    Posts messages, each on a connection of its own: an async context manager.

    Of a receiver that answers once too often, the next message would get what is not its answer.

    It is httpx's transport alone: a client would keep cookies, write URLs to the log, and has
    redirects and the environment's proxies to be turned off.
    """

    def __init__(
        self,
        destinations: Destinations,
        clock: Clock,
        *,
        connections: int,
        patience: float = PATIENCE,
    ) -> None:
        """connections: how many there may be at once; patience: seconds for one attempt."""
        self._destinations = destinations
        self._clock = clock
        self._patience = patience
        self._transport = httpx.AsyncHTTPTransport(
            verify=_trusted(),
            trust_env=False,
            limits=httpx.Limits(max_connections=connections),
        )
        self._agent = f"Tallywire/{version('tallywire')}"

    async def __aenter__(self) -> Sender:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def post(self, registration: Registration, message_id: str, body: bytes) -> Outcome:
        """Send `body` once, signed; never raises for what the other side or the network does."""
        try:
            url = self._destinations.check(registration.url)
        except InvalidRequest as refused:
            return _failed(refused.detail)
        now = self._clock.now()
        headers = {
            "Content-Type": "application/json",
            "Connection": "close",
            "User-Agent": self._agent,
            **signing.headers(registration.secret, message_id, now, body),
        }
        request = httpx.Request("POST", url, headers=headers, content=body)
        outcome = None
        try:
            async with asyncio.timeout(self._patience):
                response = await self._transport.handle_async_request(request)
                try:
                    outcome = self._judged(response)
                    await _read_some(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            return outcome or _failed(f"no answer within {self._patience:g} s")
        except httpx.ConnectError as error:
            return _failed(f"cannot connect: {error}")
        # UnicodeError: a name that cannot be looked up.
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            return outcome or _failed(f"no answer: {error}")
        return outcome

    def _judged(self, response: httpx.Response) -> Outcome:
        status = response.status_code
        if 200 <= status < 300:
            return Outcome()
        not_before = backoff.retry_after(response.headers.get("retry-after"), self._clock.now())
        redirected = "; redirects are not followed" if 300 <= status < 400 else ""
        return Outcome(f"answered {status}{redirected}", status == _GONE, not_before)


@cache
def _trusted() -> ssl.SSLContext:
    """Who may vouch for a receiver: the public authorities, and those that this machine trusts."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


async def _read_some(response: httpx.Response) -> None:
    read = 0
    async for part in response.aiter_raw():
        read += len(part)
        if read > MOST_READ:
            return


def _failed(error: str) -> Outcome:
    line = "".join(ch if ch.isprintable() else " " for ch in error)
    return Outcome(line.strip()[:_LONGEST_ERROR] or "failed")
