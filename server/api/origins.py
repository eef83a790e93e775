"""Cross-origin requests (Fetch standard): let in from the origins that the operator names."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_ASKED = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID"
_SHOWN = "Location, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After"


class Origins:
    """Answers preflights of allowed origins and marks their answers; others get no such marks."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """origins: such as ``https://app.example.com``, or ``*``; none: same origin only."""
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        origin = None
        if scope["type"] == "http" and self._origins:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not self._allows(origin):
                origin = None
        if origin is None:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            preflight = Response(status_code=204, headers=_preflight(origin))
            await preflight(scope, receive, send)
        else:
            await self._app(scope, receive, _marking(send, origin))

    def _allows(self, origin: str) -> bool:
        return "*" in self._origins or origin in self._origins


def _preflight(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _ASKED,
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


def _marking(send: Send, origin: str) -> Send:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _SHOWN
            headers.add_vary_header("Origin")
        await send(message)

    return marked
