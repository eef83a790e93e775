"""A reversal undoes once, in the open: REVERT_ONCE."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from .client import Json, accepted, minor, refused, update_of
from .conftest import Outside
from .test_client import VECTORS
from .test_refused_requests import nothing_changes


def _path(transaction: Json) -> str:
    return f"/v1/transactions/{transaction['transaction_id']}/reversal"


async def _reverse(outside: Outside, transaction: Json, **body: object) -> httpx.Response:
    body.setdefault("description", "entered twice")
    return await outside.admin.post(_path(transaction), body)


async def test_a_transfer_is_undone_on_both_screens(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    accepted(await outside.admin.deposit(alice, "10"))
    async with outside.screen(alice) as at_alice, outside.screen(bob) as at_bob:
        sent = accepted(await outside.admin.transfer(alice, bob, "4"))
        reversal = accepted(await _reverse(outside, sent))
        await at_alice.until_shown(reversal["position"])
        await at_bob.until_shown(reversal["position"])
        assert [u["user_id"] for u in reversal["updates"]] == sorted([alice, bob])
        assert {u["reverses"] for u in reversal["updates"]} == {sent["transaction_id"]}
        assert at_alice.updates[-1] in [update_of(update) for update in reversal["updates"]]
        assert at_alice.balances[f"main/{alice}/USDT"]["balance"] == "10.000000"
        assert at_bob.balances[f"main/{bob}/USDT"]["balance"] == "0.000000"
        assert at_alice.balances == await outside.admin.balances(alice)
    whole = (await outside.auditor.get(f"/v1/transactions/{sent['transaction_id']}")).json()
    assert whole["reversed_by"] == reversal["transaction_id"]


async def test_a_reversal_subtracts_from_the_total_that_it_undoes(outside: Outside) -> None:
    alice = outside.new_user("alice")
    deposit = accepted(await outside.admin.deposit(alice, "100"))
    withdrawal = accepted(await outside.admin.withdraw(alice, "30"))
    async with outside.screen(alice):
        back = accepted(await _reverse(outside, withdrawal))
        (change,) = back["updates"][0]["changes"]
        assert (change["total_in"], change["total_out"]) == ("100.000000", "0.000000")
        back = accepted(await _reverse(outside, deposit))
        (change,) = back["updates"][0]["changes"]
        assert (change["total_in"], change["total_out"]) == ("0.000000", "0.000000")


async def test_once_even_for_sixteen_at_once(outside: Outside) -> None:
    alice = outside.new_user("alice")
    deposit = accepted(await outside.admin.deposit(alice, "10"))
    accepted(await outside.admin.deposit(alice, "100"))
    answers = await asyncio.gather(*(_reverse(outside, deposit) for _ in range(16)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15
    for answer in answers:
        if answer.status_code == 409:
            refused(answer, 409, "already_reversed")
    reversal = next(answer.json() for answer in answers if answer.status_code == 201)
    refused(await _reverse(outside, reversal), 409, "not_reversible")
    balances = await outside.admin.balances(alice)
    assert balances[f"main/{alice}/USDT"]["balance"] == "100.000000"


async def test_the_floor_and_the_freeze_hold_unless_forced(outside: Outside) -> None:
    alice = outside.new_user("alice")
    deposit = accepted(await outside.admin.deposit(alice, "10"))
    accepted(await outside.admin.withdraw(alice, "4"))
    async with nothing_changes(outside, alice):
        problem = refused(await _reverse(outside, deposit), 422, "insufficient_funds")
        assert (problem["required"], problem["available"]) == ("10.000000", "6.000000")
        refused(await _reverse(outside, deposit, force=True), 403, "not_allowed")
        refused(await outside.admin.post(_path(deposit), {}), 400, "invalid_request")
        nowhere = {"transaction_id": "01900000-0000-7000-8000-000000000001"}
        refused(await _reverse(outside, nowhere), 404, "not_found")
        user = await outside.caller(alice).post(_path(deposit), {"description": "d"})
        refused(user, 403, "not_allowed")
    settings = f"/v1/admin/accounts/main/{alice}/USDT"
    frozen = accepted(await outside.root.patch(settings, {"status": "frozen"}))
    async with nothing_changes(outside, alice):
        refused(await _reverse(outside, deposit), 409, "account_frozen")
        refused(await _reverse(outside, frozen), 409, "not_reversible")
    accepted(await outside.root.patch(settings, {"status": "active"}))
    forced = {"description": "chargeback", "force": True}
    done = accepted(await outside.root.post(_path(deposit), forced, "force-once"))
    assert done["updates"][0]["changes"][0]["balance"] == "-4.000000"
    again = await outside.root.post(_path(deposit), forced, "force-once")
    assert again.json() == done and again.headers["idempotent-replayed"] == "true"


async def test_a_reversal_passes_suspension_with_credits_alone(outside: Outside) -> None:
    alice = outside.new_user("alice")
    deposit = accepted(await outside.admin.deposit(alice, "10"))
    settings = {"suspend_below": "5"}
    accepted(await outside.root.patch(f"/v1/admin/accounts/main/{alice}/USDT", settings))
    body = {"user_id": alice, "asset": "USDT", "amount": "6"}
    charge = accepted(await outside.admin.post("/v1/charges", body))
    assert charge["updates"][0]["changes"][0]["status"] == "suspended"
    refused(await _reverse(outside, deposit), 409, "account_suspended")
    credited = accepted(await _reverse(outside, charge))
    change = credited["updates"][0]["changes"][0]
    assert (change["balance"], change["status"]) == ("10.000000", "suspended")


@pytest.mark.parametrize("prefix", ["building:7/"])
async def test_the_published_chain_is_reproduced_in_all_but_the_ids(
    outside: Outside, prefix: str
) -> None:
    (chain,) = (c for c in VECTORS["chains"] if c["account"].startswith(prefix))
    building = await outside.new_book("building", side="debit", accounts="open")
    money = {"user_id": "apartment-12", "asset": "EUR", "book": building}
    charge = accepted(await outside.admin.post("/v1/charges", {**money, "amount": "100"}))
    payment = accepted(await outside.admin.post("/v1/payments", {**money, "amount": "50"}))
    reversal = accepted(await _reverse(outside, payment))
    for answer, entry in zip((charge, payment, reversal), chain["entries"], strict=True):
        (change,) = answer["updates"][0]["changes"]
        integers = {
            field: minor(change[field], 2) for field in ("amount", "held_change", "balance", "held")
        }
        assert {**integers, "seq": change["seq"]} == {
            field: entry[field] for field in (*integers, "seq")
        }
