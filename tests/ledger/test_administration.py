"""Settings, revocations and tickets: what operators set, and what every process must remember."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tallywire.ledger import BalanceManager, Details, LedgerError, Receipt, changes, open_ledger
from tallywire.ledger.errors import Conflict, InvalidAmount, InvalidRequest

from .asking import deposit
from .conftest import ManualClock


async def test_assets(ledger: BalanceManager) -> None:
    put = ledger.administration.put_asset
    assert (await put("GOLD", scale=3, actor="root")).scale == 3
    assert (await put("GOLD", scale=None, actor="root")).scale == 3
    assert (await put("GOLD", scale=4, actor="root")).scale == 4
    await ledger.update_balance("alice", "1.0001", "deposit", asset="GOLD")
    with pytest.raises(Conflict, match="fixed"):
        await put("GOLD", scale=3, actor="root")
    assert (await put("GOLD", scale=4, actor="root")).scale == 4


async def test_assets_refused(ledger: BalanceManager) -> None:
    bad = [("", 2), ("usd", 2), ("A" * 13, 2), ("Ä", 2), ("A\n", 2), ("A", 13), ("A", -1)]
    for code, scale in [*bad, ("A", None)]:
        with pytest.raises(InvalidRequest):
            await ledger.administration.put_asset(code, scale=scale, actor="root")
    assert await ledger.reader.audit(None, 10) == []


async def test_books(ledger: BalanceManager) -> None:
    put = ledger.administration.put_book
    made = await put("flats", {"side": "debit", "timezone": "Europe/Athens"}, actor="root")
    assert (made.side, made.default_floor, made.accounts, made.self_service) == (
        "debit",
        None,
        "open",
        False,
    )
    changed = await put("flats", {"starts_on": "2026-01-01"}, actor="root")
    assert (changed.timezone, changed.starts_on) == ("Europe/Athens", "2026-01-01")
    assert (await put("flats", {"starts_on": None}, actor="root")).starts_on is None
    with pytest.raises(Conflict, match="fixed"):
        await put("flats", {"side": "credit"}, actor="root")
    rows = await ledger.reader.audit(None, 10)
    assert [row["action"] for row in rows] == ["book_set"] * 3
    assert rows[-1]["details"] == {"side": "debit", "timezone": "Europe/Athens"}


BAD_BOOKS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("Flats", {}),
    ("-x", {}),
    ("x" * 65, {}),
    ("x\n", {}),
    ("x", {"side": "left"}),
    ("x", {"accounts": "some"}),
    ("x", {"self_service": 1}),
    ("x", {"timezone": "Mars/Olympus"}),
    ("x", {"timezone": "../etc/passwd"}),
    ("x", {"starts_on": "2026-1-1"}),
    ("x", {"closed_through": "2026-02-30"}),
    ("x", {"closed_through": "20260101"}),
    ("x", {"default_floor": 5}),
    ("x", {"default_floor": "abc"}),
    ("x", {"side": "debit", "default_floor": "0"}),
    ("x", {"colour": "red"}),
    ("x", {"name": "y"}),
]


async def test_books_refused(ledger: BalanceManager) -> None:
    for name, settings in BAD_BOOKS:
        with pytest.raises((InvalidRequest, InvalidAmount)):
            await ledger.administration.put_book(name, settings, actor="root")
    assert await ledger.reader.audit(None, 10) == []


async def test_settings_changed_at_once_are_all_kept(ledger: BalanceManager) -> None:
    """No writer decides by settings older than the journal it writes to."""
    names = [f"book-{number}" for number in range(8)]
    await asyncio.gather(*(ledger.administration.put_book(n, {}, actor="root") for n in names))
    await ledger.post(deposit(ledger, "alice"))
    assert set(ledger.catalog.books) == {"main", "demo", *names}


async def test_tickets_are_redeemed_once(database_url: str) -> None:
    clock = ManualClock()
    soon = clock.now() + timedelta(seconds=60)
    async with (
        open_ledger(database_url, clock=clock) as one,
        open_ledger(database_url, clock=clock) as other,
    ):
        claims = {"sub": "alice", "role": "user"}
        tickets = [await one.access.issue_ticket(claims, soon) for _ in range(3)]
        assert len(set(tickets)) == 3
        redeemed = await asyncio.gather(
            *(manager.access.redeem_ticket(tickets[0]) for manager in (one, other) * 3)
        )
        assert (redeemed.count(claims), redeemed.count(None)) == (1, 5)
        assert await other.access.redeem_ticket("\ud800 forged") is None
        clock.move(seconds=60)
        assert await other.access.redeem_ticket(tickets[1]) is None
        clock.move(seconds=-1)
        assert await other.access.redeem_ticket(tickets[1]) is None
        assert await other.access.redeem_ticket(tickets[2]) == claims


async def test_a_revocation_never_moves_back(database_url: str) -> None:
    async with open_ledger(database_url) as one, open_ledger(database_url) as other:
        for user, at in (("alice", 100), ("alice", 200), ("alice", 150), ("bob", 7)):
            await one.access.revoke(user, at)
        assert await other.access.load_revocations() == {"alice": 200, "bob": 7}


async def test_what_operators_do_to_accounts_is_in_the_audit(ledger: BalanceManager) -> None:
    """In the same commit; what moves money by the rules is in the journal alone."""

    async def asked(kind: str, **settings: Any) -> Receipt:
        make = changes.open_account if kind == "account_opened" else changes.change_account
        return await ledger.post(
            make(
                ledger.catalog,
                ledger.types[kind],
                "alice",
                asset="USDT",
                book="main",
                settings=settings,
                details=Details(actor="root"),
            )
        )

    opened = await asked("account_opened", floor="-5")
    frozen = await asked("account_changed", status="frozen", floor=None)
    await asked("account_changed", status="active", floor="0")
    deposit = await ledger.update_balance("alice", "3", "deposit")
    await ledger.update_balance("alice", "-2", "withdrawal")
    with pytest.raises(LedgerError):
        await asked("account_changed", status="closed")
    forced = await ledger.reverse(deposit.transaction_id, force=True, actor="root")
    rows = await ledger.reader.audit(None, 10)
    told = [(row["actor"], row["action"], row["target"], row["details"]) for row in rows[::-1]]
    assert told[:2] == [
        (
            "root",
            "account_opened",
            "main/alice/USDT",
            {"transaction_id": opened.transaction_id, "floor": "-5.000000"},
        ),
        (
            "root",
            "account_changed",
            "main/alice/USDT",
            {"transaction_id": frozen.transaction_id, "status": "frozen", "floor": None},
        ),
    ]
    assert [action for _, action, _, _ in told[2:]] == ["account_changed", "reversal"]
    details = {"transaction_id": forced.transaction_id, "forced": True}
    assert told[-1][2:] == (deposit.transaction_id, details)


async def test_accounts_are_opened_and_set_from_python(ledger: BalanceManager) -> None:
    await ledger.open_account("alice", {"floor": "-5"}, asset="USD", actor="root")
    await ledger.update_balance("alice", "-5", "withdrawal", asset="USD")
    with pytest.raises(Conflict):
        await ledger.open_account("alice", asset="USD")
    await ledger.change_account("alice", {"status": "frozen"}, asset="USD", actor="root")
    with pytest.raises(LedgerError) as frozen:
        await ledger.update_balance("alice", "5", "deposit", asset="USD")
    assert frozen.value.code == "account_frozen"
    with pytest.raises(InvalidRequest):
        await ledger.change_account("alice", {"colour": "red"}, asset="USD")
