"""
IDEMPOTENT_REPLAY: a key stands for one transaction, however often and from wherever it comes.
IDEMPOTENT_CONFLICT: another request under it is refused.
"""

from __future__ import annotations

import asyncio

import pytest
from tallywire.ledger import (
    BalanceManager,
    Details,
    IdempotencyKey,
    LedgerError,
    Receipt,
    open_ledger,
)
from tallywire.ledger import changes as asked
from tallywire.ledger.errors import IdempotencyKeyReused

from .asking import deposit, together, told, withdrawal
from .oracle import examine
from .raw import count, holding_the_clock, waiting_for_locks


def replays(outcomes: list[Receipt | LedgerError]) -> list[bool]:
    return [isinstance(outcome, Receipt) and outcome.replayed for outcome in outcomes]


async def test_idempotent_replay_inside_a_batch(ledger: BalanceManager, database_url: str) -> None:
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", "5", key="k"),
        deposit(ledger, "alice", "5.000000", key="k"),
        deposit(ledger, "bob", "5", key="other"),
        deposit(ledger, "alice", "5", key="k"),
    )
    assert told(outcomes) == [1, 1, 2, 1]
    assert replays(outcomes) == [False, True, False, True]
    assert await count(database_url, "seals") == 1


async def test_idempotent_conflict_inside_a_batch(ledger: BalanceManager) -> None:
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", "5", key="k"),
        deposit(ledger, "alice", "6", key="k"),
        deposit(ledger, "bob", "5", key="k"),
        withdrawal(ledger, "alice", "5", key="k"),
        deposit(ledger, "alice", "5", key="k"),
    )
    reused = "idempotency_key_reused"
    assert told(outcomes) == [1, reused, reused, reused, 1]


async def test_what_is_no_amount_is_another_request(ledger: BalanceManager) -> None:
    """IDEMPOTENT_CONFLICT: the key is looked up before the amount, which is refused on its own."""
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", "0.000001", key="k"),
        deposit(ledger, "alice", "x", key="k"),
        deposit(ledger, "alice", "x", key="unused"),
        deposit(ledger, "alice", "0", key="unused"),
        deposit(ledger, "alice", "5", key="unused"),
    )
    no_amount = "invalid_amount"
    assert told(outcomes) == [1, "idempotency_key_reused", no_amount, no_amount, 2]


async def test_idempotent_replay_of_many_at_once(ledger: BalanceManager) -> None:
    outcomes = await together(ledger, *(deposit(ledger, "alice", key="k") for _ in range(100)))
    assert set(told(outcomes)) == {1}
    assert replays(outcomes).count(False) == 1


async def test_idempotent_replay_of_one_in_flight(database_url: str) -> None:
    """The second waits for the first, which is inside its commit."""
    async with open_ledger(database_url) as ledger:
        async with holding_the_clock(database_url):
            first = asyncio.create_task(ledger.post(deposit(ledger, "alice", key="k")))
            if database_url.startswith("postgresql"):
                await waiting_for_locks(database_url, 1)
            await asyncio.sleep(0.05)
            second = asyncio.create_task(ledger.post(deposit(ledger, "alice", key="k")))
            third = asyncio.create_task(ledger.post(deposit(ledger, "alice", "2", key="k")))
            await asyncio.sleep(0)
        assert ((await first).position, (await first).replayed) == (1, False)
        assert ((await second).position, (await second).replayed) == (1, True)
        with pytest.raises(IdempotencyKeyReused):
            await third
    assert await examine(database_url) == 1


async def test_idempotent_replay_after_reopening(database_url: str) -> None:
    """The first result, byte for byte; another request is refused as on the first day."""
    async with open_ledger(database_url) as ledger:
        first = await ledger.post(deposit(ledger, "alice", key="k", description="é\n"))
        await ledger.post(withdrawal(ledger, "alice"))
    async with open_ledger(database_url) as ledger:
        again = await ledger.post(deposit(ledger, "alice", key="k", description="é\n"))
        assert again.replayed
        assert (again.committed, again.epoch) == (first.committed, first.epoch)
        with pytest.raises(IdempotencyKeyReused):
            await ledger.post(deposit(ledger, "alice", key="k"))
    assert await examine(database_url) == 2


async def test_refusals_are_not_remembered(ledger: BalanceManager, database_url: str) -> None:
    async def ask() -> Receipt | LedgerError:
        (outcome,) = await together(ledger, withdrawal(ledger, "alice", "5", key="k"))
        return outcome

    assert told([await ask(), await ask()]) == ["insufficient_funds", "insufficient_funds"]
    await ledger.post(deposit(ledger, "alice", "5"))
    outcomes = [await ask(), await ask()]
    assert told(outcomes) == [2, 2]
    assert replays(outcomes) == [False, True]
    assert await count(database_url, "transactions") == 2


async def test_a_key_is_looked_up_before_the_account_and_the_pause(
    ledger: BalanceManager, database_url: str
) -> None:
    """IDEMPOTENT_REPLAY: what was accepted stays accepted."""
    await ledger.post(deposit(ledger, "alice", key="k"))
    await ledger.post(
        asked.change_account(
            ledger.catalog,
            ledger.types["account_changed"],
            "alice",
            asset="USDT",
            book="main",
            settings={"status": "frozen"},
            details=Details(),
        )
    )
    await ledger.administration.pause("root")
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", key="k"),
        deposit(ledger, "alice", "2", key="k"),
        deposit(ledger, "alice"),
    )
    assert told(outcomes) == [1, "idempotency_key_reused", "paused"]
    await ledger.administration.resume("root")
    assert told(await together(ledger, deposit(ledger, "alice"))) == ["account_frozen"]


async def test_a_key_belongs_to_its_namespace_and_principal(ledger: BalanceManager) -> None:
    def ask(namespace: str, principal: str, key: str) -> asked.Change:
        return asked.directed(
            ledger.catalog,
            ledger.types["deposit"],
            "alice",
            "1",
            asset="USDT",
            book="main",
            details=Details(key=IdempotencyKey(namespace, principal, key)),
        )

    keys = [
        ("request", "a", "k"),
        ("batch", "a", "k"),
        ("request", "b", "k"),
        ("request", "a", "K"),
    ]
    assert told(await together(ledger, *(ask(*key) for key in keys))) == [1, 2, 3, 4]
    assert told(await together(ledger, *(ask(*key) for key in keys))) == [1, 2, 3, 4]


async def test_a_group_replays_what_it_did(ledger: BalanceManager) -> None:
    """IDEMPOTENT_REPLAY of a group, and of a group that repeats one key."""
    group = [deposit(ledger, "alice", key="a"), deposit(ledger, "alice", key="b")]
    assert told(await ledger.post_many(group, atomic=True)) == [1, 2]
    again = await ledger.post_many(group, atomic=True)
    assert (told(again), replays(again)) == ([1, 2], [True, True])
    doubled = [deposit(ledger, "bob", key="c"), deposit(ledger, "bob", key="c")]
    outcomes = await ledger.post_many(doubled, atomic=True)
    assert (told(outcomes), replays(outcomes)) == ([3, 3], [False, True])


async def test_the_managers_key_is_its_actors(ledger: BalanceManager) -> None:
    async def ask(actor: str) -> Receipt:
        return await ledger.update_balance("a", "1", "deposit", actor=actor, idempotency_key="k")

    assert [(await ask(actor)).position for actor in ("x", "y", "x")] == [1, 2, 1]
    assert (await ask("x")).updates[0]["idempotency_key"] == "k"
