"""The one table of refusals, and the documents that tell of them (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from ..ledger.database import DatabaseUnavailable
from ..ledger.errors import LedgerError, Overloaded

MEDIA_TYPE = "application/problem+json"

_WAIT_SECONDS = 1

_CODES: dict[int, tuple[str, ...]] = {
    400: ("invalid_request",),
    401: ("not_authenticated",),
    403: ("not_allowed",),
    404: ("not_found",),
    405: ("method_not_allowed",),
    409: (
        "account_suspended",
        "account_frozen",
        "account_closed",
        "already_reversed",
        "not_reversible",
        "hold_not_open",
        "demo_only",
        "conflict",
        "account_inconsistent",
    ),
    413: ("body_too_large",),
    415: ("unsupported_media_type",),
    422: (
        "invalid_amount",
        "unknown_asset",
        "unknown_book",
        "unknown_user",
        "insufficient_funds",
        "idempotency_key_reused",
        "invalid_cursor",
        "hold_exceeded",
        "limit_not_met",
        "exposure_limit",
        "stale_price",
    ),
    429: ("too_many_requests",),
    500: ("internal_error",),
    503: ("overloaded", "outcome_unknown", "mirror_busy", "paused"),
}
STATUS: dict[str, int] = {code: status for status, codes in _CODES.items() for code in codes}


class MethodNotAllowed(LedgerError):
    """This path does not take this method."""

    code = "method_not_allowed"


class BodyTooLarge(LedgerError):
    """The body is larger than this call takes."""

    code = "body_too_large"


class UnsupportedMediaType(LedgerError):
    """The body must be application/json."""

    code = "unsupported_media_type"


class TooManyRequests(LedgerError):
    """You ask for more changes than your rate allows."""

    code = "too_many_requests"


class InternalError(LedgerError):
    """Something went wrong here; it was logged."""

    code = "internal_error"


def problem(error: LedgerError, instance: str, prefix: str = "") -> dict[str, Any]:
    """
    The PROBLEM document of `error`.

    instance: the path asked for; prefix: put before the JSON pointer where the refused request
    is a part of the body. A code that the table does not know is an internal error.
    """
    if isinstance(error, DatabaseUnavailable):
        error = Overloaded()
    elif error.code not in STATUS:
        error = InternalError()
    document: dict[str, Any] = {
        "type": f"urn:tallywire:problem:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": STATUS[error.code],
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        **error.extra,
    }
    if error.pointer is not None:
        document["errors"] = [{"pointer": prefix + error.pointer, "detail": error.detail}]
    return document


def problem_response(
    error: LedgerError, instance: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The HTTP answer that tells of `error`, with the headers that its status asks for."""
    document = problem(error, instance)
    status = document["status"]
    every = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        every["WWW-Authenticate"] = 'Bearer realm="tallywire"'
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        every.setdefault("Retry-After", str(_WAIT_SECONDS))
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # What is left of the body may be too much to read, so the connection cannot be used again.
        every["Connection"] = "close"
    return Response(msgspec.json.encode(document), status, every, MEDIA_TYPE)
