"""The table of refusals and its documents."""

from __future__ import annotations

import json

from tallywire.api.problems import STATUS, BodyTooLarge, problem, problem_response
from tallywire.ledger import errors
from tallywire.ledger.errors import LedgerError

NOT_TOLD = {"refused", "alongside_failed", "schema_mismatch"}


def test_every_refusal_of_the_ledger_has_a_status() -> None:
    codes = {
        each.code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, LedgerError)
    }
    assert codes - set(STATUS) == NOT_TOLD


def test_a_problem_names_the_field_and_carries_the_extra_members() -> None:
    error = errors.InsufficientFunds("too little", pointer="/amount", required="5", available="1")
    assert problem(error, "/v1/withdrawals", prefix="/items/3") == {
        "type": "urn:tallywire:problem:insufficient_funds",
        "title": "Insufficient funds",
        "status": 422,
        "detail": "too little",
        "instance": "/v1/withdrawals",
        "code": "insufficient_funds",
        "required": "5",
        "available": "1",
        "errors": [{"pointer": "/items/3/amount", "detail": "too little"}],
    }


def test_headers_go_with_the_status() -> None:
    for error, status, header, value in (
        (errors.NotAuthenticated(), 401, "www-authenticate", 'Bearer realm="tallywire"'),
        (errors.Paused(), 503, "retry-after", "1"),
        (errors.Overloaded(), 503, "retry-after", "1"),
        (BodyTooLarge(), 413, "connection", "close"),
    ):
        response = problem_response(error, "/x")
        assert response.status_code == status
        assert response.headers[header] == value
        assert response.headers["content-type"] == "application/problem+json"


def test_an_error_without_a_place_in_the_table_tells_nothing_of_itself() -> None:
    response = problem_response(errors.SchemaMismatch("secret details"), "/x")
    assert response.status_code == 500
    assert json.loads(bytes(response.body))["code"] == "internal_error"
    assert b"secret" not in response.body
