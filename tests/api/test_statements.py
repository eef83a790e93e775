"""Balances before a day and statements over HTTP, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
import pytest
from tallywire.api import schemas
from tallywire.api.csv_answers import csv_rows, prefers_csv

from .conftest import Edge

PERIOD = "from=2031-04-01&to=2031-04-30"
STATEMENTS = f"/v1/users/alice/statements?book=flats&{PERIOD}"


@pytest.fixture
async def flats(edge: Edge) -> Edge:
    """Alice's debt in New York: 5 before April, three charges and a payment in it, 9 after."""
    settings = {"side": "debit", "timezone": "America/New_York"}
    await edge.call("PUT", "/v1/admin/books/flats", json=settings)
    for path, amount, at, category in (
        ("charges", "5", "2031-04-01T03:59:59.999999Z", None),
        ("charges", "200", "2031-04-01T04:00:00Z", "rent"),
        ("charges", "1.50", "2031-04-15T12:00:00Z", '=cmd|" /C calc"!A1'),
        ("charges", "2", "2031-04-16T12:00:00Z", '=cmd|" /C calc"!A1'),
        ("payments", "150", "2031-05-01T03:59:59.999999Z", None),
        ("charges", "9", "2031-05-01T04:00:00Z", "rent"),
    ):
        body: dict[str, Any] = {"user_id": "alice", "asset": "EUR", "book": "flats"}
        body |= {"amount": amount, "effective_at": at}
        if category is not None:
            body["metadata"] = {"category": category}
        answer = await edge.post(f"/v1/{path}", body)
        assert answer.status_code == 201, answer.text
    return edge


async def test_a_statement_adds_up(flats: Edge) -> None:
    answer = await flats.get(STATEMENTS, by="alice")
    assert answer.status_code == 200, answer.text
    assert answer.headers["vary"] == "Accept"
    msgspec.convert(answer.json(), schemas.Statement)
    assert answer.json() == {
        "book": "flats",
        "from": "2031-04-01",
        "to": "2031-04-30",
        "accounts": [
            {
                "account": "flats/alice/EUR",
                "opening": "5.00",
                "movements": [
                    _movement("charge", '=cmd|" /C calc"!A1', 2, "3.50"),
                    _movement("charge", "rent", 1, "200.00"),
                    _movement("payment", None, 1, "-150.00"),
                ],
                "closing": "58.50",
            }
        ],
    }
    before = await flats.get("/v1/users/alice/balances?before=2031-05-01")
    (balance,) = before.json()["balances"]
    msgspec.convert(before.json(), schemas.Balances)
    assert (balance["balance"], balance["total_in"], balance["total_out"]) == (
        "58.50",
        "208.50",
        "150.00",
    )
    assert before.json()["position"] == 6


async def test_a_statement_is_had_as_csv(flats: Edge) -> None:
    answer = await flats.get(STATEMENTS, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    disposition = 'attachment; filename="statement-flats-2031-04-01-2031-04-30.csv"'
    assert answer.headers["content-disposition"] == disposition
    assert answer.text.endswith("\r\n")
    account = "flats/alice/EUR"
    assert list(csv.reader(io.StringIO(answer.text, newline=""), strict=True)) == [
        ["account", "line", "change_type", "category", "count", "amount"],
        [account, "opening", "", "", "", "5.00"],
        [account, "movement", "charge", '=cmd|" /C calc"!A1', "2", "3.50"],
        [account, "movement", "charge", "rent", "1", "200.00"],
        [account, "movement", "payment", "", "1", "-150.00"],
        [account, "closing", "", "", "", "58.50"],
    ]


async def test_refusals_are_problems_whatever_is_accepted(edge: Edge) -> None:
    answer = await edge.get("/v1/users/alice/statements", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid_request"),
        ("from=2031-04-01", 400, "invalid_request"),
        ("to=2031-04-01", 400, "invalid_request"),
        ("from=2031-04-31&to=2031-05-01", 400, "invalid_request"),
        ("from=2031-4-1&to=2031-05-01", 400, "invalid_request"),
        ("from=2031-04-01T00:00:00Z&to=2031-05-01", 400, "invalid_request"),
        ("from=2031-04-02&to=2031-04-01", 400, "invalid_request"),
        (f"book=nowhere&{PERIOD}", 422, "unknown_book"),
        (f"book=&{PERIOD}", 422, "unknown_book"),
    ],
)
async def test_statements_that_cannot_be_are_refused(
    edge: Edge, query: str, status: int, code: str
) -> None:
    answer = await edge.get(f"/v1/users/alice/statements?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("before=2031-02-29", 400),
        ("before=", 400),
        ("before=2031-05-01T00:00:00Z", 400),
        ("before=2031-05-01&as_of_position=0", 400),
        ("before=2031-05-01&as_of_time=2031-05-01T00:00:00Z", 400),
        ("before=2031-05-01&book=nowhere", 422),
        ("before=0001-01-01", 200),
        ("before=9999-12-31", 200),
    ],
)
async def test_a_day_is_the_only_moment_asked_for(edge: Edge, query: str, status: int) -> None:
    assert (await edge.get(f"/v1/users/alice/balances?{query}")).status_code == status


async def test_a_statement_of_all_days_and_of_nobody(flats: Edge) -> None:
    every = "from=0001-01-01&to=9999-12-31"
    whole = (await flats.get(f"/v1/users/alice/statements?book=flats&{every}")).json()
    assert [(each["opening"], each["closing"]) for each in whole["accounts"]] == [("0.00", "67.50")]
    for path in (f"alice/statements?{every}", f"zoe/statements?book=flats&{every}"):
        answer = await flats.get(f"/v1/users/{path}")
        assert (answer.status_code, answer.json()["accounts"]) == (200, [])


async def test_history_goes_by_booking_and_statements_by_effective_date(flats: Edge) -> None:
    path = "/v1/users/alice/history?book=flats"
    april = await flats.get(f"{path}&from=2031-04-01T00:00:00Z&to=2031-05-01T04:00:00Z")
    assert april.json()["items"] == []
    may = await flats.get(f"{path}&from=2031-05-01T04:00:00Z")
    assert len(may.json()["items"]) == 6


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/csv", True),
        ("TEXT/CSV; charset=utf-8", True),
        ("text/*", True),
        ("text/csv, application/json", False),
        ("text/csv, application/json;q=0.9", True),
        ("text/csv;q=0.5, application/json;q=0.6", False),
        ("text/csv;q=0.6, application/json;q=0.5", True),
        ("text/csv, */*", True),
        ("text/csv;q=0.8, */*", False),
        ("text/csv, */*;q=0.1", True),
        ("text/csv;q=0", False),
        ("text/csv;q=0, application/json;q=0", False),
        ("text/*, text/csv;q=0", False),
        ("application/*, text/csv", True),
        ("text/csv;q=2", False),
        ("text/csv;q=nan, application/json", False),
        ("text/html, , text/csv ;q=1.000", True),
    ],
)
def test_csv_is_for_those_who_prefer_it(accept: str, is_csv: bool) -> None:
    assert prefers_csv(accept) is is_csv


def test_a_csv_field_comes_back_as_it_was() -> None:
    rows: list[list[str | None]] = [
        ["a", 'b "c"', "d\r\ne"],
        ["", None, "-1.50"],
        ["é,;", " x ", "=1+1"],
        ["\ufeff", "", "\n"],
    ]
    text = csv_rows(rows).decode()
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read == [[field or "" for field in row] for row in rows]
    assert text.startswith('a,"b ""c""","d\r\ne"\r\n')


async def test_what_moves_no_money_goes_on_in_a_closed_book(edge: Edge) -> None:
    made = await edge.fund("alice", "9")
    today = {"closed_through": "2031-05-01"}
    assert (await edge.call("PUT", "/v1/admin/books/main", json=today)).status_code == 200
    money = {"user_id": "alice", "asset": "USDT", "amount": "1"}
    for path, body in (
        ("/v1/deposits", money),
        (f"/v1/transactions/{made['transaction_id']}/reversal", {"description": "why"}),
    ):
        answer = await edge.post(path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert "closed through 2031-05-01" in answer.json()["detail"]
    account = {"book": "main", "user_id": "alice", "asset": "BTC"}
    assert (await edge.post("/v1/admin/accounts", account)).status_code == 201
    limit = await edge.call("PATCH", "/v1/admin/accounts/main/alice/USDT", json={"floor": "-5"})
    assert limit.status_code == 201
    assert (await edge.post("/v1/holds", money)).status_code == 201
    statement = await edge.get("/v1/users/alice/statements?from=2031-05-01&to=2031-05-01")
    (only,) = statement.json()["accounts"]
    assert only["movements"] == [_movement("deposit", None, 1, "9.000000")]
    edge.clock.forward(24 * 3600)
    assert (await edge.post("/v1/deposits", money)).status_code == 201


def _movement(kind: str, category: str | None, count: int, amount: str) -> dict[str, Any]:
    return {"change_type": kind, "category": category, "count": count, "amount": amount}
