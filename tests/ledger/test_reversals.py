"""Reversals on a real database: REVERT_ONCE, and what they do to totals, floors and statuses."""

from __future__ import annotations

import asyncio

import pytest
from tallywire.ledger import BalanceManager, Details, LedgerError, TransactionType, changes
from tallywire.ledger.errors import (
    AlreadyReversed,
    InsufficientFunds,
    InvalidRequest,
    NotReversible,
)
from tallywire.ledger.reversals import reverse

from .asking import together, told


async def test_a_shared_charge_is_undone_as_one(ledger: BalanceManager) -> None:
    await ledger.administration.put_book("flats", {"side": "debit"}, actor="root")
    shares = {"a": 1, "b": 1, "c": 1}
    shared = await ledger.shared_charge(shares, "100", book="flats", asset="EUR")
    undone = await ledger.reverse(shared.transaction_id, "entered twice", actor="root")
    assert {u["reverses"] for u in undone.updates} == {shared.transaction_id}
    for update in undone.updates:
        (entry,) = update["changes"]
        assert (entry["balance"], entry["total_in"]) == ("0.00", "0.00")
    stored = await ledger.reader.transaction(shared.transaction_id)
    assert stored is not None
    assert stored.reversed_by == undone.transaction_id
    with pytest.raises(AlreadyReversed):
        await ledger.reverse(shared.transaction_id)
    with pytest.raises(NotReversible):
        await ledger.reverse(undone.transaction_id)


async def test_once_of_many_at_once(ledger: BalanceManager) -> None:
    deposit = await ledger.update_balance("alice", "10", "deposit")
    outcomes = await asyncio.gather(
        *(ledger.reverse(deposit.transaction_id) for _ in range(20)), return_exceptions=True
    )
    codes = [o.code if isinstance(o, LedgerError) else "done" for o in outcomes]
    assert sorted(codes) == ["already_reversed"] * 19 + ["done"]
    assert await ledger.get_balance("alice") == 0


async def test_the_floor_unless_forced(ledger: BalanceManager) -> None:
    deposit = await ledger.update_balance("alice", "10", "deposit")
    await ledger.update_balance("alice", "-4", "withdrawal")
    with pytest.raises(InsufficientFunds):
        await ledger.reverse(deposit.transaction_id)
    forced = await ledger.reverse(deposit.transaction_id, force=True, metadata={"ticket": 7})
    assert await ledger.get_balance("alice") == -4
    assert forced.updates[0]["metadata"] == {"ticket": 7, "forced": True}


async def test_effective_now(ledger: BalanceManager) -> None:
    deposit = await ledger.update_balance("alice", "10", "deposit")
    with pytest.raises(InvalidRequest, match="effective now"):
        await ledger.reverse(deposit.transaction_id, effective_at="2026-01-01T00:00:00Z")
    (update,) = (await ledger.reverse(deposit.transaction_id)).updates
    assert update["effective_at"] == update["timestamp"]


async def test_types_of_applications(ledger: BalanceManager) -> None:
    """One that counts is taken back from its total; one that is not reversible says so."""
    ledger.register_type(
        TransactionType(name="bonus", direction="up", counter="@house", counts=True)
    )
    ledger.register_type(
        TransactionType(name="prize", direction="up", counter="@house", reversible=False)
    )
    bonus = await ledger.update_balance("alice", "5", "bonus")
    prize = await ledger.update_balance("alice", "5", "prize")
    undone = await ledger.reverse(bonus.transaction_id)
    assert undone.updates[0]["changes"][0]["total_in"] == "0.000000"
    with pytest.raises(NotReversible, match="prize"):
        await ledger.reverse(prize.transaction_id)


async def test_types_made_by_operations_take_no_amount(ledger: BalanceManager) -> None:
    for kind in ("adoption", "reversal", "repair", "hold_placed", "hold_confirmed"):
        for amount in ("1", "-1"):
            with pytest.raises(LedgerError) as refusal:
                await ledger.update_balance("alice", amount, kind)
            assert refusal.value.code == "invalid_request"


async def test_what_a_refused_group_would_have_reversed_is_not_reversed(
    ledger: BalanceManager,
) -> None:
    """In the same batch: the reversal after the group is decided as if that had never been."""
    deposit = await ledger.update_balance("alice", "10", "deposit")
    original = await ledger.read_original(deposit.transaction_id)
    first, second = (
        reverse(ledger.catalog, ledger.types, original, forced=False, details=Details())
        for _ in range(2)
    )
    refused = changes.refused(NotReversible("no"))
    assert told(await together(ledger, [first, refused], second)) == ["not_reversible", 2]
    assert await ledger.get_balance("alice") == 0
