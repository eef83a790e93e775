"""Refusals as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from tallywire import LedgerError

# Refusals that a customer can meet; any other is a defect of the shop.
STATUS = {
    "insufficient_funds": 402,
    "account_frozen": 409,
    "account_suspended": 409,
    "invalid_amount": 422,
    "idempotency_key_reused": 422,
    "overloaded": 503,
    "outcome_unknown": 503,
    "paused": 503,
    "database_unavailable": 503,
}


class Problem(Exception):
    """The shop's own refusal."""

    def __init__(self, status: int, detail: Any) -> None:
        """status: of HTTP; detail: what is wrong, as JSON."""
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Problems:
    """Middleware that answers refusals, the shop's and the ledger's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """The answer to `error`; None where it is not a refusal."""
        if isinstance(error, Problem):
            return _answer(error.status, detail=error.detail)
        if isinstance(error, Http404):
            return _answer(404, detail="there is no such user or product")
        if isinstance(error, LedgerError) and error.code in STATUS:
            title, status = type(error).__name__, STATUS[error.code]
            return _answer(status, title=title, detail=error.detail, **error.extra)
        return None


def _answer(status: int, **members: Any) -> HttpResponse:
    answer = JsonResponse(
        {"status": status, **members}, status=status, content_type="application/problem+json"
    )
    if status == 503:
        answer["Retry-After"] = "1"
    return answer
