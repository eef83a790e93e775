"""Freeze, suspend, alert and close: each is an entry that the screen sees, and each holds."""

from __future__ import annotations

import httpx

from .client import Json, accepted, refused, update_of
from .conftest import Outside


async def _settings(outside: Outside, user: str, **settings: object) -> Json:
    path = f"/v1/admin/accounts/main/{user}/USDT"
    return accepted(await outside.root.patch(path, settings))


async def _charge(outside: Outside, user: str, amount: str) -> httpx.Response:
    body = {"user_id": user, "asset": "USDT", "amount": amount}
    return await outside.admin.post("/v1/charges", body)


async def _recharge(outside: Outside, user: str, amount: str) -> Json:
    body = {"user_id": user, "asset": "USDT", "amount": amount}
    return accepted(await outside.admin.post("/v1/recharges", body))


def _change(answer: Json) -> Json:
    (update,) = answer["updates"]
    (change,) = update["changes"]
    assert isinstance(change, dict)
    return change


async def test_an_account_made_explicitly_has_an_entry_one(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.screen(alice) as screen, outside.monitor() as monitor:
        made = {
            "book": "main",
            "user_id": alice,
            "asset": "USDT",
            "floor": "-20",
            "suspend_below": "2.5",
            "alert_below": "10",
        }
        answer = accepted(await outside.root.post("/v1/admin/accounts", made))
        change = _change(answer)
        assert answer["updates"][0]["change_type"] == "account_opened"
        assert (change["seq"], change["amount"], change["balance"]) == (1, "0.000000", "0.000000")
        settings = (change["floor"], change["suspend_below"], change["alert_below"])
        assert settings == ("-20.000000", "2.500000", "10.000000")
        await screen.until_shown(answer["position"])
        await monitor.until_position(answer["position"])
        assert screen.updates == [update_of(answer["updates"][0])]
        assert monitor.monitored == answer["updates"]


async def test_a_patch_is_one_entry_with_seq_and_digest(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "100"))
    async with outside.screen(alice) as screen:
        answer = await _settings(outside, alice, floor=None, alert_below="7", status="frozen")
        change = _change(answer)
        assert answer["updates"][0]["change_type"] == "account_changed"
        assert (change["seq"], change["amount"], change["floor"]) == (2, "0.000000", None)
        assert (change["alert_below"], change["status"]) == ("7.000000", "frozen")
        assert change["suspend_below"] is None
        answer = await _settings(outside, alice, status="active")
        change = _change(answer)
        assert (change["seq"], change["floor"], change["alert_below"]) == (3, None, "7.000000")
        answer = await _settings(outside, alice, alert_below=None, floor="1")
        await screen.until_shown(answer["position"])
        assert len(screen.updates) == 3
        assert screen.balances == await outside.admin.balances(alice)
        refused(await outside.admin.withdraw(alice, "99.5"), 422, "insufficient_funds")


async def test_a_frozen_account_neither_pays_nor_is_paid(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    accepted(await outside.admin.deposit(alice, "100"))
    accepted(await outside.admin.deposit(bob, "100"))
    await _settings(outside, alice, status="frozen")
    head = await outside.admin.head()
    for answer in (
        await outside.admin.deposit(alice, "1"),
        await outside.admin.withdraw(alice, "1"),
        await outside.caller(alice).withdraw("me", "1"),
        await outside.admin.transfer(alice, bob, "1"),
        await outside.admin.transfer(bob, alice, "1"),
        await _charge(outside, alice, "1"),
    ):
        refused(answer, 409, "account_frozen")
    assert await outside.admin.head() == head
    await _settings(outside, alice, status="active")
    accepted(await outside.admin.withdraw(alice, "1"))


async def test_a_charge_suspends_and_a_recharge_lifts(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    accepted(await outside.admin.deposit(alice, "100"))
    await _settings(outside, alice, suspend_below="10", floor="-50")
    async with outside.screen(alice) as screen:
        still = accepted(await _charge(outside, alice, "90"))
        assert _change(still)["status"] == "active", "10 is not below 10"
        below = accepted(await _charge(outside, alice, "0.000001"))
        assert _change(below)["status"] == "suspended", "in the causing entry"

        head = await outside.admin.head()
        for answer in (
            await outside.admin.withdraw(alice, "1"),
            await outside.admin.transfer(alice, bob, "1"),
            await _charge(outside, alice, "1"),
        ):
            refused(answer, 409, "account_suspended")
        assert await outside.admin.head() == head

        credited = accepted(await outside.admin.deposit(alice, "50"))
        assert _change(credited)["status"] == "suspended", "a deposit does not lift it"
        lifted = await _recharge(outside, alice, "1")
        assert _change(lifted)["status"] == "active"
        accepted(await _charge(outside, alice, "60"))
        short = await _recharge(outside, alice, "1")
        assert _change(short)["status"] == "suspended", "2 are still below 10"
        enough = await _recharge(outside, alice, "8.000001")
        assert _change(enough)["status"] == "active", "10 are not below 10"
        await screen.until_shown(enough["position"])
        statuses = [update["changes"][0]["status"] for update in screen.updates]
        assert statuses == [
            "active",
            "suspended",
            "suspended",
            "active",
            "suspended",
            "suspended",
            "active",
        ]
        assert screen.balances == await outside.admin.balances(alice)


async def test_a_low_balance_is_told_once_a_crossing(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "100"))
    await _settings(outside, alice, alert_below="20")
    told = [
        "low_balance" if "alert" in _change(answer) else None
        for answer in (
            accepted(await _charge(outside, alice, "80")),
            accepted(await _charge(outside, alice, "1")),
            accepted(await _charge(outside, alice, "1")),
            accepted(await outside.admin.deposit(alice, "2")),
            accepted(await outside.admin.withdraw(alice, "0.000001")),
            accepted(await outside.admin.withdraw(alice, "1")),
        )
    ]
    assert told == [None, "low_balance", None, None, "low_balance", None]


async def test_closed_is_for_empty_accounts_and_for_good_until_reopened(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "5"))
    path = f"/v1/admin/accounts/main/{alice}/USDT"
    head = await outside.admin.head()
    answer = await outside.root.patch(path, {"status": "closed"})
    assert 400 <= answer.status_code < 500, "5 are still in it"
    assert await outside.admin.head() == head
    accepted(await outside.admin.withdraw(alice, "5"))
    change = _change(await _settings(outside, alice, status="closed"))
    assert change["status"] == "closed"
    refused(await outside.admin.deposit(alice, "1"), 409, "account_closed")
    refused(await outside.admin.withdraw(alice, "1"), 409, "account_closed")
    assert (await outside.admin.balances(alice))[f"main/{alice}/USDT"]["status"] == "closed"


BAD_SETTINGS: list[Json] = [
    {"status": "suspended"},
    {"status": "asleep"},
    {"status": None},
    {"floor": 5},
    {"floor": "five"},
    {"floor": "0.0000001"},
    {"suspend_below": "x"},
    {"alert_below": []},
]


async def test_settings_are_refused(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "5"))
    balances, head = await outside.admin.balances(alice), await outside.admin.head()
    for settings in BAD_SETTINGS:
        path = f"/v1/admin/accounts/main/{alice}/USDT"
        answer = await outside.root.patch(path, settings)
        assert answer.status_code in (400, 422), (settings, answer.text)
    missing = await outside.root.patch("/v1/admin/accounts/main/nobody/USDT", {"floor": "0"})
    refused(missing, 404, "not_found")
    assert await outside.admin.balances(alice) == balances
    assert await outside.admin.head() == head


async def test_new_defaults_touch_new_accounts_only(outside: Outside) -> None:
    old, new = outside.new_user("old"), outside.new_user("new")
    book = await outside.new_book(accounts="open", default_floor="0")
    accepted(await outside.admin.deposit(old, "5", book=book))
    changed = await outside.root.put(f"/v1/admin/books/{book}", {"default_floor": "-10"})
    assert changed.status_code == 200
    accepted(await outside.admin.deposit(new, "5", book=book))
    floors = [
        (await outside.admin.balances(user))[f"{book}/{user}/USDT"]["floor"] for user in (old, new)
    ]
    assert floors == ["0.000000", "-10.000000"]
    refused(await outside.admin.withdraw(old, "6", book=book), 422, "insufficient_funds")
    accepted(await outside.admin.withdraw(new, "6", book=book))
