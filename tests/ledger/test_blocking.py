"""The blocking ledger: threads, forks, exits; and that it has every method of the other."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text
from tallywire.ledger import BalanceManager, Batch, TransactionType, Wallet, open_ledger_sync
from tallywire.ledger.blocking import SyncBalanceManager, SyncWallet
from tallywire.ledger.errors import AlongsideFailed, InsufficientFunds, Overloaded, SchemaMismatch

from .oracle import examine
from .raw import execute

# What a blocking ledger reaches through `run`, and what its own `close` does.
ELSEWHERE = {"access", "administration", "leases", "reader", "mirrors"}


@pytest.fixture
def ledger(database_url: str) -> Iterator[SyncBalanceManager]:
    """An open ledger on each database; every invariant holds once the test has closed it."""
    with open_ledger_sync(database_url) as manager:
        yield manager
    asyncio.run(examine(database_url))


@pytest.mark.parametrize(
    ("blocking", "awaited"), [(SyncBalanceManager, BalanceManager), (SyncWallet, Wallet)]
)
def test_every_method_is_there(blocking: type, awaited: type) -> None:
    """A method that is missing here wants a line in tallywire/ledger/blocking.py."""
    wanted = {name for name in vars(awaited) if not name.startswith("_")}
    assert wanted - vars(blocking).keys() == set()
    for name in wanted:
        assert not inspect.iscoroutinefunction(vars(blocking)[name]), name


def test_the_whole_door(ledger: SyncBalanceManager) -> None:
    ledger.register_type(TransactionType(name="prize", direction="up", counter="@house"))
    receipt = ledger.update_balance("alice", "5", "prize", actor="me", idempotency_key="k")
    assert ledger.update_balance("alice", "5", "prize", actor="me", idempotency_key="k").replayed
    ledger.transfer("alice", "bob", "1")
    assert [update["position"] for update in ledger.history("alice")] == [2, 1]
    assert receipt.position == 1
    assert "prize" in ledger.types
    ledger.run(
        lambda manager: manager.administration.put_book("game", {"side": "credit"}, actor="me")
    )
    assert ledger.catalog.books["game"].side == "credit"
    wallet = ledger.wallet("alice", book="game", asset="USD")
    assert (wallet.user_id, wallet.book, wallet.asset) == ("alice", "game", "USD")
    assert wallet.set_balance("7.50", "counted").position == 3
    assert wallet.get_balance() == Decimal("7.50")
    assert ledger.prepare(lambda catalog: catalog.asset("USD").scale) == 2


def test_refusals_are_the_same_exceptions(ledger: SyncBalanceManager) -> None:
    with pytest.raises(InsufficientFunds) as refused:
        ledger.wallet("alice").subtract_from_balance("1", "spent")
    assert refused.value.extra["required"] == "1.000000"
    with pytest.raises(AlongsideFailed) as failed:
        ledger.add_to_balance("alice", "1", "x", alongside=[text("INSERT INTO nowhere VALUES (1)")])
    assert failed.value.__cause__ is not None
    with pytest.raises(TypeError):
        ledger.add_to_balance("alice", "1", "x", colour="red")  # type: ignore[call-arg]


def test_what_cannot_be_opened_says_so(sqlite_url: str) -> None:
    asyncio.run(execute(sqlite_url, "UPDATE tallywire_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch):
        open_ledger_sync(sqlite_url)
    assert "tallywire ledger" not in {thread.name for thread in threading.enumerate()}


def test_from_many_threads(database_url: str) -> None:
    """COMMITTED_SURVIVES_FAULT needs no loop of the caller's: each thread gets its own receipt."""
    with open_ledger_sync(database_url, default_asset="COIN") as manager:

        def work(number: int) -> list[int]:
            wallet = manager.wallet(f"user-{number % 3}")
            return [wallet.add_to_balance("2", "prize").position for _ in range(10)]

        with ThreadPoolExecutor(8) as threads:
            positions = [p for done in threads.map(work, range(8)) for p in done]
        assert sorted(positions) == list(range(1, 81))
        assert manager.get_balance("user-0") == Decimal(60)
        assert manager.catalog.books["main"].side == "credit"
        with pytest.raises(InsufficientFunds):
            manager.wallet("user-1").subtract_from_balance("61", "too much")
    assert asyncio.run(examine(database_url)) == 80


def test_callbacks_block_and_use_the_ledger(ledger: SyncBalanceManager) -> None:
    seen: list[tuple[int, Decimal]] = []
    second = threading.Event()

    def on_commit(batch: Batch) -> None:
        seen.append((batch.first, ledger.get_balance("alice")))
        if batch.first == 2:
            second.set()

    ledger.on_commit(on_commit)
    ledger.add_to_balance("alice", "1", "x")
    ledger.add_to_balance("alice", "1", "x")
    assert second.wait(10)
    assert [position for position, _ in seen] == [1, 2]
    assert seen[-1][1] == 2


def test_a_call_that_would_wait_for_itself(ledger: SyncBalanceManager) -> None:
    async def inside(_: BalanceManager) -> None:
        ledger.get_balance("alice")

    with pytest.raises(RuntimeError, match="own thread"):
        ledger.run(inside)


def test_closing_waits_for_what_was_asked(database_url: str) -> None:
    """COMMITTED_SURVIVES_FAULT: whoever asked before gets an answer, whoever asks later too."""
    ledger = open_ledger_sync(database_url)
    go = threading.Barrier(9)

    def spend(number: int) -> int:
        go.wait()
        done = 0
        try:
            while True:
                ledger.add_to_balance(f"user-{number}", "1", "prize")
                done += 1
        except Overloaded as refused:
            assert "nothing was changed" in str(refused)
        return done

    with ThreadPoolExecutor(8) as threads:
        spending = [threads.submit(spend, number) for number in range(8)]
        go.wait()
        while not ledger.get_balance("user-0"):
            pass
        ledger.close()
        ledger.close()
        done = [each.result() for each in spending]
    with open_ledger_sync(database_url) as again:
        assert [again.get_balance(f"user-{n}") for n in range(8)] == done
    with pytest.raises(Overloaded):
        ledger.get_balance("user-0")


def _run(program: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_program_that_never_closes_it_ends(empty_database_url: str, tmp_path: Path) -> None:
    program = """
import sys
from tallywire import open_ledger_sync

ledger = open_ledger_sync(sys.argv[1])
ledger.add_to_balance("alice", "1", "prize")
print(ledger.get_balance("alice"))
"""
    assert _run(program, empty_database_url, cwd=tmp_path) == "1.000000\n"


def test_a_forked_child_is_told_and_ends(empty_database_url: str, tmp_path: Path) -> None:
    """It has no thread that could answer; its end closes nothing of its parent's."""
    program = """
import os, sys
from tallywire import open_ledger_sync

ledger = open_ledger_sync(sys.argv[1])
ledger.add_to_balance("alice", "1", "prize")
child = os.fork()
if child == 0:
    try:
        ledger.get_balance("alice")
    except RuntimeError as refused:
        print(refused)
else:
    assert os.waitpid(child, 0)[1] == 0
    print(ledger.add_to_balance("alice", "1", "prize").position)
"""
    lines = _run(program, empty_database_url, cwd=tmp_path).splitlines()
    assert lines == ["this ledger was opened before a fork: each process opens its own", "2"]


def test_a_host_keeps_its_logging_signals_and_output(empty_sqlite_url: str, tmp_path: Path) -> None:
    """Nothing is printed, no handler is added, no signal is taken."""
    program = """
import logging, signal, sys
from tallywire import open_ledger_sync


before = [signal.getsignal(number) for number in signal.valid_signals()]
with open_ledger_sync(sys.argv[1]) as ledger:
    ledger.add_to_balance("alice", "1", "prize")
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
assert logging.getLogger().handlers == [] and logging.getLogger().level == logging.WARNING
assert logging.getLogger("tallywire").handlers == []
assert logging.getLogger("alembic").level == logging.NOTSET
"""
    assert _run(program, empty_sqlite_url, cwd=tmp_path) == ""


def test_importing_is_cheap(tmp_path: Path) -> None:
    """What takes long to import is imported by who opens a ledger."""
    program = """
import sys
import tallywire

tallywire.InsufficientFunds
print(sorted({"sqlalchemy", "alembic", "asyncpg", "aiosqlite"} & sys.modules.keys()))
"""
    assert _run(program, cwd=tmp_path) == "[]\n"
