"""Routing by the undecoded path, so that ``%2F`` may stand in an id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from .. import logs
from ..ledger.errors import InvalidRequest, LedgerError, NotFound
from .calls import Call, Route, run_call
from .problems import InternalError, MethodNotAllowed, problem_response
from .rates import Limited

_log = logs.get_logger(__name__)

Methods = dict[str, Route]


class RouteTable(BaseRoute):
    """Every HTTP path: finds the route, runs the call, tells refusals as problems."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, Methods] = {}
        self._by_length: dict[int, dict[tuple[str, ...], Methods]] = {}
        for route in routes:
            self._methods_at(route.path)[route.method] = route
            if route.method == "GET" and not route.stream:
                self._methods_at(route.path)["HEAD"] = route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Every HTTP request is for this table, also those that it answers with 404."""
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive, send)
        raw_path = _raw_path(scope)
        call = Call(scope["app"].state.services, request, {})
        try:
            response = await run_call(self._find(raw_path, scope["method"], call), call)
        except LedgerError as error:
            response = self._refusal(error, raw_path, call)
        except HTTPException as error:
            response = self._refusal(_as_refusal(error), raw_path, call)
        except Exception:
            _log.exception("call failed", method=scope["method"], path=raw_path)
            response = self._refusal(InternalError(), raw_path, call)
        for name, value in call.headers.items():
            response.headers[name] = value
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-store")
        await response(scope, receive, send)

    def find(self, raw_path: str) -> tuple[Methods, dict[str, str]]:
        """
        The routes of an undecoded path, by method, and its parameters, decoded.

        Raises NotFound, or InvalidRequest where a parameter is not UTF-8.
        """
        exact = self._exact.get(raw_path)
        if exact is not None:
            return exact, {}
        segments = raw_path.split("/")[1:]
        for pattern, methods in self._by_length.get(len(segments), {}).items():
            if all(p == s or (p[:1] == "{" and s) for p, s in zip(pattern, segments, strict=True)):
                return methods, {
                    p[1:-1]: _decoded(s)
                    for p, s in zip(pattern, segments, strict=True)
                    if p[:1] == "{"
                }
        raise NotFound(f"there is nothing at {raw_path[:200]}")

    def _methods_at(self, path: str) -> Methods:
        if "{" not in path:
            return self._exact.setdefault(path, {})
        pattern = tuple(path.split("/")[1:])
        return self._by_length.setdefault(len(pattern), {}).setdefault(pattern, {})

    def _find(self, raw_path: str, method: str, call: Call) -> Route:
        methods, parameters = self.find(raw_path)
        call.path.update(parameters)
        route = methods.get(method)
        if route is None:
            call.headers["Allow"] = ", ".join(sorted(methods))
            raise MethodNotAllowed
        return route

    def _refusal(self, error: LedgerError, raw_path: str, call: Call) -> Response:
        if isinstance(error, Limited):
            call.headers.update(error.headers)
        return problem_response(error, raw_path)


def _raw_path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    return (
        raw.decode("latin-1") if raw is not None else quote(scope["path"], safe="/%:@!$&'()*+,;=~")
    )


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("the path is not UTF-8") from None


def _as_refusal(error: HTTPException) -> LedgerError:
    known: Mapping[int, type[LedgerError]] = {404: NotFound, 405: MethodNotAllowed}
    return known.get(error.status_code, InternalError)()
