"""A building's book: what the apartments owe, charged and paid."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from .client import Json, accepted, refused
from .conftest import Outside
from .test_client import VECTORS

APARTMENT = "apartment-12"


async def _building(outside: Outside, **settings: str) -> str:
    return await outside.new_book("building", side="debit", accounts="open", **settings)


async def test_a_charge_is_debt_and_a_payment_takes_it_back(outside: Outside) -> None:
    building = await _building(outside)
    money = {"user_id": APARTMENT, "asset": "EUR", "book": building}
    async with outside.screen(APARTMENT) as screen, outside.monitor() as monitor:
        charge = accepted(
            await outside.admin.post(
                "/v1/charges", {**money, "amount": "100", "service_type": "heating"}
            )
        )
        payment = accepted(await outside.admin.post("/v1/payments", {**money, "amount": "50"}))
        await screen.until_shown(payment["position"])
        charged, paid = (update["changes"][0] for update in screen.updates)
        assert (charged["amount"], charged["balance"]) == ("100.00", "100.00")
        assert (paid["amount"], paid["balance_before"], paid["balance"]) == (
            "-50.00",
            "100.00",
            "50.00",
        )
        assert (paid["total_in"], paid["total_out"]) == ("100.00", "50.00")
        assert paid["side"] == "debit" and paid["floor"] is None and paid["available"] is None
        assert screen.updates[0]["metadata"]["service_type"] == "heating"

        too_much = accepted(await outside.admin.post("/v1/payments", {**money, "amount": "80"}))
        await screen.until_shown(too_much["position"])
        await monitor.until_position(too_much["position"])
        assert screen.balances[f"{building}/{APARTMENT}/EUR"]["balance"] == "-30.00"
        shown = {k: v for k, v in screen.balances.items() if k.startswith(f"{building}/")}
        assert shown == await outside.admin.balances(APARTMENT, book=building)

    whole = (await outside.auditor.get(f"/v1/transactions/{charge['transaction_id']}")).json()
    amounts = {posting["account"]: posting["amount"] for posting in whole["postings"]}
    assert amounts[f"{building}/{APARTMENT}/EUR"] == "100.00"
    assert set(amounts) == {f"{building}/{APARTMENT}/EUR", f"{building}/@house/EUR"}


async def test_a_shared_charge_is_split_to_the_last_cent(outside: Outside) -> None:
    example = VECTORS["shared_charge"]
    building = await _building(outside)
    # User ids in another order than the shares: ties go by the shares, updates by user id.
    users = [outside.new_user(name) for name in ("d", "c", "b", "a")]
    shares = [
        {"user_id": user, "weight": weight}
        for user, weight in zip(users, example["weights"], strict=True)
    ]
    body = {
        "book": building,
        "asset": "EUR",
        "amount": "100.00",
        "shares": shares,
        "category": "roof",
    }
    async with outside.screen(users[2]) as screen, outside.monitor() as monitor:
        answer = accepted(await outside.admin.post("/v1/shared-charges", body))
        parts = {
            update["user_id"]: int(update["changes"][0]["amount"].replace(".", ""))
            for update in answer["updates"]
        }
        assert [parts[user] for user in users] == example["parts"]
        assert list(parts) == sorted(users)
        assert sum(parts.values()) == example["amount"]
        await screen.until_shown(answer["position"])
        await monitor.until_position(answer["position"])
        assert screen.updates[-1]["metadata"]["category"] == "roof"
        assert monitor.monitored == answer["updates"]


async def test_an_expense_is_undone_for_every_flat_at_once(outside: Outside) -> None:
    """In its category of the statement, though the month that it belongs to is closed."""
    building = await _building(outside, timezone="Europe/Athens", starts_on="2024-10-01")
    flats = [outside.new_user("flat") for _ in range(3)]
    shares = [{"user_id": flat, "weight": 1} for flat in flats]
    body: Json = {"book": building, "asset": "EUR", "amount": "90.00", "shares": shares}
    fee = {**body, "category": "management fees", "effective_at": "2024-11-01T00:00:00+02:00"}
    early = {**fee, "effective_at": "2024-09-30T20:59:59Z"}
    refused(await outside.admin.post("/v1/shared-charges", early), 400, "invalid_request")
    charge = accepted(await outside.admin.post("/v1/shared-charges", fee))
    closed = await outside.root.put(f"/v1/admin/books/{building}", {"closed_through": "2024-11-30"})
    assert closed.status_code == 200

    path = f"/v1/transactions/{charge['transaction_id']}/reversal"
    wrong = {"description": "entered twice", "metadata": {"category": "management fees"}}
    undone = accepted(await outside.admin.post(path, {**wrong, "reference": "e-7"}))
    refused(await outside.admin.post(path, wrong), 409, "already_reversed")
    assert {update["reference"] for update in undone["updates"]} == {"e-7"}
    for flat in flats:
        owed = [
            (await outside.auditor.get(f"/v1/users/{flat}/balances", book=building, **at)).json()
            for at in ({"before": "2024-11-01"}, {"before": "2024-11-02"}, {})
        ]
        assert [[b["balance"] for b in each["balances"]] for each in owed] == [
            [],
            ["30.00"],
            ["0.00"],
        ]
        answer = await outside.auditor.get(
            f"/v1/users/{flat}/statements", book=building, from_="2024-11-01", to="2999-01-01"
        )
        (account,) = answer.json()["accounts"]
        assert [tuple(movement.values()) for movement in account["movements"]] == [
            ("reversal", "management fees", 1, "-30.00"),
            ("shared_charge", "management fees", 1, "30.00"),
        ]


async def test_ties_go_to_the_earlier_share(outside: Outside) -> None:
    building = await _building(outside)
    users = [outside.new_user(name) for name in ("z", "y", "x")]
    shares = [{"user_id": user, "weight": 1} for user in users]
    body: Json = {"book": building, "asset": "EUR", "amount": "0.05", "shares": shares}
    answer = accepted(await outside.admin.post("/v1/shared-charges", body))
    parts = {u["user_id"]: u["changes"][0]["amount"] for u in answer["updates"]}
    assert [parts[user] for user in users] == ["0.02", "0.02", "0.01"]
    # A share that comes to nothing is still an entry of its account.
    answer = accepted(await outside.admin.post("/v1/shared-charges", {**body, "amount": "0.01"}))
    parts = {u["user_id"]: u["changes"][0]["amount"] for u in answer["updates"]}
    assert [parts[user] for user in users] == ["0.01", "0.00", "0.00"]


@pytest.mark.parametrize("length", [8, 36, 128])
async def test_nine_hundred_and_ninety_nine_shares(outside: Outside, length: int) -> None:
    building = await _building(outside)
    flats = [f"flat-{number}".ljust(length, "-") for number in range(999)]
    shares = [{"user_id": flat, "weight": number + 1} for number, flat in enumerate(flats)]
    body: Json = {"book": building, "asset": "EUR", "amount": "123456.78", "shares": shares}
    answer = accepted(await outside.admin.post("/v1/shared-charges", body))
    amounts = [int(u["changes"][0]["amount"].replace(".", "")) for u in answer["updates"]]
    assert len(amounts) == 999 and sum(amounts) == 12_345_678
    head = await outside.admin.head()
    body["shares"].append({"user_id": "one-more", "weight": 1})
    refused(await outside.admin.post("/v1/shared-charges", body), 400, "invalid_request")
    assert await outside.admin.head() == head


BAD_SHARES: dict[str, object] = {
    "none": [],
    "one twice": [{"user_id": "a", "weight": 1}, {"user_id": "a", "weight": 2}],
    "a weight of nothing": [{"user_id": "a", "weight": 0}],
    "a negative weight": [{"user_id": "a", "weight": 2}, {"user_id": "b", "weight": -1}],
    "a broken weight": [{"user_id": "a", "weight": 1.5}],
    "a weight in letters": [{"user_id": "a", "weight": "1"}],
    "a weight that is true": [{"user_id": "a", "weight": True}],
    "no weight": [{"user_id": "a"}],
    "a system account": [{"user_id": "@house", "weight": 1}],
    "no list": {"user_id": "a", "weight": 1},
}


@pytest.mark.parametrize("case", BAD_SHARES)
async def test_shares_are_refused(outside: Outside, case: str) -> None:
    building = await _building(outside)
    head = await outside.admin.head()
    body = {"book": building, "asset": "EUR", "amount": "10", "shares": BAD_SHARES[case]}
    refused(await outside.admin.post("/v1/shared-charges", body), 400, "invalid_request")
    assert await outside.admin.head() == head


async def test_each_side_takes_its_own_types(outside: Outside) -> None:
    building = await _building(outside)
    wallet = await outside.new_book("wallet", accounts="open")
    head = await outside.admin.head()
    money = {"user_id": APARTMENT, "asset": "EUR", "amount": "1"}
    for path in ("/v1/deposits", "/v1/withdrawals", "/v1/recharges"):
        answer = await outside.admin.post(path, {**money, "book": building})
        refused(answer, 400, "invalid_request")
    answer = await outside.admin.transfer(APARTMENT, "other", "1", asset="EUR", book=building)
    refused(answer, 400, "invalid_request")
    answer = await outside.admin.post("/v1/payments", {**money, "book": wallet})
    refused(answer, 400, "invalid_request")
    shared = {"book": wallet, "asset": "EUR", "amount": "1"}
    shares = [{"user_id": "a", "weight": 1}]
    answer = await outside.admin.post("/v1/shared-charges", {**shared, "shares": shares})
    refused(answer, 400, "invalid_request")
    assert await outside.admin.head() == head


async def test_the_side_of_a_book_is_fixed(outside: Outside) -> None:
    building = await _building(outside)
    answer = await outside.root.put(f"/v1/admin/books/{building}", {"side": "credit"})
    assert 400 <= answer.status_code < 500
    books = (await outside.admin.get("/v1/books")).json()["items"]
    assert {book["name"]: book["side"] for book in books}[building] == "debit"


async def test_many_payments_at_once_lose_no_cent(outside: Outside) -> None:
    building = await _building(outside)
    flat = outside.new_user("flat")
    money = {"user_id": flat, "asset": "EUR", "book": building}
    answers = await asyncio.gather(
        *(outside.admin.post("/v1/charges", {**money, "amount": "1.01"}) for _ in range(100)),
        *(outside.admin.post("/v1/payments", {**money, "amount": "1.00"}) for _ in range(100)),
    )
    assert Counter(answer.status_code for answer in answers) == {201: 200}
    balances = await outside.admin.balances(flat, book=building)
    assert balances[f"{building}/{flat}/EUR"]["balance"] == "1.00"
    assert balances[f"{building}/{flat}/EUR"]["seq"] == 200
