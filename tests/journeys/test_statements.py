"""Days of a book's time zone: balances before one, statements, closed periods."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from .client import Caller, Json, accepted, refused
from .conftest import Outside

DATED = ("held", "available", "floor", "suspend_below", "alert_below", "status", "seq", "digest")


async def _statement(caller: Caller, user: str, book: str, first: str, last: str) -> Json:
    """The statement, whose lines add up."""
    answer = await caller.get(f"/v1/users/{user}/statements", book=book, from_=first, to=last)
    assert answer.status_code == 200, answer.text
    statement: Json = answer.json()
    assert (statement["book"], statement["from"], statement["to"]) == (book, first, last)
    names = [each["account"] for each in statement["accounts"]]
    assert names == sorted(set(names))
    for each in statement["accounts"]:
        moved = sum(_cents(movement["amount"]) for movement in each["movements"])
        assert _cents(each["opening"]) + moved == _cents(each["closing"])
    return statement


def _cents(amount: str) -> int:
    whole, _, decimals = amount.partition(".")
    assert len(decimals) == 2
    return int(whole + decimals)


async def _before(caller: Caller, user: str, book: str, day: str) -> str:
    """The balance in cents' asset before the day; every field of booking time is null."""
    answer = await caller.get(f"/v1/users/{user}/balances", book=book, before=day)
    assert answer.status_code == 200, answer.text
    balances = answer.json()["balances"]
    assert all(balance[field] is None for balance in balances for field in DATED)
    return str(balances[0]["balance"]) if balances else "0.00"


async def test_the_statement_of_a_flat(outside: Outside) -> None:
    """An expense of 1 November is not before that day, but before the next."""
    building = await outside.new_book("building", side="debit", timezone="Europe/Athens")
    flat = outside.new_user("flat")

    async def entered(path: str, amount: str, at: str, **rest: object) -> Json:
        body = {"user_id": flat, "asset": "EUR", "book": building, "amount": amount, **rest}
        return accepted(await outside.admin.post(path, {**body, "effective_at": at}))

    # Entered in any order, all of them long afterwards.
    await entered("/v1/charges", "7", "2024-11-01T00:00:00+02:00", metadata={"category": "lift"})
    await entered("/v1/payments", "150", "2024-10-15T12:00:00Z")
    await entered("/v1/charges", "3", "2024-10-31T21:59:59.999999Z", metadata={"category": "oil"})
    await entered("/v1/charges", "40", "2024-09-30T20:59:59.999999Z")
    rent = await entered(
        "/v1/charges", "200", "2024-09-30T21:00:00Z", metadata={"category": "rent"}
    )

    own = outside.caller(flat)
    assert await _before(own, flat, building, "2024-11-01") == "93.00"
    assert await _before(outside.auditor, flat, building, "2024-11-02") == "100.00"
    october = await _statement(own, flat, building, "2024-10-01", "2024-10-31")
    assert october["accounts"] == [
        {
            "account": f"{building}/{flat}/EUR",
            "opening": "40.00",
            "movements": [
                {"change_type": "charge", "category": "oil", "count": 1, "amount": "3.00"},
                {"change_type": "charge", "category": "rent", "count": 1, "amount": "200.00"},
                {"change_type": "payment", "category": None, "count": 1, "amount": "-150.00"},
            ],
            "closing": "93.00",
        }
    ]

    # The close: corrections are made, and effective, afterwards.
    settings = {"closed_through": "2024-10-31"}
    closed = await outside.root.put(f"/v1/admin/books/{building}", settings)
    assert closed.status_code == 200, closed.text
    late = {"user_id": flat, "asset": "EUR", "book": building, "amount": "1"}
    for at in ("2024-10-31T21:59:59.999999Z", "2024-09-01T00:00:00Z"):
        answer = await outside.admin.post("/v1/charges", {**late, "effective_at": at})
        refused(answer, 400, "invalid_request")
    undo = f"/v1/transactions/{rent['transaction_id']}/reversal"
    undone = accepted(await outside.admin.post(undo, {"description": "charged twice"}))
    (update,) = undone["updates"]
    assert update["effective_at"] == update["timestamp"]
    await entered("/v1/charges", "1", "2024-10-31T22:00:00Z")
    assert await _statement(own, flat, building, "2024-10-01", "2024-10-31") == october
    assert await _before(own, flat, building, "2024-11-01") == "93.00"
    today = datetime.now(ZoneInfo("Europe/Athens")).date()
    since = await _statement(
        own, flat, building, "2024-11-01", (today + timedelta(days=1)).isoformat()
    )
    kinds = {each["change_type"]: each["amount"] for each in since["accounts"][0]["movements"]}
    assert kinds["reversal"] == "-200.00"
    # Another zone would give closed days another meaning.
    moved = await outside.root.put(f"/v1/admin/books/{building}", {"timezone": "Asia/Tokyo"})
    refused(moved, 409, "conflict")
    never = {"starts_on": "2024-11-01"}
    refused(await outside.root.put(f"/v1/admin/books/{building}", never), 400, "invalid_request")


async def test_a_day_is_as_long_as_the_books_zone_makes_it(outside: Outside) -> None:
    for zone, day, start, end in (
        ("Asia/Ho_Chi_Minh", "2024-11-03", "2024-11-02T17:00:00Z", "2024-11-03T17:00:00Z"),
        ("America/New_York", "2024-03-10", "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z"),
        ("America/New_York", "2024-11-03", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z"),
        ("Pacific/Kiritimati", "2024-11-03", "2024-11-02T10:00:00Z", "2024-11-03T10:00:00Z"),
    ):
        user, book = outside.new_user(), await outside.new_book(timezone=zone)
        for amount, boundary in (("1", start), ("100", end)):
            for more, late in (("", timedelta(0)), ("0", -timedelta(microseconds=1))):
                at = (datetime.fromisoformat(boundary) + late).isoformat()
                body = {"asset": "EUR", "book": book, "effective_at": at}
                accepted(await outside.admin.deposit(user, amount + more, **body))
        tomorrow = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        assert await _before(outside.admin, user, book, day) == "10.00", zone
        assert await _before(outside.admin, user, book, tomorrow) == "1011.00", zone
        (account,) = (await _statement(outside.auditor, user, book, day, day))["accounts"]
        assert (account["opening"], account["closing"]) == ("10.00", "1011.00")
        assert [movement["count"] for movement in account["movements"]] == [2]


async def test_a_statement_as_csv_says_the_same(outside: Outside) -> None:
    alice, book = outside.new_user("alice"), await outside.new_book("shop")
    for category in ("=1+1", 'a "b", c', "é\r\nü", None):
        metadata = {} if category is None else {"category": category}
        answer = await outside.admin.deposit(alice, "1", "EUR", book=book, metadata=metadata)
        accepted(answer)
    today = datetime.now(UTC).date()
    period = ((today - timedelta(days=1)).isoformat(), (today + timedelta(days=1)).isoformat())
    statement = await _statement(outside.auditor, alice, book, *period)
    answer = await outside.http.get(
        f"/v1/users/{alice}/statements",
        params={"book": book, "from": period[0], "to": period[1]},
        headers={
            "Authorization": f"Bearer {outside.auditor.token}",
            "Accept": "text/csv, application/json;q=0.5",
        },
    )
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode(), newline=""), strict=True))
    (account,) = statement["accounts"]
    assert [row["line"] for row in rows] == ["opening", *["movement"] * 4, "closing"]
    assert (rows[0]["amount"], rows[-1]["amount"]) == (account["opening"], account["closing"])
    assert [
        (row["change_type"], row["category"] or None, int(row["count"]), row["amount"])
        for row in rows[1:-1]
    ] == [tuple(movement.values()) for movement in account["movements"]]


async def test_who_may_read_a_statement(outside: Outside) -> None:
    alice, bob = outside.caller(outside.new_user("alice")), outside.caller(outside.new_user("bob"))
    period = {"from_": "2024-01-01", "to": "2024-01-31"}
    path = f"/v1/users/{alice.user_id}/statements"
    refused(await bob.get(path, **period), 403, "not_allowed")
    for caller, of in ((alice, "/v1/users/me/statements"), (outside.auditor, path)):
        assert (await caller.get(of, **period)).status_code == 200
    for wrong, status, code in (
        ({"from_": "2024-01-01"}, 400, "invalid_request"),
        ({"from_": "2024-01-31", "to": "2024-01-30"}, 400, "invalid_request"),
        ({**period, "book": "nowhere"}, 422, "unknown_book"),
    ):
        refused(await alice.get(path, **wrong), status, code)
