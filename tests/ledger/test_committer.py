"""Group commit: what waits together is committed together, and each is told its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from tallywire.ledger import BalanceManager, Batch, Details, LedgerError, Receipt, open_ledger
from tallywire.ledger import changes as asked
from tallywire.ledger.errors import Overloaded

from .asking import change, counted, deposit, together, told, transfer, withdrawal
from .conftest import ManualClock, transaction_id
from .oracle import examine
from .raw import count, holding_the_clock, rows


def heard(manager: BalanceManager) -> list[Batch]:
    """Every batch that will be announced, as it comes."""
    batches: list[Batch] = []

    async def hear(batch: Batch) -> None:
        batches.append(batch)

    manager.on_commit(hear)
    return batches


async def names(url: str) -> set[str]:
    return {row["name"] for row in await rows(url, "SELECT name FROM accounts")}


# Batches


async def test_changes_that_wait_share_a_commit(database_url: str) -> None:
    async with open_ledger(database_url) as ledger:
        batches = heard(ledger)
        many = [deposit(ledger, f"user-{n % 70}") for n in range(1300)]
        outcomes = await ledger.post_many(many)
    assert told(outcomes) == list(range(1, 1301))
    assert [len(batch.transactions) for batch in batches] == [512, 512, 276]
    assert [(batch.first, batch.last) for batch in batches] == [(1, 512), (513, 1024), (1025, 1300)]
    assert await count(database_url, "seals") == 3
    await examine(database_url)


async def test_a_batch_has_a_bounded_number_of_postings(ledger: BalanceManager) -> None:
    await ledger.administration.put_book("flats", {"side": "debit"}, actor="root")
    batches = heard(ledger)
    shares = [(f"flat-{n}", 1) for n in range(999)]
    charge = await ledger.prepare(
        lambda catalog: asked.shared_charge(
            catalog,
            ledger.types["shared_charge"],
            "999",
            shares,
            asset="EUR",
            book="flats",
            details=Details(),
        )
    )
    await ledger.post_many([charge] * 5)
    await ledger.close()
    assert [len(batch.transactions) for batch in batches] == [1, 1, 1, 1, 1]


async def test_a_batch_has_a_bounded_size(ledger: BalanceManager) -> None:
    batches = heard(ledger)
    big = {"note": "x" * 4000}
    await ledger.post_many([deposit(ledger, "alice", metadata=big) for _ in range(500)])
    await ledger.close()
    sizes = [sum(len(t.encoded) for t in batch.transactions) for batch in batches]
    assert len(sizes) >= 3
    assert max(sizes) <= 1 << 20
    assert sum(len(batch.transactions) for batch in batches) == 500


async def test_an_atomic_group_is_one_commit_however_large(ledger: BalanceManager) -> None:
    batches = heard(ledger)
    group = [deposit(ledger, "alice") for _ in range(600)]
    outcomes = await together(ledger, deposit(ledger, "bob"), group, deposit(ledger, "bob"))
    await ledger.close()
    assert told(outcomes) == [1, 601, 602]
    assert [len(batch.transactions) for batch in batches] == [1, 600, 1]


# Refusals


async def test_a_refusal_is_its_callers_alone(ledger: BalanceManager, database_url: str) -> None:
    """REJECTION_ATOMICITY: neighbours in a batch do not notice; nothing of it stays."""
    await ledger.post(deposit(ledger, "frozen"))
    await ledger.post(
        asked.change_account(
            ledger.catalog,
            ledger.types["account_changed"],
            "frozen",
            asset="USDT",
            book="main",
            settings={"status": "frozen"},
            details=Details(),
        )
    )
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", "5"),
        withdrawal(ledger, "nobody", "1"),
        deposit(ledger, "frozen"),
        change(ledger, "charge", "eve", "1", asset="BTC", book="demo"),
        transfer(ledger, "alice", "newcomer", "6"),
        transfer(ledger, "alice", "bob", "5"),
    )
    assert told(outcomes) == [
        3,
        "insufficient_funds",
        "account_frozen",
        "insufficient_funds",
        "insufficient_funds",
        4,
    ]
    # Accounts that were made for refused changes are gone, system accounts too.
    assert await names(database_url) == {
        "main/alice/USDT",
        "main/bob/USDT",
        "main/frozen/USDT",
        "main/@world/USDT",
    }
    # And their ids are not remembered.
    outcomes = await together(
        ledger, deposit(ledger, "nobody"), deposit(ledger, "eve", asset="BTC", book="demo")
    )
    assert told(outcomes) == [5, 6]


async def test_a_batch_of_refusals_leaves_nothing(
    ledger: BalanceManager, database_url: str
) -> None:
    """REJECTION_ATOMICITY"""
    outcomes = await together(ledger, withdrawal(ledger, "alice"), withdrawal(ledger, "bob"))
    assert told(outcomes) == ["insufficient_funds", "insufficient_funds"]
    assert await names(database_url) == set()
    assert await count(database_url, "seals") == 0
    assert told(await together(ledger, deposit(ledger, "alice"))) == [1]


async def test_each_is_decided_on_what_the_earlier_ones_left(ledger: BalanceManager) -> None:
    """OVERDRAFT_FLOOR inside a batch, in the order of asking."""
    outcomes = await together(
        ledger,
        withdrawal(ledger, "alice", "5"),
        deposit(ledger, "alice", "10"),
        withdrawal(ledger, "alice", "5"),
        withdrawal(ledger, "alice", "6"),
        transfer(ledger, "alice", "bob", "5"),
        withdrawal(ledger, "alice", "0.000001"),
        withdrawal(ledger, "bob", "5"),
    )
    refused = "insufficient_funds"
    assert told(outcomes) == [refused, 1, 2, refused, 3, refused, 4]
    fourth = outcomes[3]
    assert isinstance(fourth, LedgerError)
    assert fourth.extra == {"required": "6.000000", "available": "5.000000"}


async def test_many_debits_never_pass_the_floor(ledger: BalanceManager) -> None:
    """OVERDRAFT_FLOOR"""
    await ledger.post(deposit(ledger, "alice", "50"))
    outcomes = await together(ledger, *(withdrawal(ledger, "alice", "1.5") for _ in range(100)))
    assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 33
    assert str(await ledger.get_balance("alice")) == "0.500000"


# Atomic groups


async def test_a_refused_group_is_undone(ledger: BalanceManager, database_url: str) -> None:
    """REJECTION_ATOMICITY of a group: state, accounts and keys are as if it had not been."""
    group = [
        deposit(ledger, "alice", "100", key="k"),
        deposit(ledger, "carol", "1"),
        withdrawal(ledger, "alice", "102"),
        deposit(ledger, "alice", "1"),
    ]
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", "1"),
        group,
        withdrawal(ledger, "alice", "2"),
        deposit(ledger, "alice", "3", key="k"),
    )
    assert told(outcomes) == [1, "insufficient_funds", "insufficient_funds", 2]
    refusal, last = outcomes[1], outcomes[3]
    assert isinstance(refusal, LedgerError)
    assert refusal.extra["item"] == 2
    assert isinstance(last, Receipt)
    assert not last.replayed
    assert await names(database_url) == {"main/alice/USDT", "main/@world/USDT"}


async def test_a_group_has_consecutive_positions(ledger: BalanceManager) -> None:
    groups = [[deposit(ledger, f"user-{n}") for _ in range(5)] for n in range(20)]
    results = await asyncio.gather(*(ledger.post_many(group, atomic=True) for group in groups))
    positions = [told(result) for result in results]
    assert sorted(itertools.chain(*positions)) == list(range(1, 101))
    for group in positions:
        first = group[0]
        assert isinstance(first, int)
        assert group == list(range(first, first + 5))


async def test_a_group_sees_its_own_changes(ledger: BalanceManager) -> None:
    group = [deposit(ledger, "alice", "5"), transfer(ledger, "alice", "bob", "5")]
    assert told(await ledger.post_many(group, atomic=True)) == [1, 2]
    assert await ledger.post_many([], atomic=True) == []
    assert await ledger.post_many([]) == []


async def test_the_first_items_refusal_has_its_index_too(ledger: BalanceManager) -> None:
    for group in (
        [withdrawal(ledger, "alice")],
        [withdrawal(ledger, "alice"), deposit(ledger, "alice")],
    ):
        with pytest.raises(LedgerError) as refused:
            await ledger.post_many(group, atomic=True)
        assert refused.value.extra["item"] == 0


# Callers


async def test_who_goes_away_undoes_nothing(database_url: str) -> None:
    """COMMITTED_SURVIVES_FAULT: a caller's cancellation reaches nobody else, and no change."""
    async with open_ledger(database_url) as ledger:
        async with holding_the_clock(database_url):
            ahead = asyncio.create_task(ledger.post(deposit(ledger, "ahead")))
            await asyncio.sleep(0)
            leaving = asyncio.create_task(ledger.post(deposit(ledger, "alice", key="k")))
            several = asyncio.create_task(ledger.post_many([deposit(ledger, "bob")] * 2))
            staying = asyncio.create_task(ledger.post(deposit(ledger, "carol")))
            await asyncio.sleep(0)
            leaving.cancel()
            several.cancel()
            gone = await asyncio.gather(leaving, several, return_exceptions=True)
            assert all(isinstance(error, asyncio.CancelledError) for error in gone)
        assert (await ahead).position == 1
        assert (await staying).position == 5
        again = await ledger.post(deposit(ledger, "alice", key="k"))
        assert (again.position, again.replayed) == (2, True)
    assert await examine(database_url) == 5


async def test_too_many_waiting(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue is told at once, and what waits goes on."""
    monkeypatch.setattr("tallywire.ledger.committer.MOST_WAITING", 10)
    async with open_ledger(database_url) as ledger:
        async with holding_the_clock(database_url):
            first = asyncio.create_task(ledger.post(deposit(ledger, "alice")))
            # Until the committer has taken it out of the queue.
            await asyncio.sleep(0.05)
            waiting = [
                asyncio.create_task(ledger.post_many([deposit(ledger, "alice")] * 4)),
                asyncio.create_task(ledger.post_many([deposit(ledger, "alice")] * 6, atomic=True)),
            ]
            await asyncio.sleep(0)
            assert ledger.waiting == 10
            before = counted("overloaded")
            for attempt in (
                ledger.post(deposit(ledger, "alice")),
                ledger.post_many([deposit(ledger, "alice")]),
            ):
                with pytest.raises(Overloaded, match="too many"):
                    await attempt
            assert counted("overloaded") == before + 2
        assert (await first).position == 1
        assert [told(outcomes) for outcomes in await asyncio.gather(*waiting)] == [
            [2, 3, 4, 5],
            [6, 7, 8, 9, 10, 11],
        ]
        assert (await ledger.post(deposit(ledger, "alice"))).position == 12
        assert ledger.waiting == 0
    await examine(database_url)


async def test_who_waited_too_long_is_told_that_nothing_happened(database_url: str) -> None:
    """REJECTION_ATOMICITY: refused for the time it waited, and not committed behind its back."""
    before = counted("overloaded")
    async with open_ledger(database_url, patience=0.2) as ledger:
        async with holding_the_clock(database_url):
            first = asyncio.create_task(ledger.post(deposit(ledger, "alice")))
            await asyncio.sleep(0.05)
            late = asyncio.create_task(ledger.post(deposit(ledger, "bob", key="k")))
            # Time itself: longer than the ledger's patience.
            await asyncio.sleep(0.3)
        assert (await first).position == 1
        with pytest.raises(Overloaded):
            await late
        assert counted("overloaded") == before + 1
        assert (await ledger.post(deposit(ledger, "bob", key="k"))).replayed is False
    assert await examine(database_url) == 2


# Closing, announcing


async def test_closing_commits_what_waits(database_url: str) -> None:
    """COMMITTED_SURVIVES_FAULT: a drain answers everyone, and announces all before it ends."""
    async with open_ledger(database_url) as ledger:
        batches = heard(ledger)
        tasks = [asyncio.create_task(ledger.post(deposit(ledger, f"user-{n}"))) for n in range(700)]
        await asyncio.sleep(0)
    assert all(task.done() for task in tasks)
    assert sorted(task.result().position for task in tasks) == list(range(1, 701))
    assert [p for b in batches for p in range(b.first, b.last + 1)] == list(range(1, 701))
    with pytest.raises(Overloaded, match="shutting down"):
        await ledger.post(deposit(ledger, "late"))
    assert await examine(database_url) == 700


async def test_callers_first_then_the_callbacks_in_order(database_url: str) -> None:
    """SCREEN=LEDGER: a slow or failing listener holds up no caller, and no other listener."""
    go_on = asyncio.Event()
    order: list[tuple[str, int]] = []

    def listener(name: str) -> Callable[[Batch], Awaitable[None]]:
        async def hear(batch: Batch) -> None:
            await go_on.wait()
            order.append((name, batch.first))
            if name == "failing":
                raise RuntimeError("a defect of the listener's")

        return hear

    async with open_ledger(database_url) as ledger:
        for name in ("failing", "other"):
            ledger.on_commit(listener(name))
        for position in (1, 2, 3):
            assert (await ledger.post(deposit(ledger, "alice"))).position == position
        assert order == []
        go_on.set()
    assert order == [(name, first) for first in (1, 2, 3) for name in ("failing", "other")]
    await examine(database_url)


async def test_what_is_announced_is_what_is_stored(ledger: BalanceManager) -> None:
    batches = heard(ledger)
    receipt = await ledger.post(deposit(ledger, "alice", internal={"n": 1}))
    await ledger.close()
    assert [batch.transactions for batch in batches] == [(receipt.committed,)]
    assert await ledger.reader.page(0) == [receipt.committed]
    assert batches[0].epoch == receipt.epoch == (await ledger.reader.head()).epoch


# Time and ids


async def test_time_never_goes_back(database_url: str) -> None:
    clock = ManualClock()
    numbers = itertools.count(1)
    times: list[str] = []
    async with open_ledger(
        database_url, clock=clock, new_id=lambda: transaction_id(next(numbers))
    ) as ledger:
        for jump in (0, 5, -3600, 1, 3600, -86400 * 400):
            clock.move(seconds=jump)
            receipt = await ledger.post(deposit(ledger, "alice"))
            update = receipt.updates[0]
            assert update["effective_at"] == update["timestamp"]
            times.append(update["timestamp"])
        assert receipt.transaction_id == transaction_id(6)
    assert times == [
        "2100-03-01T12:00:00.000000Z",
        "2100-03-01T12:00:05.000000Z",
        "2100-03-01T12:00:05.000000Z",
        "2100-03-01T12:00:05.000000Z",
        "2100-03-01T12:00:06.000000Z",
        "2100-03-01T12:00:06.000000Z",
    ]
    await examine(database_url)


# Defects


async def test_a_defect_does_not_end_the_writer(
    ledger: BalanceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was in the batch is told; the next batch goes on."""
    with monkeypatch.context() as broken:
        broken.setattr("tallywire.ledger.batch.decide", lambda *_: 1 / 0)
        before = counted("internal_error")
        with pytest.raises(ZeroDivisionError):
            await ledger.post(deposit(ledger, "alice"))
        assert counted("internal_error") == before + 1
    assert (await ledger.post(deposit(ledger, "alice"))).position == 1
