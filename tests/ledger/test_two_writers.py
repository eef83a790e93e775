"""Several ledgers on one database: positions, locks, keys and settings hold across them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from tallywire.ledger import BalanceManager, Batch, Details, LedgerError, Receipt, open_ledger
from tallywire.ledger import changes as asked
from tallywire.ledger.journal import Journal

from ..logged import logged
from .asking import Told, deposit, together, told, transfer, withdrawal
from .oracle import examine
from .raw import execute, holding_the_clock, rows, waiting_for_locks

Pair = tuple[BalanceManager, BalanceManager]


@pytest.fixture
async def pair(database_url: str) -> AsyncIterator[Pair]:
    """Two open ledgers on one database; every invariant holds once both are closed."""
    async with open_ledger(database_url) as one, open_ledger(database_url) as other:
        yield one, other
    await examine(database_url)


async def ask(manager: BalanceManager, change: asked.Change) -> Told:
    try:
        return await manager.post(change)
    except LedgerError as refusal:
        return refusal


async def test_overlapping_accounts_and_new_users(pair: Pair) -> None:
    """
    SEQUENCE_GAP: positions are dense across writers, and every caller is answered; two writers
    that make and lock the same accounts in opposite orders do not surface a deadlock.
    """
    positions: list[int] = []
    batches: list[Batch] = []

    async def hear(batch: Batch) -> None:
        batches.append(batch)

    for manager in pair:
        manager.on_commit(hear)

    async def work(number: int) -> Counter[str]:
        dice = random.Random(number)
        manager = pair[number % 2]
        codes: Counter[str] = Counter()
        for step in range(12):
            # New users in every round, met by both writers, in either order.
            names = [f"user-{step}-{dice.randrange(6)}" for _ in range(3)]
            changes = [deposit(manager, name, "3") for name in names]
            payer, payee = dice.sample([f"user-{step}-{n}" for n in range(6)], 2)
            changes += [transfer(manager, payer, payee, "2"), withdrawal(manager, payee, "1")]
            dice.shuffle(changes)
            if dice.random() < 0.3:
                outcome = (await together(manager, changes))[0]
                codes[outcome.code if isinstance(outcome, LedgerError) else "group"] += 1
                continue
            for told_ in await manager.post_many(changes):
                if isinstance(told_, LedgerError):
                    codes[told_.code] += 1
                else:
                    positions.append(told_.position)
        return codes

    with logged() as logs:
        async with asyncio.timeout(60):
            counted = await asyncio.gather(*(work(number) for number in range(12)))
    # A deadlock would be retried unseen by callers; locks are taken in one order, so none is.
    assert [entry for entry in logs if entry["event"] == "a commit is tried again"] == []
    codes = sum(counted, Counter[str]())
    assert set(codes) <= {"insufficient_funds", "group"}
    assert len(set(positions)) == len(positions)
    for manager in pair:
        await manager.close()
    head = (await pair[0].reader.head()).position
    spans = sorted((batch.first, batch.last) for batch in batches)
    assert [p for first, last in spans for p in range(first, last + 1)] == list(range(1, head + 1))


async def test_one_key_to_both(pair: Pair) -> None:
    """IDEMPOTENT_REPLAY across writers, whichever account each of them locks."""
    keys = [f"k{n}" for n in range(30)]
    outcomes = await asyncio.gather(
        *(ask(m, deposit(m, "alice", "1", key=key)) for key in keys for m in pair)
    )
    by_key: dict[str, list[Told]] = {
        key: list(outcomes[2 * n : 2 * n + 2]) for n, key in enumerate(keys)
    }
    for both in by_key.values():
        assert all(isinstance(outcome, Receipt) for outcome in both)
        assert len(set(told(both))) == 1
        assert sum(isinstance(o, Receipt) and o.replayed for o in both) == 1


async def test_one_key_for_two_requests(pair: Pair) -> None:
    """IDEMPOTENT_CONFLICT across writers: different accounts, so that no lock orders them."""
    keys = [f"k{n}" for n in range(30)]
    outcomes = await asyncio.gather(
        *(
            ask(manager, deposit(manager, f"user-{number}-{key}", "1", key=key))
            for key in keys
            for number, manager in enumerate(pair)
        )
    )
    for n in range(len(keys)):
        first, second = outcomes[2 * n : 2 * n + 2]
        codes = [str(code) for code in told([first, second]) if isinstance(code, str)]
        assert codes == ["idempotency_key_reused"]


async def test_many_debits_from_both(pair: Pair) -> None:
    """OVERDRAFT_FLOOR across writers."""
    await pair[0].post(deposit(pair[0], "alice", "20"))
    outcomes = await asyncio.gather(
        *(ask(manager, withdrawal(manager, "alice", "1.5")) for _ in range(20) for manager in pair)
    )
    assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 13


async def test_a_pause_reaches_every_writer(pair: Pair) -> None:
    one, other = pair
    await ask(one, deposit(one, "alice"))
    await ask(other, deposit(other, "alice"))
    await one.administration.pause("root")
    assert told([await ask(manager, deposit(manager, "alice")) for manager in pair]) == [
        "paused",
        "paused",
    ]
    await other.administration.resume("root")
    assert told([await ask(manager, deposit(manager, "alice")) for manager in pair]) == [3, 4]


async def test_books_and_assets_reach_every_writer(pair: Pair) -> None:
    one, other = pair
    await one.administration.put_asset("GOLD", scale=3, actor="root")
    await one.administration.put_book("vault", {"accounts": "strict"}, actor="root")

    async def ask_for(user: str) -> Told:
        try:
            return await other.update_balance(user, "1", "deposit", asset="GOLD", book="vault")
        except LedgerError as refusal:
            return refusal

    assert told([await ask_for("alice")]) == ["unknown_user"]
    await one.administration.put_book("vault", {"accounts": "open"}, actor="root")
    assert told([await ask_for("alice")]) == [1]
    await one.administration.put_book("vault", {"closed_through": "2999-12-31"}, actor="root")
    assert told([await ask_for("alice")]) == ["invalid_request"]


async def test_books_and_assets_reach_every_reader(pair: Pair) -> None:
    one, other = pair
    await one.administration.put_asset("GOLD", scale=3, actor="root")
    await one.administration.put_book("vault", {}, actor="root")
    assert await other.get_balance("alice", asset="GOLD", book="vault") == 0


async def test_a_freeze_reaches_every_writer(pair: Pair) -> None:
    one, other = pair
    await other.post(deposit(other, "alice", "5"))
    freeze = asked.change_account(
        one.catalog,
        one.types["account_changed"],
        "alice",
        asset="USDT",
        book="main",
        settings={"status": "frozen"},
        details=Details(),
    )
    await one.post(freeze)
    assert told([await ask(other, withdrawal(other, "alice"))]) == ["account_frozen"]


@pytest.mark.parametrize("setting", ["paused", "closed_through"])
async def test_settings_that_change_between_the_decision_and_the_clock(
    postgres_url: str, setting: str
) -> None:
    """No batch that was decided by older settings commits: it is decided anew."""
    async with open_ledger(postgres_url) as one, open_ledger(postgres_url) as other:
        await one.post(deposit(one, "alice"))
        await other.post(deposit(other, "alice"))
        async with holding_the_clock(postgres_url):
            administration = one.administration
            closing = {"closed_through": "2999-12-31"}
            change: Awaitable[object] = (
                administration.pause("root")
                if setting == "paused"
                else administration.put_book("main", closing, actor="root")
            )
            setter = asyncio.ensure_future(change)
            await waiting_for_locks(postgres_url, 1)
            # Accepted by what is known so far, and second in the queue for the clock.
            late = asyncio.create_task(ask(other, deposit(other, "alice", key="k")))
            await waiting_for_locks(postgres_url, 2)
        await setter
        refused = "paused" if setting == "paused" else "invalid_request"
        assert told([await late]) == [refused]
        await one.administration.put_book("main", {"closed_through": None}, actor="root")
        await one.administration.resume("root")
        assert told([await ask(other, deposit(other, "alice", key="k"))]) == [3]
    await examine(postgres_url)


async def test_settings_that_a_process_reads_in_the_middle_of_its_batch(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided by the older ones is decided anew, whatever was read since."""
    async with open_ledger(postgres_url) as ledger:
        write = Journal.write_accounts

        async def after_a_pause(*arguments: Any) -> None:
            monkeypatch.undo()
            await ledger.administration.pause("root")
            await ledger.read_catalog()
            await write(*arguments)

        monkeypatch.setattr(Journal, "write_accounts", after_a_pause)
        assert told([await ask(ledger, deposit(ledger, "alice"))]) == ["paused"]
    await examine(postgres_url)


async def test_a_freeze_between_asking_and_the_lock(postgres_url: str) -> None:
    """The account's lock orders them: what comes second sees what came first."""
    async with open_ledger(postgres_url) as one, open_ledger(postgres_url) as other:
        await one.post(deposit(one, "alice", "5"))
        freeze = asked.change_account(
            one.catalog,
            one.types["account_changed"],
            "alice",
            asset="USDT",
            book="main",
            settings={"status": "frozen"},
            details=Details(),
        )
        async with holding_the_clock(postgres_url):
            first = asyncio.create_task(one.post(freeze))
            await waiting_for_locks(postgres_url, 1)
            second = asyncio.create_task(ask(other, withdrawal(other, "alice")))
            await waiting_for_locks(postgres_url, 2)
        assert (await first).position == 2
        assert told([await second]) == ["account_frozen"]
    await examine(postgres_url)


async def test_a_new_epoch_reaches_every_writer(pair: Pair, database_url: str) -> None:
    one, other = pair
    first = await one.post(deposit(one, "alice", key="k"))
    await execute(database_url, "UPDATE clock SET epoch = 'restored'")
    for manager in (one, other):
        assert (await manager.post(deposit(manager, "alice"))).epoch == "restored"
    again = await other.post(deposit(other, "alice", key="k"))
    assert (again.epoch, again.committed) == ("restored", first.committed)
    assert (await rows(database_url, "SELECT epoch FROM clock"))[0]["epoch"] == "restored"
