"""Following the journal: every transaction, whoever commits it, once and in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tallywire import Batch, Overloaded
from tallywire.ledger import BalanceManager, open_ledger, open_ledger_sync
from tallywire.ledger.errors import InvalidCursor, InvalidRequest

from .asking import deposit, together


async def follow(manager: BalanceManager, after: int, upto: int, **more: Any) -> list[Batch]:
    """What is followed from `after` until the position `upto`."""
    batches: list[Batch] = []
    async with asyncio.timeout(20):
        async for batch in manager.follow(after, **more):
            batches.append(batch)
            if batch.last >= upto:
                return batches
    raise AssertionError


async def test_own_commits_and_others_in_order(ledger: BalanceManager, database_url: str) -> None:
    """SEQUENCE_GAP: two writers race while it follows; a page is where the next one begins."""
    await together(ledger, *(deposit(ledger, "alice") for _ in range(3)))
    followed = asyncio.create_task(follow(ledger, 3, 63, limit=7, poll_s=0.02))
    async with open_ledger(database_url) as other:
        for _ in range(3):
            await asyncio.gather(
                together(ledger, *(deposit(ledger, f"u{n}") for n in range(10))),
                together(other, *(deposit(other, f"u{n}") for n in range(10))),
            )
    batches = await followed
    updates = [update for batch in batches for update in batch.updates()]
    assert [update["position"] for update in updates] == list(range(4, 64))
    assert {update["actor"] for update in updates} == {"system"}
    assert {update["epoch"] for update in updates} == {batches[0].epoch}
    assert max(len(batch.transactions) for batch in batches) <= 7


async def test_an_own_commit_wakes_it(ledger: BalanceManager) -> None:
    """Long before it would look again."""
    followed = asyncio.create_task(follow(ledger, 0, 2, poll_s=3600))
    await ledger.update_balance("alice", "1", "deposit")
    await ledger.transfer("alice", "bob", "1")
    users = [(u["position"], u["user_id"]) for b in await followed for u in b.updates()]
    assert users == [(1, "alice"), (2, "alice"), (2, "bob")]


async def test_nothing_new(ledger: BalanceManager) -> None:
    assert await ledger.read_journal(0) is None
    assert await ledger.read_journal(0, wait_s=0.01) is None
    with pytest.raises(InvalidRequest):
        await ledger.read_journal(0, limit=0)


async def test_a_journal_that_is_another_now(ledger: BalanceManager) -> None:
    """A position in a journal that was restored may be another transaction's."""
    await ledger.update_balance("alice", "1", "deposit")
    batch = await ledger.read_journal(0)
    assert batch is not None
    with pytest.raises(InvalidCursor, match="ends at position 1"):
        await ledger.read_journal(2)
    followed = asyncio.create_task(follow(ledger, 0, 99, epoch=batch.epoch, poll_s=0.02))
    await ledger.administration.renew_epoch(actor="root")
    with pytest.raises(InvalidCursor, match="another epoch"):
        await followed
    with pytest.raises(InvalidCursor, match="another epoch"):
        await ledger.read_journal(1, epoch=batch.epoch)
    assert await ledger.read_journal(1) is None


def test_without_an_event_loop(sqlite_url: str) -> None:
    with open_ledger_sync(sqlite_url) as ledger:
        ledger.update_balance("alice", "1", "deposit")
        followed = ledger.follow(0, poll_s=0.01)
        assert next(followed).last == 1
        ledger.update_balance("alice", "1", "deposit")
        assert next(followed).last == 2
    with pytest.raises(Overloaded, match="closed"):
        next(followed)
