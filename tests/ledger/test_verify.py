"""Verify: clean ledgers are clean, also under traffic; what it reports; the command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from tallywire.ledger import BalanceManager, SystemClock, TransactionType, open_ledger
from tallywire.ledger import report as report_module
from tallywire.ledger.database import Database
from tallywire.ledger.digest import GENESIS, entry_digest
from tallywire.ledger.errors import InvalidRequest, UnknownBook, UnknownUser
from tallywire.ledger.history import JournalReader
from tallywire.ledger.invariants import Discrepancy, Measure
from tallywire.ledger.journal import Journal
from tallywire.ledger.mirrors.check import MirrorCheck
from tallywire.ledger.proof import account_pages, journal_pages
from tallywire.ledger.proof.entry_walk import Cause, EntryWalk
from tallywire.ledger.proof.records import Moment
from tallywire.ledger.proof.runs import Asked
from tallywire.ledger.proof.stored import StoredEntry
from tallywire.ledger.proof.verify import Verifier
from tallywire.ledger.report import Report
from tallywire.ledger.transaction_types import TransactionTypes

from ..conftest import RunTallywire
from .raw import count, execute
from .written import ACCOUNTS, END, write_journal


@pytest.fixture
async def written(ledger: BalanceManager) -> BalanceManager:
    """An open ledger with a change of every kind."""
    await write_journal(ledger)
    return ledger


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages so small that every walk takes several."""
    monkeypatch.setattr(journal_pages, "TRANSACTIONS_PER_PAGE", 3)
    for name in ("ENTRIES", "ACCOUNTS", "SYSTEM_POSTINGS"):
        monkeypatch.setattr(account_pages, f"{name}_PER_PAGE", 3)


async def test_ledger_without_entries_is_clean(ledger: BalanceManager) -> None:
    assert await ledger.verify() == Report(0, 0, 0, 0, [])


async def test_every_kind_of_change_is_clean(written: BalanceManager, database_url: str) -> None:
    report = await written.verify()
    assert report == Report(END + ACCOUNTS, 0, 0, 0, [])
    assert await count(database_url, "accounts") == ACCOUNTS


async def test_a_report_is_read_by_name_too(ledger: BalanceManager) -> None:
    report = await ledger.verify()
    assert report["errors"] == report.errors == 0
    assert dict(report) == {"checked": 0, "synced": 0, "fixed": 0, "errors": 0, "details": []}
    with pytest.raises(KeyError):
        report["keys"]


async def test_pages_meet(small_pages: None, database_url: str) -> None:
    """Transactions, entries and accounts that lie on either side of a page's edge."""
    async with open_ledger(database_url) as manager:
        await write_journal(manager)
        seen: list[tuple[int, int]] = []
        report = await manager.verify(progress=lambda *now: seen.append(now))
    assert report.errors == 0
    assert seen == sorted(seen)
    assert len(seen) >= (END + ACCOUNTS) // 3
    assert seen[-1] == (END + ACCOUNTS, END + ACCOUNTS)
    await execute(database_url, "UPDATE accounts SET balance = balance + 1")
    async with open_ledger(database_url) as manager:
        report = await manager.verify()
    cached = {each.account for each in report.details if each.what == "cached balance"}
    assert len(cached) == ACCOUNTS


async def test_page_holds_one_transaction_larger_than_its_bytes(
    written: BalanceManager, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(journal_pages, "BYTES_PER_PAGE", 1)
    seen: list[int] = []
    async with open_ledger(database_url) as manager:
        report = await manager.verify(progress=lambda checked, _: seen.append(checked))
    assert (report.checked, report.errors) == (END + ACCOUNTS, 0)
    assert seen[:END] == list(range(1, END + 1))


async def test_one_user_or_book_alone(written: BalanceManager, database_url: str) -> None:
    assert (await written.verify(user_id="alice")).checked == 1
    assert (await written.verify(book="flats")).checked == 4
    assert (await written.verify(book="demo")).checked == 0
    await execute(database_url, "UPDATE accounts SET total_in = 0 WHERE owner = 'alice'")
    assert (await written.verify(user_id="bob")).errors == 0
    assert (await written.verify(book="flats")).errors == 0
    (found,) = (await written.verify(user_id="alice", book="main")).details
    assert (found.account, found.what) == ("main/alice/USDT", "cached total_in")
    assert (await written.verify(book="main")).errors == 1
    await execute(database_url, "UPDATE accounts SET total_in = 120000000 WHERE owner = 'alice'")


async def test_what_does_not_exist_cannot_be_verified(written: BalanceManager) -> None:
    with pytest.raises(UnknownUser, match="alcie"):
        await written.verify(user_id="alcie")
    with pytest.raises(UnknownBook):
        await written.verify(book="mian")
    with pytest.raises(InvalidRequest):
        await written.verify(logged_seals=["12"])


async def test_details_are_bounded_and_errors_are_not(
    written: BalanceManager, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "MOST_DETAILS", 2)
    await execute(database_url, "UPDATE accounts SET balance = balance + 1")
    report = await written.verify()
    assert len(report.details) == 2
    # Each account's row, and the trial balances of main/USDT, main/COIN and flats/EUR.
    assert report.errors == ACCOUNTS + 3
    await execute(database_url, "UPDATE accounts SET balance = balance - 1")


@pytest.mark.parametrize("counts", [True, False])
async def test_types_of_another_application_may_count_or_not(
    database_url: str, counts: bool
) -> None:
    kind = TransactionType(name="bonus", direction="up", counter="@house", counts=counts)
    async with open_ledger(database_url) as manager:
        manager.register_type(kind)
        await manager.update_balance("alice", "5", "bonus")
        assert (await manager.verify()).errors == 0
    async with open_ledger(database_url) as manager:
        assert (await manager.verify()).errors == 0


async def test_sums_beyond_64_bits_are_exact(ledger: BalanceManager, database_url: str) -> None:
    """A system account moves 2^63-1 to and fro: no partial sum is taken in 64 bits."""
    most = "9223372036854775807"
    for user in ("alice", "bob"):
        await ledger.update_balance(user, most, "deposit", asset="COIN")
        await ledger.update_balance(user, f"-{most}", "withdrawal", asset="COIN")
    assert (await ledger.verify()).errors == 0


class BusyDatabase(Database):
    """After each statement that is read here, `traffic` is committed elsewhere."""

    def __init__(self, url: str, traffic: Callable[[], Awaitable[None]]) -> None:
        super().__init__(url)
        self.traffic = traffic

    @asynccontextmanager
    async def read(self, *, any_text: bool = False) -> AsyncIterator[AsyncConnection]:
        async with super().read(any_text=any_text) as connection:
            yield cast(AsyncConnection, BusyConnection(connection, self.traffic))


class BusyConnection:
    """What a verification uses of a connection; see BusyDatabase."""

    def __init__(self, connection: AsyncConnection, traffic: Callable[[], Awaitable[None]]) -> None:
        self._connection = connection
        self.dialect = connection.dialect
        self._traffic = traffic

    async def execute(self, *args: Any) -> Any:
        result = await self._connection.execute(*args)
        await self._traffic()
        return result


@pytest.mark.parametrize(
    "database_url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True
)
async def test_whatever_is_committed_between_two_statements(
    small_pages: None, ledger: BalanceManager, database_url: str
) -> None:
    """Every account moves on after every statement, and new ones come."""
    await write_journal(ledger)
    turn = 0

    async def traffic() -> None:
        nonlocal turn
        turn += 1
        await ledger.transfer("bob", f"new-{turn}", "0.01")
        await asyncio.gather(
            ledger.recharge("alice", "0.01"),
            ledger.charge_service("bob", "0.01", "vps"),
            ledger.place_hold("bob", "0.01"),
            ledger.update_balance("flat-1", "0.01", "charge", asset="EUR", book="flats"),
            ledger.update_balance("flat-2", "-0.01", "payment", asset="EUR", book="flats"),
        )

    database = BusyDatabase(database_url, traffic)
    try:
        journal = Journal(database.dialect)
        reader = JournalReader(database, journal, SystemClock())
        report = await Verifier(
            database, journal, reader, MirrorCheck(database, journal), ledger.types
        ).verify()
    finally:
        await database.close()
    assert report == Report(END + ACCOUNTS, 0, 0, 0, [])
    assert turn > 20


class Entries:
    """Entries of one account as a faulty ledger would have written them, hashed like any."""

    def __init__(self) -> None:
        self.walk = EntryWalk(Measure("main/alice/COIN", 1, 0), TransactionTypes())
        self.last = StoredEntry(0, 1, 0, 0, 0, 0, 0, 0, 0, 0, None, None, "active", GENESIS, None)

    def add(self, kind: str, amount: int, held_change: int = 0, **state: Any) -> list[Discrepancy]:
        """What is wrong with a further entry, its sums right and `state` put over it."""
        before = self.last
        seq, balance = (before.seq or 0) + 1, (before.balance or 0) + amount
        held = (before.held or 0) + held_change
        id_ = f"t-{seq}"
        digest = entry_digest(
            before.digest or "", "main/alice/COIN", seq, amount, held_change, balance, held, id_
        )
        self.last = before._replace(
            position=seq,
            amount=amount,
            held_change=held_change,
            seq=seq,
            balance=balance,
            held=held,
            digest=digest,
            **state,
        )
        return self.walk.entry(self.last, Cause(id_, kind))


def test_debit_below_the_floor_is_an_overdraft() -> None:
    entries = Entries()
    assert entries.add("adjustment", 10) == []
    (found,) = entries.add("adjustment", -15)
    assert (found.invariant, found.position, found.difference) == ("OVERDRAFT_FLOOR", 2, "-5")


def test_hold_below_the_floor_is_an_overdraft() -> None:
    entries = Entries()
    assert entries.add("adjustment", 10) == []
    (found,) = entries.add("adjustment", 0, 11)
    assert (found.invariant, found.stored, found.actual) == ("OVERDRAFT_FLOOR", "-1", "0")


def test_only_what_lowers_available_can_overdraw() -> None:
    """A floor raised above the balance, and credits below it, are as they should be."""
    entries = Entries()
    assert entries.add("adjustment", 10) == []
    assert entries.add("account_changed", 0, floor=50) == []
    assert entries.add("adjustment", 5) == []
    (found,) = entries.add("adjustment", -1)
    assert found.invariant == "OVERDRAFT_FLOOR"
    assert entries.add("account_changed", 0, floor=None) == []
    assert entries.add("adjustment", -1000) == []


def test_less_than_nothing_held_breaks_hold_accounting() -> None:
    (found,) = Entries().add("adjustment", 0, -1)
    assert (found.invariant, found.stored) == ("HOLD_ACCOUNTING", "-1")


def test_command_says_that_all_is_well(database_url: str, tallywire: RunTallywire) -> None:
    asyncio.run(_write(database_url))
    done = tallywire("verify", database_url=database_url)
    assert (done.returncode, done.stdout) == (0, "")
    done = tallywire("verify", "--json", "--book", "flats", database_url=database_url)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "checked": 4,
        "synced": 0,
        "fixed": 0,
        "errors": 0,
        "details": [],
    }


def test_command_names_what_is_wrong(database_url: str, tallywire: RunTallywire) -> None:
    asyncio.run(_write(database_url))
    asyncio.run(
        execute(
            database_url,
            "UPDATE accounts SET balance = balance + 500000, floor = NULL WHERE owner = 'alice'",
        )
    )
    done = tallywire("verify", database_url=database_url)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "MISMATCH SNAPSHOT=REPLAY main/alice/USDT 24.500000 24.000000 0.500000",
        "MISMATCH SNAPSHOT=REPLAY main/alice/USDT - -10.000000 -",
        "MISMATCH CONSERVATION - 0.500000 0.000000 0.500000",
    ]
    done = tallywire("verify", "--json", "--user-id", "alice", database_url=database_url)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["checked"], report["errors"]) == (1, 2)
    assert report["details"][0] == {
        "invariant": "SNAPSHOT=REPLAY",
        "what": "cached balance",
        "account": "main/alice/USDT",
        "position": None,
        "stored": "24.500000",
        "actual": "24.000000",
        "difference": "0.500000",
        "fixed": False,
    }
    done = tallywire("verify", "--user-id", "bob", database_url=database_url)
    assert (done.returncode, done.stdout) == (0, "")


async def test_command_lists_what_was_verified_and_found(
    database_url: str, tallywire: RunTallywire
) -> None:
    async with open_ledger(database_url) as manager:
        await manager.update_balance("alice", "1", "deposit")
        await execute(database_url, "UPDATE accounts SET balance = balance + 1 WHERE seq > 0")
        await manager.verify(user_id="alice", actor="root")
        await manager.proof.verify(
            Asked(
                fix=True,
                accounts_only=True,
                actor="schedule",
                moment=Moment("2026-12-01T02:00:00.000000Z", 2),
            )
        )
    listed = tallywire("verifications", database_url=database_url)
    assert (listed.returncode, listed.stderr) == (0, "")
    lines = [line.split("\t")[1:] for line in listed.stdout.splitlines()]
    assert lines == [
        [
            *("rebuild", "done", "checked 2, put right 1, discrepancies 0"),
            *("schedule", "due 2026-12-01T02:00:00.000000Z", "attempt 2"),
        ],
        ["verify", "user_id=alice", "done", "checked 1, put right 0, discrepancies 1", "root"],
    ]
    newest = tallywire("verifications", "--limit", "1", "--json", database_url=database_url)
    (line,) = map(json.loads, newest.stdout.splitlines())
    assert (line["kind"], line["attempt"], line["report"]["fixed"]) == ("rebuild", 2, 1)


@pytest.mark.parametrize("arguments", [["--user-id", "nobody"], ["--book", "nowhere"]])
def test_command_that_cannot_run(
    sqlite_url: str, tallywire: RunTallywire, arguments: Sequence[str]
) -> None:
    done = tallywire("verify", *arguments, database_url=sqlite_url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")


async def _write(url: str) -> None:
    async with open_ledger(url) as manager:
        await write_journal(manager)
