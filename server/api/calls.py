"""One call: who asks for what, checked in one order, handed to its endpoint."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from ..auth import Principal
from ..ledger.changes import IdempotencyKey
from ..ledger.errors import InvalidRequest, NotAllowed, NotAuthenticated, NotFound
from ..operations import policy
from .bodies import LARGEST_BODY, decode_body, read_body
from .queries import decode_query
from .services import Services

LONGEST_KEY = 255
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)

Endpoint = Callable[..., Awaitable[Response]]


class Who(Struct, frozen=True):
    """
    Whom a route serves. least: the least role, None for everybody; own: with a lower role for
    oneself only, which path (``{user}``) or operation decides; auditors: whether they are let in.
    """

    label: str
    least: str | None
    own: bool = False
    auditors: bool = True

    def check(self, principal: Principal, path: Mapping[str, str]) -> None:
        """Raise NotAllowed where the route is not for `principal`."""
        if not self.auditors:
            policy.require_self_service(principal)
        if self.least is None or principal.may(self.least):
            return
        if not self.own:
            policy.require(principal, self.least)
        if "user" in path and path["user"] != principal.user_id:
            raise NotAllowed("you may do this for yourself only")


OPEN = Who("open", None)
ANY = Who("any", "user")
OWN = Who("own", "user", auditors=False)
OWN_OR_AUDITOR = Who("own / auditor", "auditor", own=True)
OWN_OR_ADMIN = Who("own / admin", "admin", own=True, auditors=False)
AUDITOR = Who("auditor", "auditor")
ADMIN = Who("admin", "admin")
SUPERADMIN = Who("superadmin", "superadmin")


class Route(Struct, frozen=True, kw_only=True):
    """
    One line of the URL table.

    path: with parameters such as ``{user}``; takes: the form of the query (GET) or of the body;
    answer: the name of the answer's schema; csv: whether it can be had as CSV too;
    keyed: whether it minds an Idempotency-Key;
    limit: the largest body in bytes;
    stream: whether it answers an event stream: a ticket does for a token, and there is no HEAD;
    development: whether it exists in development mode only.
    """

    method: str
    path: str
    who: Who
    endpoint: Endpoint
    takes: type[Struct] | None = None
    status: int = 200
    answer: str = "object"
    csv: bool = False
    keyed: bool = False
    limit: int = LARGEST_BODY
    stream: bool = False
    development: bool = False


@dataclass(slots=True)
class Call:
    """What an endpoint is given: the services, the path's parameters, who asks."""

    services: Services
    request: Request
    path: dict[str, str]
    _principal: Principal | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def principal(self) -> Principal:
        """Who asks; every route but the open ones has one."""
        if self._principal is None:
            raise NotAuthenticated
        return self._principal

    @property
    def id(self) -> str:
        """The id in the path; raises NotFound where it cannot be one."""
        if not _ID.fullmatch(self.path["id"]):
            raise NotFound("there is no such thing")
        return self.path["id"]

    def key(self, namespace: str = "request") -> IdempotencyKey | None:
        """The call's idempotency key, of its principal; raises InvalidRequest."""
        given = self.request.headers.getlist("idempotency-key")
        if not given:
            return None
        if len(given) > 1:
            raise InvalidRequest("Idempotency-Key is given twice")
        return IdempotencyKey(namespace, self.principal.user_id, parse_key(given[0]))


def parse_key(text: str) -> str:
    """
    The key in an Idempotency-Key header (its bytes as Latin-1), bare or a quoted string.

    Raises InvalidRequest.
    """
    try:
        key = text.strip().encode("latin-1").decode()
    except UnicodeError:
        raise InvalidRequest("Idempotency-Key is not UTF-8") from None
    if key.startswith('"'):
        if len(key) < 2 or not key.endswith('"'):
            raise InvalidRequest("Idempotency-Key: the quote is not closed")
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise InvalidRequest(f"an Idempotency-Key has 1 to {LONGEST_KEY} printable characters")
    return key


async def run_call(route: Route, call: Call) -> Response:
    """
    The answer of `route` to `call`.

    Checks come in this order: token, role, rate, then body or query; raises LedgerError.
    """
    if route.who.least is not None:
        ticket = call.request.query_params.get("ticket") if route.stream else None
        call._principal = _bearer(call) if ticket is None else await call.services.redeem(ticket)
        if call.path.get("user") == "me":
            call.path["user"] = call.principal.user_id
        route.who.check(call.principal, call.path)
        if route.method != "GET":
            call.headers.update(call.services.rates.take(call.principal))
    if route.takes is None:
        return await route.endpoint(call)
    request: Any
    if route.method == "GET":
        request = decode_query(call.request.scope["query_string"], route.takes)
    else:
        request = decode_body(await read_body(call.request, route.limit), route.takes)
    return await route.endpoint(call, request)


def _bearer(call: Call) -> Principal:
    scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("a bearer token is needed")
    return call.services.authenticate(token.strip())
