"""Holds on a real database: placed, confirmed, voided, expired; HOLD_ACCOUNTING holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from tallywire.ledger import (
    BalanceManager,
    Change,
    Details,
    LedgerError,
    Receipt,
    changes,
    holds,
    open_ledger,
)
from tallywire.ledger.accounts import AccountKey
from tallywire.ledger.errors import (
    AccountFrozen,
    AccountInconsistent,
    AccountSuspended,
    HoldExceeded,
    HoldNotOpen,
    InsufficientFunds,
    InvalidAmount,
    InvalidRequest,
    NotFound,
    Paused,
)

from .asking import change, together, told
from .conftest import ManualClock
from .oracle import examine
from .raw import execute


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def manager(database_url: str, clock: ManualClock) -> AsyncIterator[BalanceManager]:
    async with open_ledger(database_url, clock=clock) as opened:
        await opened.update_balance("alice", "100", "deposit")
        yield opened
    await examine(database_url)


async def balance(manager: BalanceManager, user: str = "alice") -> dict[str, Any]:
    """The BALANCE of the user's one account."""
    ((one,),) = (await manager.reader.snapshot([user])).balances.values()
    decoded: dict[str, Any] = msgspec.json.decode(one)
    return decoded


async def figures(manager: BalanceManager, user: str = "alice") -> tuple[str, str, str]:
    shown = await balance(manager, user)
    return shown["balance"], shown["held"], shown["available"]


async def place(manager: BalanceManager, amount: str, **more: Any) -> str:
    receipt = await manager.place_hold("alice", amount, **more)
    assert receipt.hold is not None
    hold_id: str = receipt.hold["id"]
    return hold_id


async def test_a_hold_takes_from_what_is_available_alone(manager: BalanceManager) -> None:
    receipt = await manager.place_hold("alice", "60", "for a room", reference="room-7")
    (update,) = receipt.updates
    (entry,) = update["changes"]
    assert (entry["amount"], entry["held_change"]) == ("0.000000", "60.000000")
    assert update["change_type"] == "hold_placed"
    assert update["hold"] == {
        "id": receipt.transaction_id,
        "user_id": "alice",
        "account": "main/alice/USDT",
        "amount": "60.000000",
        "remaining": "60.000000",
        "status": "open",
        "placed_by": "system",
        "expires_at": None,
        "reference": "room-7",
    }
    assert await figures(manager) == ("100.000000", "60.000000", "40.000000")
    with pytest.raises(InsufficientFunds):
        await manager.update_balance("alice", "-40.000001", "withdrawal")
    with pytest.raises(InsufficientFunds):
        await manager.place_hold("alice", "40.000001")
    await manager.update_balance("alice", "-40", "withdrawal")
    with pytest.raises(InsufficientFunds):
        await manager.place_hold("bob", "0.000001")


async def test_confirmed_in_parts_to_another_user(manager: BalanceManager) -> None:
    hold = await place(manager, "60")
    receipt = await manager.confirm_hold(hold, "25", to_user="bob")
    assert receipt.hold is not None
    assert (receipt.hold["remaining"], receipt.hold["status"]) == ("35.000000", "open")
    assert await figures(manager) == ("75.000000", "35.000000", "40.000000")
    assert await figures(manager, "bob") == ("25.000000", "0.000000", "25.000000")
    # Only the owner is told of the hold.
    told_to = {user: "hold" in update for user, update in _seen(receipt).items()}
    assert told_to == {"alice": True, "bob": False}
    with pytest.raises(HoldExceeded):
        await manager.confirm_hold(hold, "35.000001")
    for bad in ("0", "-1", "1.0000001", "x"):
        with pytest.raises(InvalidAmount):
            await manager.confirm_hold(hold, bad)
    await manager.confirm_hold(hold)
    assert await figures(manager) == ("40.000000", "0.000000", "40.000000")
    with pytest.raises(HoldNotOpen):
        await manager.confirm_hold(hold, "1")
    with pytest.raises(HoldNotOpen):
        await manager.void_hold(hold)


def _seen(receipt: Receipt) -> dict[str, dict[str, Any]]:

    return {
        user: msgspec.json.decode(body) for user, body in receipt.committed.user_bodies() if user
    }


async def test_the_rest_is_released(manager: BalanceManager) -> None:
    hold = await place(manager, "60")
    receipt = await manager.confirm_hold(hold, "25", release_remainder=True)
    assert receipt.hold is not None
    assert (receipt.hold["remaining"], receipt.hold["status"]) == ("0.000000", "confirmed")
    assert await figures(manager) == ("75.000000", "0.000000", "75.000000")
    (entry,) = receipt.updates[0]["changes"]
    assert (entry["amount"], entry["held_change"]) == ("-25.000000", "-60.000000")


async def test_voided(manager: BalanceManager) -> None:
    hold = await place(manager, "60")
    await manager.confirm_hold(hold, "10")
    receipt = await manager.void_hold(hold, "not needed")
    assert receipt.hold is not None
    assert receipt.hold["status"] == "voided"
    assert await figures(manager) == ("90.000000", "0.000000", "90.000000")


async def test_expired(manager: BalanceManager, clock: ManualClock) -> None:
    hold, later = await place(manager, "60", expires_in_s=30), await place(manager, "10")
    clock.move(seconds=29.999999)
    assert await manager.expire_holds() == 0
    await manager.confirm_hold(hold, "1")
    clock.move(seconds=0.000001)
    # Nobody has swept it yet, but its time is over.
    with pytest.raises(HoldNotOpen):
        await manager.confirm_hold(hold, "1")
    assert await manager.expire_holds() == 1
    assert await manager.expire_holds() == 0
    assert await figures(manager) == ("99.000000", "10.000000", "89.000000")
    stored = await manager.reader.holds("alice", None, None, 10)
    assert [(h.id, h.status) for h in stored] == [(later, "open"), (hold, "expired")]
    (newest,) = await manager.history("alice", limit=1)
    assert newest["change_type"] == "hold_expired"


async def test_expired_in_a_book_that_is_newer_than_the_worker(
    database_url: str, manager: BalanceManager, clock: ManualClock
) -> None:
    async with open_ledger(database_url, clock=clock) as worker:
        await manager.administration.put_book("new", {"side": "credit"}, actor="root")
        await manager.update_balance("alice", "5", "deposit", book="new")
        await place(manager, "5", book="new", expires_in_s=1)
        clock.move(seconds=1)
        assert await worker.expire_holds() == 1


async def test_what_cannot_expire_is_in_nobodys_way(
    database_url: str,
    manager: BalanceManager,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tallywire.ledger.manager.EXPIRED_HOLDS_AT_ONCE", 1)
    await place(manager, "5", expires_in_s=1)
    await manager.update_balance("bob", "5", "deposit")
    await manager.place_hold("bob", "5", expires_in_s=1)
    clock.move(seconds=1)
    await execute(database_url, "UPDATE accounts SET balance = balance + 1 WHERE owner = 'bob'")
    assert await manager.expire_holds() == 1
    await execute(database_url, "UPDATE accounts SET balance = balance - 1 WHERE owner = 'bob'")
    assert await manager.expire_holds() == 1


async def test_who_is_not_there(manager: BalanceManager) -> None:
    nowhere = "01900000-0000-7000-8000-000000000001"
    deposit = await manager.update_balance("alice", "1", "deposit")
    for hold in (nowhere, deposit.transaction_id):
        for ask in (manager.confirm_hold, manager.void_hold):
            with pytest.raises(NotFound):
                await ask(hold)
    hold = await place(manager, "1")
    with pytest.raises(InvalidRequest):
        await manager.confirm_hold(hold, to_user="alice")
    seconds: tuple[Any, ...] = (0, -1, 10**12, True, 1.5, "30", Decimal(5))
    for expires in seconds:
        with pytest.raises(InvalidRequest):
            await manager.place_hold("alice", "1", expires_in_s=expires)


async def test_debit_books_have_none(manager: BalanceManager) -> None:
    await manager.administration.put_book("flats", {"side": "debit"}, actor="root")
    with pytest.raises(InvalidRequest):
        await manager.place_hold("alice", "1", book="flats")


async def test_suspension_freeze_and_pause_hold_back_no_release(manager: BalanceManager) -> None:
    hold, other, third = [await place(manager, "10") for _ in range(3)]
    await manager.post(_set(manager, "alice", suspend_below="60"))
    await manager.update_balance("alice", "-11", "charge")
    assert (await balance(manager))["status"] == "suspended"
    with pytest.raises(AccountSuspended):
        await manager.place_hold("alice", "1")
    await manager.confirm_hold(hold, "1")
    await manager.post(_set(manager, "alice", status="frozen"))
    with pytest.raises(AccountFrozen):
        await manager.place_hold("alice", "1")
    await manager.confirm_hold(hold)
    await manager.update_balance("bob", "1", "deposit")
    await manager.post(_set(manager, "bob", status="frozen"))
    with pytest.raises(AccountFrozen):
        await manager.confirm_hold(other, to_user="bob")
    await manager.administration.pause("root")
    with pytest.raises(Paused):
        await manager.place_hold("alice", "1")
    await manager.confirm_hold(other)
    await manager.void_hold(third)
    assert (await balance(manager))["held"] == "0.000000"
    assert (await balance(manager))["status"] == "frozen"


async def test_an_account_with_something_held_is_not_closed(manager: BalanceManager) -> None:
    hold = await place(manager, "100")
    with pytest.raises(LedgerError, match="nothing held"):
        await manager.post(_set(manager, "alice", status="closed"))
    await manager.confirm_hold(hold)
    await manager.post(_set(manager, "alice", status="closed"))


def _set(manager: BalanceManager, user: str, **settings: Any) -> Change:

    return changes.change_account(
        manager.catalog,
        manager.types["account_changed"],
        user,
        asset="USDT",
        book="main",
        settings=settings,
        details=Details(),
    )


async def test_many_at_once_never_take_more_than_there_is(manager: BalanceManager) -> None:

    hold = await place(manager, "50")
    outcomes = await asyncio.gather(
        *(manager.confirm_hold(hold, "20") for _ in range(8)),
        *(manager.update_balance("alice", "-20", "withdrawal") for _ in range(8)),
        *(manager.place_hold("alice", "20") for _ in range(8)),
        return_exceptions=True,
    )
    # 50 held pay for two parts; 50 available for two more steps of 20, whichever they are.
    codes = [o.code if isinstance(o, LedgerError) else "done" for o in outcomes]
    assert codes[:8].count("done") == 2
    assert codes[8:].count("done") == 2
    assert set(codes) == {"done", "hold_exceeded", "insufficient_funds"}


async def test_a_repeat_under_its_key_moves_nothing_twice(manager: BalanceManager) -> None:
    """IDEMPOTENT_REPLAY, of each step, also once the hold is not open any more."""
    first = await manager.place_hold("alice", "10", idempotency_key="p")
    again = await manager.place_hold("alice", "10", idempotency_key="p")
    assert again.replayed
    assert first.hold == again.hold is not None
    hold = first.transaction_id
    done = await manager.confirm_hold(hold, idempotency_key="c")
    again = await manager.confirm_hold(hold, idempotency_key="c")
    assert again.replayed
    assert again.transaction_id == done.transaction_id
    with pytest.raises(LedgerError) as conflict:
        await manager.confirm_hold(hold, "1", idempotency_key="c")
    assert conflict.value.code == "idempotency_key_reused"


async def test_a_refused_group_leaves_its_hold_as_it_was(manager: BalanceManager) -> None:
    """REJECTION_ATOMICITY: what an atomic group did to a hold is taken back with it."""

    hold = await manager.read_hold(await place(manager, "50"))
    confirm = [
        holds.confirm_hold(
            manager.catalog,
            manager.types["hold_confirmed"],
            hold,
            amount,
            release_remainder=False,
            to_user=None,
            details=Details(),
        )
        for amount in ("30", "50", "50")
    ]
    overdraw = change(manager, "withdrawal", "alice", "1000")
    outcomes = await together(manager, [confirm[0], overdraw], confirm[1], confirm[2])
    head = (await manager.reader.head()).position
    assert told(outcomes) == ["insufficient_funds", head, "hold_not_open"]


async def test_alongside_fails_with_the_hold(manager: BalanceManager, database_url: str) -> None:
    with pytest.raises(LedgerError):
        await manager.place_hold("alice", "10", alongside=[text("INSERT INTO nowhere VALUES (1)")])
    assert await figures(manager) == ("100.000000", "0.000000", "100.000000")


async def test_a_repair_puts_row_and_holds_right(
    manager: BalanceManager, database_url: str
) -> None:
    """The entries say what is held; a repair writes row and holds anew, in an entry of its own."""

    kept, voided = await place(manager, "30", expires_in_s=60), await place(manager, "5")
    await manager.confirm_hold(kept, "10")
    await manager.void_hold(voided)
    before = await balance(manager)
    await execute(
        database_url,
        "UPDATE accounts SET balance = balance + 7, held = 1, seq = 99 WHERE owner = 'alice'",
        "DELETE FROM holds WHERE remaining > 0",
        "UPDATE holds SET status = 'open', remaining = 3",
    )
    with pytest.raises(AccountInconsistent):
        await manager.update_balance("alice", "1", "deposit")
    repair = changes.repair_account(
        manager.catalog,
        manager.types["repair"],
        AccountKey("main", "alice", "USDT"),
        details=Details(),
    )
    receipt = await manager.post(repair)
    after = await balance(manager)
    assert after["seq"] == before["seq"] + 1
    same = ("balance", "held", "available", "total_in", "total_out", "floor", "status")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert receipt.updates[0]["changes"][0]["amount"] == "0.000000"
    await manager.confirm_hold(kept)
    assert await figures(manager) == ("70.000000", "0.000000", "70.000000")


async def test_a_system_account_is_put_right_under_the_clock(
    manager: BalanceManager, database_url: str
) -> None:

    head = (await manager.reader.head()).position
    await execute(database_url, "UPDATE accounts SET balance = 5 WHERE owner = '@world'")
    await manager.update_balance("alice", "3", "deposit")

    def repair() -> Change:
        return changes.repair_system_account(
            manager.catalog,
            manager.types["repair"],
            AccountKey("main", "@world", "USDT"),
            position=head,
            balance=-100_000_000,
            details=Details(),
        )

    # Twice, and with a deposit in the same batch: it sets, it does not add.
    deposit = change(manager, "deposit", "alice", "1")
    receipts = await together(manager, repair(), deposit, repair())
    assert told(receipts) == [head + 2, head + 3, head + 4]
    trial = await manager.reader.trial_balance()
    assert trial["sums"] == {"main/USDT": "0.000000"}
    assert (await manager.verify()).errors == 0
