"""Holds from outside: who may, what each sees, and what the screens show at every step."""

from __future__ import annotations

import asyncio

from .client import Json, accepted, refused
from .conftest import Outside
from .test_refused_requests import nothing_changes


async def _funded(outside: Outside, amount: str = "100") -> str:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, amount))
    return alice


def _hold(user: str, amount: str, **more: object) -> Json:
    return {"user_id": user, "asset": "USDT", "amount": amount, **more}


async def test_a_user_reserves_and_pays(outside: Outside) -> None:
    alice, bob = await _funded(outside), outside.new_user("bob")
    own = outside.caller(alice)
    async with outside.screen(alice) as screen, outside.screen(bob) as at_bob:
        placed = accepted(await own.post("/v1/holds", _hold("me", "60", reference="room")))
        hold = placed["hold"]
        assert hold["id"] and hold["placed_by"] == hold["user_id"] == alice
        assert (hold["remaining"], hold["status"], hold["reference"]) == (
            "60.000000",
            "open",
            "room",
        )
        await screen.until_shown(placed["position"])
        account = screen.balances[f"main/{alice}/USDT"]
        assert (account["held"], account["available"]) == ("60.000000", "40.000000")
        assert screen.holds == {hold["id"]: hold}

        path = f"/v1/holds/{hold['id']}"
        body = {"amount": "25", "to_user": bob, "release_remainder": True}
        confirmed = accepted(await own.post(f"{path}/confirm", body))
        assert confirmed["hold"]["status"] == "confirmed"
        await screen.until_shown(confirmed["position"])
        await at_bob.until_shown(confirmed["position"])
        assert screen.holds == {hold["id"]: confirmed["hold"]}
        assert at_bob.holds == {}
        assert screen.balances == await own.balances(alice)
        assert at_bob.balances[f"main/{bob}/USDT"]["balance"] == "25.000000"
        assert (await own.get(path)).json() == confirmed["hold"]
        refused(await own.post(f"{path}/void", {}), 409, "hold_not_open")


async def test_who_placed_it_is_the_admins_to_know(outside: Outside) -> None:
    alice, mallory = await _funded(outside), outside.new_user("mallory")
    own, other = outside.caller(alice), outside.caller(mallory)
    async with outside.screen(alice) as screen, outside.monitor() as monitor:
        placed = accepted(await outside.admin.post("/v1/holds", _hold(alice, "5")))
        assert placed["hold"]["placed_by"] == "ada"
        await screen.until_shown(placed["position"])
        assert screen.holds[placed["hold"]["id"]]["placed_by"] is None
        await monitor.until_position(placed["position"])
        assert monitor.monitored[-1]["hold"] == placed["hold"]
    path = f"/v1/holds/{placed['hold']['id']}"
    assert (await own.get(path)).json()["placed_by"] is None
    assert (await outside.auditor.get(path)).json()["placed_by"] == "ada"
    async with nothing_changes(outside, alice):
        for step in ("confirm", "void"):
            refused(await own.post(f"{path}/{step}", {}), 403, "not_allowed")
            refused(await other.post(f"{path}/{step}", {}), 404, "not_found")
            refused(await outside.auditor.post(f"{path}/{step}", {}), 403, "not_allowed")
        refused(await other.get(path), 404, "not_found")
        refused(await other.post("/v1/holds", _hold(alice, "1")), 403, "not_allowed")
        refused(await own.get("/v1/holds", user_id=mallory), 403, "not_allowed")
        refused(await own.get("/v1/holds", status="lost"), 400, "invalid_request")
        refused(await own.get("/v1/holds/nonsense"), 404, "not_found")
    assert [hold["id"] async for hold in other.listed("/v1/holds")] == []


async def test_lists_go_back_page_by_page(outside: Outside) -> None:
    alice = await _funded(outside)
    own = outside.caller(alice)
    ids = [
        accepted(await own.post("/v1/holds", _hold("me", str(n))))["hold"]["id"]
        for n in range(1, 6)
    ]
    accepted(await own.post(f"/v1/holds/{ids[1]}/void", {}))
    seen = [hold["id"] async for hold in own.listed("/v1/holds", limit=2)]
    assert seen == ids[::-1]
    still = [h["id"] async for h in own.listed("/v1/holds", limit=2, status="open", user_id="me")]
    assert still == [id_ for id_ in ids[::-1] if id_ != ids[1]]
    everybody = [h["id"] async for h in outside.auditor.listed("/v1/holds", user_id=alice)]
    assert everybody == ids[::-1]


async def test_what_cannot_be_held_or_taken(outside: Outside) -> None:
    alice = await _funded(outside)
    own = outside.caller(alice)
    hold = accepted(await own.post("/v1/holds", _hold("me", "60")))["hold"]
    path = f"/v1/holds/{hold['id']}/confirm"
    debts = await outside.new_book(side="debit")
    closed = await outside.new_book(self_service=False)
    async with nothing_changes(outside, alice):
        problem = refused(await own.post("/v1/holds", _hold("me", "41")), 422, "insufficient_funds")
        assert (problem["required"], problem["available"]) == ("41.000000", "40.000000")
        for bad in ("0", "-1", "1.0000001", "01"):
            refused(await own.post("/v1/holds", _hold("me", bad)), 422, "invalid_amount")
            refused(await own.post(path, {"amount": bad}), 422, "invalid_amount")
        refused(await own.post(path, {"amount": "60.000001"}), 422, "hold_exceeded")
        refused(await own.post(path, {"to_user": "me"}), 400, "invalid_request")
        refused(await own.post(path, {"amount": 1}), 422, "invalid_amount")
        refused(await own.post(path, {"internal": {"a": 1}}), 403, "not_allowed")
        for expires in (0, -1, "30", 1.5, 10**12):
            body = _hold("me", "1", expires_in_s=expires)
            refused(await own.post("/v1/holds", body), 400, "invalid_request")
        in_debt = _hold(alice, "1", book=debts)
        refused(await outside.admin.post("/v1/holds", in_debt), 400, "invalid_request")
        refused(await own.post("/v1/holds", _hold("me", "1", book=closed)), 403, "not_allowed")


async def test_sixteen_confirm_at_once_and_one_repeats(outside: Outside) -> None:
    alice = await _funded(outside)
    own = outside.caller(alice)
    placed = accepted(await own.post("/v1/holds", _hold("me", "60"), "key-1"))
    again = await own.post("/v1/holds", _hold("me", "60"), "key-1")
    assert again.json() == placed
    assert again.headers["idempotent-replayed"] == "true"
    path = f"/v1/holds/{placed['hold']['id']}/confirm"
    answers = await asyncio.gather(*(own.post(path, {"amount": "20"}) for _ in range(16)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes[:3] == [201] * 3
    assert set(codes[3:]) <= {409, 422}
    balances = await own.balances(alice)
    assert balances[f"main/{alice}/USDT"]["balance"] == "40.000000"
