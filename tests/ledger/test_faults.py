"""
COMMITTED_SURVIVES_FAULT: connections cut around COMMIT, a database that is away, sessions that
hold the clock. Every caller is told the truth, and what was accepted is in the journal once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from tallywire.ledger import BalanceManager, Receipt, database, open_ledger, open_ledger_sync
from tallywire.ledger.clock import SystemClock, uuid7_source
from tallywire.ledger.database import DatabaseUnavailable
from tallywire.ledger.errors import OutcomeUnknown, Overloaded

from ..logged import Line, logged
from ..services.proxy import CommitFault, PostgresProxy
from .asking import Told, counted, deposit, together, told, transfer, withdrawal
from .oracle import examine
from .raw import execute, holding_the_clock, rows

CUTS = [CommitFault.CUT_BEFORE, CommitFault.CUT_AFTER, CommitFault.CUT_ANSWER]


@pytest.fixture
def url(postgres_url: str, postgres_proxy: PostgresProxy) -> str:
    """The database's address through the proxy."""
    return postgres_proxy.url(postgres_url)


@pytest.fixture
async def ledger(url: str, postgres_url: str) -> AsyncIterator[BalanceManager]:
    """A ledger behind the proxy; every invariant holds once the test has closed it."""
    async with open_ledger(url) as manager:
        yield manager
    await examine(postgres_url)


async def stored(url: str) -> dict[str, int]:
    """The position of each transaction, by id."""
    found = await rows(url, "SELECT id, position FROM transactions")
    return {row["id"]: row["position"] for row in found}


async def tell_the_truth(url: str, outcomes: list[Told]) -> None:
    """Every receipt's transaction is in the journal where it says, once, and nothing else is."""
    receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    assert await stored(url) == {r.transaction_id: r.position for r in receipts}


async def until(logs: list[Line], event: str) -> None:
    """Return once the ledger has said `event`."""
    async with asyncio.timeout(10):
        while not any(entry["event"] == event for entry in logs):
            await asyncio.sleep(0.005)


def batch(ledger: BalanceManager) -> list[Any]:
    """Accepted and refused changes, new users, a group: more than one way to go wrong."""
    return [
        deposit(ledger, "alice", "5"),
        withdrawal(ledger, "nobody"),
        transfer(ledger, "alice", "bob", "2"),
        [deposit(ledger, "carol"), withdrawal(ledger, "carol", "2")],
        [deposit(ledger, "dave"), transfer(ledger, "dave", "erin")],
        withdrawal(ledger, "bob", "2"),
    ]


REFUSED = "insufficient_funds"


@pytest.mark.parametrize("fault", CUTS)
async def test_cut_at_commit(
    fault: CommitFault, ledger: BalanceManager, postgres_proxy: PostgresProxy, postgres_url: str
) -> None:
    """COMMITTED_SURVIVES_FAULT: nobody notices, and nothing happens twice."""
    struck = postgres_proxy.at_next_commit(fault)
    async with asyncio.timeout(20):
        outcomes = await together(ledger, *batch(ledger))
    assert struck.is_set()
    assert told(outcomes) == [1, REFUSED, 2, REFUSED, 4, 5]
    assert len(await stored(postgres_url)) == 5
    assert told(await together(ledger, deposit(ledger, "alice"))) == [6]


async def test_answer_swallowed(
    url: str,
    postgres_proxy: PostgresProxy,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """COMMITTED_SURVIVES_FAULT: a connection that stays open and silent until it is given up."""
    # Else eight seconds and ten: giving it up takes as long as the whole patience there too.
    monkeypatch.setattr(database, "_WRITER_COMMAND_SECONDS", 1)
    async with open_ledger(url, patience=1) as ledger:
        struck = postgres_proxy.at_next_commit(CommitFault.SWALLOW_ANSWER)
        async with asyncio.timeout(25):
            outcomes = await together(ledger, *batch(ledger))
    assert struck.is_set()
    assert told(outcomes) == [1, REFUSED, 2, REFUSED, 4, 5]
    assert await examine(postgres_url) == 5


async def test_cut_again_and_again(
    ledger: BalanceManager, postgres_proxy: PostgresProxy, postgres_url: str
) -> None:
    """COMMITTED_SURVIVES_FAULT: faults of every kind between batches of one load."""
    outcomes: list[Told] = []

    async def load(user: str) -> None:
        for _ in range(15):
            outcomes.extend(await together(ledger, deposit(ledger, user, "3")))
            outcomes.extend(await together(ledger, withdrawal(ledger, user, "2")))

    loads = [asyncio.create_task(load(f"user-{number}")) for number in range(4)]
    for number in range(9):
        struck = postgres_proxy.at_next_commit(CUTS[number % 3])
        async with asyncio.timeout(20):
            while not struck.is_set() and not all(task.done() for task in loads):
                await asyncio.sleep(0.005)
    async with asyncio.timeout(30):
        await asyncio.gather(*loads)
    assert len(outcomes) == 120
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    await tell_the_truth(postgres_url, outcomes)


async def test_sessions_ended_by_an_administrator(
    ledger: BalanceManager, postgres_url: str
) -> None:
    """COMMITTED_SURVIVES_FAULT: whatever a session was doing as it was ended."""
    outcomes: list[Told] = []

    async def load(user: str) -> None:
        for _ in range(25):
            outcomes.extend(await together(ledger, deposit(ledger, user)))

    loads = [asyncio.create_task(load(f"user-{number}")) for number in range(4)]
    while not all(task.done() for task in loads):
        await execute(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'tallywire writer' AND datname = current_database()",
        )
        reached = len(outcomes)
        async with asyncio.timeout(20):
            while len(outcomes) < reached + 12 and not all(task.done() for task in loads):
                await asyncio.sleep(0.002)
    await asyncio.gather(*loads)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    await tell_the_truth(postgres_url, outcomes)


async def test_a_lost_session_that_is_still_committing(
    ledger: BalanceManager, postgres_proxy: PostgresProxy, postgres_url: str
) -> None:
    """
    COMMITTED_SURVIVES_FAULT: its COMMIT takes long and holds the clock: it is ended before the
    journal is looked into, and the change is repeated with the same id.
    """
    await execute(
        postgres_url,
        "CREATE TABLE orders (id int)",
        "CREATE SEQUENCE attempts",
        # A sequence is not rolled back: only the first COMMIT is slow.
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('attempts') = 1 THEN PERFORM pg_sleep(60); END IF; RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    order = text("INSERT INTO orders VALUES (1)")
    struck = postgres_proxy.at_next_commit(CommitFault.CUT_AFTER)
    started = time.monotonic()
    async with asyncio.timeout(20):
        receipt = await ledger.post(deposit(ledger, "alice", alongside=(order,)))
    assert struck.is_set()
    # Not after the slow COMMIT's own statement timeout.
    assert time.monotonic() - started < 5
    assert receipt.position == 1
    assert await rows(postgres_url, "SELECT id FROM orders") == [{"id": 1}]
    assert await rows(postgres_url, "SELECT last_value FROM attempts") == [{"last_value": 2}]


# A database that is away


async def test_away_for_a_while(
    ledger: BalanceManager, postgres_proxy: PostgresProxy, postgres_url: str
) -> None:
    """Shorter than the patience: callers wait, and are served."""
    await ledger.post(deposit(ledger, "alice"))
    postgres_proxy.refuse = True
    postgres_proxy.cut()
    with logged() as logs:
        waiting = asyncio.create_task(together(ledger, deposit(ledger, "alice")))
        await until(logs, "a commit is tried again")
        postgres_proxy.refuse = False
        async with asyncio.timeout(10):
            assert told(await waiting) == [2]


async def test_away_for_too_long(
    url: str, postgres_proxy: PostgresProxy, postgres_url: str
) -> None:
    """Longer than the patience: Overloaded, nothing changed; and then it works again."""
    async with open_ledger(url, patience=0.5) as ledger:
        await ledger.post(deposit(ledger, "alice"))
        postgres_proxy.refuse = True
        postgres_proxy.cut()
        before = counted("overloaded", "withdrawal")
        async with asyncio.timeout(10):
            outcomes = await together(
                ledger, deposit(ledger, "alice", key="k"), withdrawal(ledger, "nobody")
            )
            assert told(outcomes) == ["overloaded", "overloaded"]
            assert counted("overloaded", "withdrawal") == before + 1
            with pytest.raises(Overloaded) as refused:
                await ledger.post_many([deposit(ledger, "alice")] * 2, atomic=True)
            assert "item" not in refused.value.extra
            with pytest.raises(DatabaseUnavailable):
                await ledger.get_balance("alice")
        assert len(await stored(postgres_url)) == 1
        postgres_proxy.refuse = False
        receipt = await ledger.post(deposit(ledger, "alice", key="k"))
        assert (receipt.position, receipt.replayed) == (2, False)
        assert await ledger.get_balance("alice") == 2
    await examine(postgres_url)


@pytest.mark.parametrize(
    ("fault", "replayed"), [(CommitFault.CUT_BEFORE, False), (CommitFault.CUT_ANSWER, True)]
)
async def test_away_before_the_outcome_is_known(
    fault: CommitFault,
    replayed: bool,
    url: str,
    postgres_proxy: PostgresProxy,
    postgres_url: str,
) -> None:
    """COMMITTED_SURVIVES_FAULT: `outcome_unknown`, and the same key tells which it was."""
    async with open_ledger(url, patience=0.5) as ledger:
        await ledger.post(deposit(ledger, "alice"))
        struck = postgres_proxy.at_next_commit(fault)
        asking = asyncio.create_task(
            together(ledger, deposit(ledger, "alice", key="k"), deposit(ledger, "bob", key="l"))
        )
        await struck.wait()
        postgres_proxy.refuse = True
        before = counted("outcome_unknown")
        async with asyncio.timeout(10):
            assert [type(outcome) for outcome in await asking] == [OutcomeUnknown] * 2
        assert counted("outcome_unknown") == before + 2
        postgres_proxy.refuse = False
        again = await ledger.post(deposit(ledger, "alice", key="k"))
        assert (again.position, again.replayed) == (2, replayed)
        assert (await ledger.post(deposit(ledger, "bob", key="l"))).replayed is replayed
    assert await examine(postgres_url) == 3


# Sessions that hold what a batch needs


async def test_a_session_that_holds_the_clock(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the patience the waiting are refused; the ledger works once it is let go."""
    # Else four seconds on PostgreSQL, five on SQLite.
    monkeypatch.setitem(database._POSTGRES_WRITER, "lock_timeout", "700")
    monkeypatch.setattr(database, "_CONNECT_SECONDS", 1)
    async with open_ledger(database_url, patience=0.5) as ledger:
        async with holding_the_clock(database_url), asyncio.timeout(15):
            assert told(await together(ledger, deposit(ledger, "alice"))) == ["overloaded"]
        assert told(await together(ledger, deposit(ledger, "alice"))) == [1]
    await examine(database_url)


class FreezingClock(SystemClock):
    """Stops its thread, and with it the whole ledger, at the given reading."""

    def __init__(self) -> None:
        self.readings_left = -1
        self.frozen = threading.Event()
        self.thaw = threading.Event()

    def now(self) -> datetime:
        self.readings_left -= 1
        if self.readings_left == 0:
            self.frozen.set()
            assert self.thaw.wait(60)
        return datetime.now(UTC)


async def test_a_frozen_process_does_not_keep_the_clock(postgres_url: str) -> None:
    """
    COMMITTED_SURVIVES_FAULT: PostgreSQL ends a frozen session (idle_in_transaction_session_timeout)
    and others go on; thawed, the process repeats its batch, once.
    """
    clock = FreezingClock()
    results: list[Receipt] = []

    def use_and_freeze() -> None:
        with open_ledger_sync(
            postgres_url, clock=clock, new_id=uuid7_source(SystemClock())
        ) as manager:
            manager.update_balance("alice", "1", "deposit")
            # The first reading decides, the second is made under the clock's lock.
            clock.readings_left = 2
            results.append(manager.update_balance("alice", "2", "deposit"))

    frozen = asyncio.create_task(asyncio.to_thread(use_and_freeze))
    try:
        await asyncio.to_thread(clock.frozen.wait, 20)
        async with open_ledger(postgres_url) as other, asyncio.timeout(20):
            receipt = await other.post(deposit(other, "bob"))
        assert receipt.position == 2
    finally:
        clock.thaw.set()
        await frozen
    assert [receipt.position for receipt in results] == [3]
    assert await examine(postgres_url) == 3


async def test_every_writer_session_is_strict(postgres_url: str) -> None:
    """No session of a writer may wait, idle or run for long."""
    database = postgres_url.rpartition("/")[2]
    serializable = "SET default_transaction_isolation = 'serializable'"
    await execute(postgres_url, f'ALTER DATABASE "{database}" {serializable}')
    probe = text(
        "INSERT INTO orders SELECT name || '=' || setting FROM pg_settings WHERE name IN"
        " ('idle_in_transaction_session_timeout', 'statement_timeout', 'lock_timeout',"
        " 'synchronous_commit', 'transaction_isolation')"
    )
    await execute(postgres_url, "CREATE TABLE orders (setting text)")
    async with open_ledger(postgres_url) as ledger:
        await ledger.post(deposit(ledger, "alice", alongside=(probe,)))
    said = {row["setting"] for row in await rows(postgres_url, "SELECT setting FROM orders")}
    assert said == {
        "idle_in_transaction_session_timeout=5000",
        "statement_timeout=6000",
        "lock_timeout=4000",
        "synchronous_commit=on",
        # Whatever the database's own default is.
        "transaction_isolation=read committed",
    }
