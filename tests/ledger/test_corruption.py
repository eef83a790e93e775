"""Each fault put into a database by hand is found by verify, under its own names and no others."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tallywire.ledger import SystemClock, TransactionTypes, open_ledger
from tallywire.ledger.database import Database
from tallywire.ledger.digest import GENESIS, batch_seal, content_hash
from tallywire.ledger.history import JournalReader
from tallywire.ledger.invariants import Discrepancy
from tallywire.ledger.journal import Journal
from tallywire.ledger.mirrors.check import MirrorCheck
from tallywire.ledger.proof.journal_walk import LoggedSeal
from tallywire.ledger.proof.verify import Verifier

from ..services.postgres import PostgresServer
from .conftest import ManualClock
from .raw import execute, rows
from .written import END, LAST, write_journal

CONSERVATION = "CONSERVATION"
SNAPSHOT = "SNAPSHOT=REPLAY"
GAP = "SEQUENCE_GAP"
CHAIN = "HASH_CHAIN"
SEAL = "SEAL"
FLOOR = "OVERDRAFT_FLOOR"
HOLDS = "HOLD_ACCOUNTING"
ONCE = "REVERT_ONCE"
SCREEN = "SCREEN=LEDGER"

ALICE, BOB = "main/alice/USDT", "main/bob/USDT"
DORA, EMIL = "main/dora/USDT", "main/emil/USDT"
WORLD, HOUSE = "main/@world/USDT", "main/@house/USDT"
NOBODY = "-"

APPEND_ONLY = ("transactions", "postings", "seals")

NOW = "2100-03-01T12:00:00.000000Z"
THEN = "2020-01-01T00:00:00.000000Z"


@pytest.fixture(scope="module")
def written_sqlite(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Path:
    """A SQLite file with a journal of every kind of change, open to any edit."""
    file = tmp_path_factory.mktemp("written") / "tallywire.db"
    shutil.copyfile(_sqlite_template, file)
    url = f"sqlite+aiosqlite:///{file}"
    asyncio.run(_write(url))
    asyncio.run(
        execute(
            url,
            *(f"DROP TRIGGER {t}_no_{act}" for t in APPEND_ONLY for act in ("update", "delete")),
        )
    )
    return file


@pytest.fixture(scope="module")
def written_postgres(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """A PostgreSQL database with the same journal; its name."""
    name = postgres_server.create_database(_postgres_template)
    url = postgres_server.url(name)
    asyncio.run(_write(url))
    asyncio.run(execute(url, *(f"DROP TRIGGER {t}_append_only ON {t}" for t in APPEND_ONLY)))
    yield name
    postgres_server.drop_database(name)


async def _write(url: str) -> None:
    async with open_ledger(url, clock=ManualClock()) as manager:
        await write_journal(manager)


@pytest.fixture(params=["sqlite", "postgresql"])
def written_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh copy of the journal, on each database."""
    if request.param == "sqlite":
        file = tmp_path / "tallywire.db"
        shutil.copyfile(request.getfixturevalue("written_sqlite"), file)
        yield f"sqlite+aiosqlite:///{file}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        name = server.create_database(request.getfixturevalue("written_postgres"))
        yield server.url(name)
        server.drop_database(name)


async def findings(url: str, *logged: LoggedSeal) -> list[Discrepancy]:
    """What verify finds in the database at `url`, where these seals were logged."""
    database = Database(url)
    try:
        journal = Journal(database.dialect)
        reader = JournalReader(database, journal, SystemClock())
        report = await Verifier(
            database, journal, reader, MirrorCheck(database, journal), TransactionTypes()
        ).verify(logged=logged)
    finally:
        await database.close()
    assert report.errors == len(report.details)
    return report.details


class Fault(NamedTuple):
    """An edit, the (invariant, account) pairs that it breaks, and one finding to the letter."""

    name: str
    statements: tuple[str, ...]
    broken: set[tuple[str, str]]
    # invariant, account, position, stored, actual, difference
    exactly: tuple[str, str, int | None, str | None, str | None, str | None] | None = None


def account(assignment: str, name: str = ALICE) -> tuple[str]:
    """Edit a cached row."""
    return (f"UPDATE accounts SET {assignment} WHERE name = '{name}'",)


def posting(assignment: str, position: int, name: str) -> str:
    """Edit a posting."""
    return (
        f"UPDATE postings SET {assignment} WHERE position = {position} AND account_id = {id_(name)}"
    )


def transaction(assignment: str, position: int = 1) -> tuple[str]:
    """Edit a transaction."""
    return (f"UPDATE transactions SET {assignment} WHERE position = {position}",)


def id_(name: str) -> str:
    """The id of an account, as SQL."""
    return f"(SELECT id FROM accounts WHERE name = '{name}')"


def at(position: int) -> str:
    """The id of the transaction at `position`, as SQL."""
    return f"(SELECT id FROM transactions WHERE position = {position})"


def remove(position: int) -> tuple[str, str]:
    """Take a whole transaction out."""
    return (
        f"DELETE FROM postings WHERE position = {position}",
        f"DELETE FROM transactions WHERE position = {position}",
    )


def as_entries_say() -> tuple[str, ...]:
    """Make every cached row what its entries give, and forget accounts without any."""
    last = "FROM postings p WHERE p.account_id = accounts.id ORDER BY p.position DESC LIMIT 1"
    totals = ("total_in", "total_out", "total_earned")
    columns = ("balance", "held", *totals, "floor", "suspend_below", "alert_below")
    state = ", ".join(
        f"{column} = (SELECT p.{column} {last})" for column in (*columns, "status", "seq", "digest")
    )
    total = "SELECT COALESCE(SUM(amount), 0) FROM postings p WHERE p.account_id = accounts.id"
    return (
        "DELETE FROM accounts WHERE id NOT IN (SELECT account_id FROM postings)",
        f"UPDATE accounts SET {state} WHERE owner NOT LIKE '@%'",
        f"UPDATE accounts SET balance = ({total}) WHERE owner LIKE '@%'",
    )


CACHED = [
    Fault(
        "cached balance",
        account("balance = balance + 1"),
        {(SNAPSHOT, ALICE), (CONSERVATION, NOBODY)},
        (SNAPSHOT, ALICE, None, "24.000001", "24.000000", "0.000001"),
    ),
    Fault(
        "cached balance of a debtor",
        account("balance = balance - 5", "flats/flat-2/EUR"),
        {(SNAPSHOT, "flats/flat-2/EUR"), (CONSERVATION, NOBODY)},
        (SNAPSHOT, "flats/flat-2/EUR", None, "6.72", "6.67", "0.05"),
    ),
    Fault(
        "cached held",
        account("held = 0", BOB),
        {(SNAPSHOT, BOB), (HOLDS, BOB)},
        (HOLDS, BOB, None, "0.000000", "20.000000", "-20.000000"),
    ),
    Fault(
        "cached total_in",
        account("total_in = 0"),
        {(SNAPSHOT, ALICE)},
        (SNAPSHOT, ALICE, None, "0.000000", "120.000000", "-120.000000"),
    ),
    Fault(
        "cached total_earned",
        account("total_earned = 1"),
        {(SNAPSHOT, ALICE)},
        (SNAPSHOT, ALICE, None, "0.000001", None, None),
    ),
    Fault("cached total_out", account("total_out = total_out - 1"), {(SNAPSHOT, ALICE)}),
    Fault(
        "cached seq",
        account("seq = seq + 1"),
        {(SNAPSHOT, ALICE)},
        (SNAPSHOT, ALICE, None, "6", "5", "1"),
    ),
    Fault("cached digest", account(f"digest = '{'ab' * 32}'"), {(SNAPSHOT, ALICE)}),
    Fault(
        "cached floor",
        account("floor = NULL"),
        {(SNAPSHOT, ALICE)},
        (SNAPSHOT, ALICE, None, None, "-10.000000", None),
    ),
    Fault("cached suspend_below", account("suspend_below = 1"), {(SNAPSHOT, ALICE)}),
    Fault("cached alert_below", account("alert_below = 1"), {(SNAPSHOT, ALICE)}),
    Fault(
        "cached status",
        account("status = 'frozen'"),
        {(SNAPSHOT, ALICE)},
        (SNAPSHOT, ALICE, None, "frozen", "active", None),
    ),
    Fault(
        "cached balance of a system account",
        account("balance = balance + 1", WORLD),
        {(SNAPSHOT, WORLD), (CONSERVATION, NOBODY)},
        (SNAPSHOT, WORLD, None, "-249.999999", "-250.000000", "0.000001"),
    ),
    Fault("status of a system account", account("status = 'closed'", WORLD), {(SNAPSHOT, WORLD)}),
    Fault("account name", account("name = 'main/eve/USDT'"), {(SNAPSHOT, ALICE)}),
    Fault(
        "account owner",
        account("owner = 'eve'"),
        {
            (SCREEN, ALICE),
            (SCREEN, NOBODY),
            (SNAPSHOT, "main/eve/USDT"),
            (CHAIN, "main/eve/USDT"),
            (SEAL, NOBODY),
        },
    ),
    Fault(
        "account book",
        account("book = 'nowhere'"),
        {
            (SCREEN, ALICE),
            (SCREEN, "nowhere/alice/USDT"),
            (SNAPSHOT, "nowhere/alice/USDT"),
            (CONSERVATION, NOBODY),
            (SEAL, NOBODY),
        },
    ),
    Fault(
        "account deleted",
        (f"DELETE FROM accounts WHERE name = '{ALICE}'",),
        {(SNAPSHOT, NOBODY), (CONSERVATION, NOBODY)},
        (CONSERVATION, NOBODY, None, "-24.000000", "0.000000", "-24.000000"),
    ),
    Fault(
        "account copied",
        (
            "INSERT INTO accounts (name, book, owner, asset, balance, held, total_in, total_out,"
            " status, seq, digest) SELECT 'main/alice/USDT2', book, owner, asset, balance, held,"
            f" total_in, total_out, status, seq, digest FROM accounts WHERE name = '{ALICE}'",
        ),
        {(SNAPSHOT, ALICE), (CONSERVATION, NOBODY)},
        (SNAPSHOT, ALICE, None, "main/alice/USDT2", ALICE, None),
    ),
    Fault(
        "account never used",
        (
            "INSERT INTO accounts (name, book, owner, asset, balance, held, total_in, total_out,"
            " status, seq, digest) VALUES ('main/eve/USDT', 'main', 'eve', 'USDT', 0, 0, 0, 0,"
            f" 'active', 0, '{'0' * 64}')",
        ),
        {(SNAPSHOT, "main/eve/USDT")},
    ),
]

POSTINGS = [
    Fault(
        "amount of a user's posting",
        (posting("amount = amount - 1000000", 3, ALICE),),
        {
            (SCREEN, ALICE),
            (CONSERVATION, NOBODY),
            (SEAL, NOBODY),
            (SNAPSHOT, ALICE),
            (CHAIN, ALICE),
        },
        (CONSERVATION, NOBODY, 3, "-1.000000", "0.000000", "-1.000000"),
    ),
    Fault(
        "amount of a system account's posting",
        (posting("amount = amount - 1", 1, WORLD),),
        {(CONSERVATION, NOBODY), (SEAL, NOBODY), (SNAPSHOT, WORLD)},
        (SNAPSHOT, WORLD, None, "-250.000000", "-250.000001", "0.000001"),
    ),
    Fault(
        "amounts of both legs",
        (posting("amount = amount - 1", 3, ALICE), posting("amount = amount + 1", 3, BOB)),
        {
            (SCREEN, ALICE),
            (SCREEN, BOB),
            (SEAL, NOBODY),
            (SNAPSHOT, ALICE),
            (CHAIN, ALICE),
            (SNAPSHOT, BOB),
            (CHAIN, BOB),
        },
        (SNAPSHOT, BOB, 3, "80.000000", "80.000001", "-0.000001"),
    ),
    Fault(
        "posting deleted",
        (f"DELETE FROM postings WHERE position = 3 AND account_id = {id_(ALICE)}",),
        {
            (SCREEN, ALICE),
            (SCREEN, NOBODY),
            (CONSERVATION, NOBODY),
            (SEAL, NOBODY),
            (GAP, ALICE),
            (CHAIN, ALICE),
            (SNAPSHOT, ALICE),
        },
        (GAP, ALICE, 4, "3", "2", "1"),
    ),
    Fault(
        "last posting of an account deleted",
        (f"DELETE FROM postings WHERE position = {LAST} AND account_id = {id_(ALICE)}",),
        {
            (SCREEN, ALICE),
            (SCREEN, NOBODY),
            (CONSERVATION, NOBODY),
            (SEAL, NOBODY),
            (SNAPSHOT, ALICE),
        },
        (SNAPSHOT, ALICE, None, "24.000000", "4.000000", "20.000000"),
    ),
    Fault(
        "posting of a system account inserted",
        (
            "INSERT INTO postings (position, account_id, amount, held_change)"
            f" VALUES (4, {id_(WORLD)}, 500, 0)",
        ),
        {(CONSERVATION, NOBODY), (SEAL, NOBODY), (SNAPSHOT, WORLD)},
    ),
    Fault(
        "posting of a user inserted",
        (
            "INSERT INTO postings (position, account_id, amount, held_change)"
            f" VALUES (5, {id_(ALICE)}, 500, 0)",
        ),
        {(SCREEN, NOBODY), (CONSERVATION, NOBODY), (SEAL, NOBODY), (SNAPSHOT, ALICE)},
    ),
    Fault(
        "posting inserted past the end",
        (
            "INSERT INTO postings (position, account_id, amount, held_change)"
            f" VALUES ({END + 1}, {id_(WORLD)}, 500, 0)",
        ),
        {(GAP, NOBODY), (SNAPSHOT, WORLD)},
        (GAP, NOBODY, None, "25", "24", "1"),
    ),
    Fault(
        "posting inserted of no account",
        ("INSERT INTO postings (position, account_id, amount, held_change) VALUES (4, 999, 0, 0)",),
        {(SNAPSHOT, NOBODY)},
        (SNAPSHOT, NOBODY, 4, None, "999", None),
    ),
    Fault(
        "posting moved to another system account",
        (posting(f"account_id = {id_(HOUSE)}", 1, WORLD),),
        {(SEAL, NOBODY), (SNAPSHOT, WORLD), (SNAPSHOT, HOUSE)},
    ),
    Fault(
        "entries of two accounts swapped",
        (
            posting("account_id = -1", 3, ALICE),
            posting(f"account_id = {id_(ALICE)}", 3, BOB),
            f"UPDATE postings SET account_id = {id_(BOB)} WHERE account_id = -1",
        ),
        {
            (SEAL, NOBODY),
            *(
                (invariant, name)
                for invariant in (CHAIN, SNAPSHOT, SCREEN)
                for name in (ALICE, BOB)
            ),
        },
    ),
    Fault(
        "floor of an entry",
        (posting("floor = 5000000", 8, ALICE),),
        {(SCREEN, ALICE), (SEAL, NOBODY), (FLOOR, ALICE)},
        (FLOOR, ALICE, 8, "4.000000", "5.000000", "-1.000000"),
    ),
    Fault(
        "status of an entry",
        (posting("status = 'active'", 8, ALICE),),
        {(SCREEN, ALICE), (SEAL, NOBODY)},
    ),
    Fault(
        "held of an entry",
        (posting("held = held + 1", 6, BOB),),
        {(SCREEN, BOB), (SEAL, NOBODY), (SNAPSHOT, BOB), (HOLDS, BOB), (CHAIN, BOB)},
    ),
    Fault(
        "held_change of an entry",
        (posting("held_change = 0", 6, BOB),),
        {(SCREEN, BOB), (SEAL, NOBODY), (SNAPSHOT, BOB), (HOLDS, BOB), (CHAIN, BOB)},
        (HOLDS, BOB, 6, "20.000000", "0.000000", "20.000000"),
    ),
    Fault(
        "totals of an entry",
        (posting("total_in = 0", 1, ALICE),),
        {(SCREEN, ALICE), (SEAL, NOBODY), (SNAPSHOT, ALICE)},
    ),
    Fault(
        "total_earned of an entry",
        (posting("total_earned = 5", LAST, ALICE), *account("total_earned = 5")),
        {(SCREEN, ALICE), (SEAL, NOBODY), (SNAPSHOT, ALICE)},
        (SNAPSHOT, ALICE, LAST, "0.000005", None, None),
    ),
    Fault(
        "told to have earned what was not",
        transaction(
            """encoded = replace(encoded, '"total_in"', '"total_earned":"9.000000","total_in"')"""
        ),
        {(SCREEN, ALICE), (SEAL, NOBODY)},
        (SCREEN, ALICE, 1, "9.000000", None, None),
    ),
    Fault(
        "digest of an entry",
        (posting(f"digest = '{'ab' * 32}'", 1, ALICE),),
        {(SCREEN, ALICE), (SEAL, NOBODY), (CHAIN, ALICE)},
    ),
    Fault(
        "digest of an entry and of the row",
        (posting(f"digest = '{'ab' * 32}'", LAST, ALICE), *account(f"digest = '{'ab' * 32}'")),
        {(SCREEN, ALICE), (SEAL, NOBODY), (CHAIN, ALICE)},
    ),
    Fault(
        "seq of an entry",
        (posting("seq = 2", 1, ALICE),),
        {(SCREEN, ALICE), (SEAL, NOBODY), (GAP, ALICE), (CHAIN, ALICE)},
    ),
]

# What is put into each column of a transaction, and how the update then differs from it.
TEXTS = {
    "subject": ("bob", 'users told of it: ["alice"] ["alice","bob"]'),
    "description": ("Another", "update of alice: description: Bank deposit Another"),
    "reference": ("r-1", "update of alice: reference: None r-1"),
    "metadata": ("{}", 'update of alice: metadata: {"via":"bank"} {}'),
    "internal": ("1", "update of alice: internal: None 1"),
    "actor": ("eve", "update of alice: actor: system eve"),
    "actor_role": ("superadmin", "update of alice: actor_role: system superadmin"),
    "effective_at": (THEN, f"update of alice: effective_at: {NOW} {THEN}"),
    "created_at": (THEN, f"update of alice: timestamp: {NOW} {THEN}"),
    "key_namespace": ("request", None),
    "key_principal": ("eve", None),
    "key": ("k9", "update of alice: idempotency_key: None k9"),
    "fingerprint": ("f", None),
    "content_hash": ("ab" * 32, None),
}

TRANSACTIONS = [
    Fault(
        "transaction that says it is a reversal",
        transaction("reverses = 'b'"),
        {(SEAL, NOBODY), (SCREEN, NOBODY), (ONCE, NOBODY)},
        (ONCE, NOBODY, 1, None, "b", None),
    ),
    Fault(
        "updates that are none",
        transaction("encoded = '[]'"),
        {(SEAL, NOBODY), (SCREEN, NOBODY)},
    ),
    Fault(
        "amount that an update tells",
        transaction('encoded = replace(encoded, \'"balance":"100.0\', \'"balance":"900.0\')'),
        {(SEAL, NOBODY), (SCREEN, ALICE)},
        (SCREEN, ALICE, 1, "900.000000", "100.000000", "800.000000"),
    ),
    Fault(
        "user whom an update tells",
        transaction("encoded = replace(encoded, '[\"alice\"]', '[\"eve\"]')"),
        {(SEAL, NOBODY), (SCREEN, NOBODY), (SCREEN, ALICE)},
    ),
    Fault(
        "type of a transaction",
        transaction("type = 'adjustment'"),
        {(SCREEN, NOBODY), (SEAL, NOBODY), (SNAPSHOT, ALICE)},
        (SNAPSHOT, ALICE, 1, "100.000000", "0.000000", "100.000000"),
    ),
    Fault(
        "id of a transaction",
        transaction("id = '01900000-0000-7000-8000-000000000000'"),
        {(SCREEN, NOBODY), (SEAL, NOBODY), (CHAIN, ALICE)},
    ),
    Fault(
        "id of a transaction that no ledger writes",
        transaction("id = 'é'"),
        {(SCREEN, NOBODY), (SEAL, NOBODY), (CHAIN, ALICE)},
    ),
    Fault(
        "hole",
        remove(3),
        {
            (GAP, NOBODY),
            (SEAL, NOBODY),
            *((invariant, name) for invariant in (GAP, CHAIN, SNAPSHOT) for name in (ALICE, BOB)),
        },
        (GAP, NOBODY, 3, "4", "3", "1"),
    ),
    Fault(
        "transaction without its postings",
        remove(3)[:1],
        {
            (SCREEN, ALICE),
            (SCREEN, BOB),
            (SCREEN, NOBODY),
            (SEAL, NOBODY),
            *((invariant, name) for invariant in (GAP, CHAIN, SNAPSHOT) for name in (ALICE, BOB)),
        },
    ),
    Fault("postings without their transaction", remove(3)[1:], {(GAP, NOBODY), (SEAL, NOBODY)}),
    Fault(
        "hole in a batch",
        remove(11),
        {(GAP, NOBODY), (SEAL, NOBODY), (SNAPSHOT, "main/carol/COIN")},
        (SNAPSHOT, "main/carol/COIN", None, "frozen", "active", None),
    ),
    Fault(
        "truncated tail",
        remove(END),
        {(GAP, NOBODY), (SEAL, NOBODY), (SNAPSHOT, DORA), (SNAPSHOT, EMIL)},
        (GAP, NOBODY, None, "24", "23", "1"),
    ),
    Fault(
        "nothing but the clock",
        ("DELETE FROM postings", "DELETE FROM transactions", "DELETE FROM accounts"),
        {(GAP, NOBODY), (SEAL, NOBODY)},
        (GAP, NOBODY, None, "24", "0", "24"),
    ),
]

SEALS = [
    Fault("seal", (f"UPDATE seals SET seal = '{'ab' * 32}' WHERE last = 3",), {(SEAL, NOBODY)}),
    Fault(
        "last seal",
        (f"UPDATE seals SET seal = '{'ab' * 32}' WHERE last = {END}",),
        {(SEAL, NOBODY)},
    ),
    Fault(
        "time of a seal",
        ("UPDATE seals SET created_at = '2020-01-01T00:00:00.000000Z' WHERE last = 3",),
        {(SEAL, NOBODY)},
    ),
    Fault(
        "beginning of a seal",
        ("UPDATE seals SET first = 8 WHERE last = 12",),
        {(SEAL, NOBODY)},
        (SEAL, NOBODY, 12, "8", "9", "-1"),
    ),
    Fault("end of a seal", ("UPDATE seals SET last = 25 WHERE last = 24",), {(SEAL, NOBODY)}),
    Fault("seal removed", ("DELETE FROM seals WHERE last = 3",), {(SEAL, NOBODY)}),
    Fault("all seals removed", ("DELETE FROM seals",), {(SEAL, NOBODY)}),
    Fault(
        "clock ahead",
        ("UPDATE clock SET position = position + 1",),
        {(GAP, NOBODY)},
        (GAP, NOBODY, None, "25", "24", "1"),
    ),
    Fault(
        "clock behind",
        ("UPDATE clock SET position = position - 1",),
        {(GAP, NOBODY)},
        (GAP, NOBODY, None, "23", "24", "-1"),
    ),
    Fault("clock's time", (f"UPDATE clock SET created_at = '{THEN}'",), {(SEAL, NOBODY)}),
    Fault("clock's seal", (f"UPDATE clock SET seal = '{'0' * 64}'",), {(SEAL, NOBODY)}),
]


HOLD_ROWS = [
    Fault(
        "hold left over",
        (f"UPDATE holds SET status = 'open', remaining = 15000000 WHERE id = {at(15)}",),
        {(HOLDS, DORA)},
        (HOLDS, DORA, None, "45.000000", "30.000000", "15.000000"),
    ),
    Fault(
        "what remains of a hold",
        (f"UPDATE holds SET remaining = 29000000 WHERE id = {at(14)}",),
        {(HOLDS, DORA)},
        (HOLDS, DORA, 14, "29.000000", "30.000000", None),
    ),
    Fault(
        "amount and what remains of a hold, both by one",
        (f"UPDATE holds SET amount = amount + 1, remaining = remaining + 1 WHERE id = {at(14)}",),
        {(HOLDS, DORA)},
        (HOLDS, DORA, None, "30.000001", "30.000000", "0.000001"),
    ),
    Fault(
        "amount of a hold that has ended",
        (f"UPDATE holds SET amount = amount + 1 WHERE id = {at(18)}",),
        {(HOLDS, DORA)},
    ),
    Fault("hold deleted", (f"DELETE FROM holds WHERE id = {at(14)}",), {(HOLDS, DORA)}),
    Fault(
        "hold that has ended deleted",
        (f"DELETE FROM holds WHERE id = {at(18)}",),
        {(HOLDS, DORA)},
        (HOLDS, DORA, 19, None, "voided", None),
    ),
    Fault(
        "hold that nobody placed",
        (
            "INSERT INTO holds (id, position, account_id, amount, remaining, status, placed_by)"
            f" VALUES ('h', 1, {id_(ALICE)}, 5, 0, 'voided', 'alice')",
        ),
        {(HOLDS, ALICE)},
    ),
    Fault(
        "hold of another account",
        (f"UPDATE holds SET account_id = {id_(EMIL)} WHERE id = {at(14)}",),
        {(HOLDS, DORA), (HOLDS, EMIL)},
    ),
    Fault(
        "end of a hold",
        (f"UPDATE holds SET expires_at = '{THEN}' WHERE id = {at(14)}",),
        {(HOLDS, DORA)},
        (HOLDS, DORA, 14, THEN, "2100-03-01T13:00:00.000000Z", None),
    ),
    Fault(
        "placer of a hold",
        (f"UPDATE holds SET placed_by = 'eve' WHERE id = {at(15)}",),
        {(HOLDS, DORA)},
        (HOLDS, DORA, 17, "eve", "shop", None),
    ),
    Fault(
        "hold of a transaction",
        transaction("hold = 'h'", 19),
        {(SEAL, NOBODY), (HOLDS, DORA)},
    ),
]

REVERSALS = [
    Fault(
        "leg of a reversal",
        (posting("amount = amount - 1", 21, DORA), posting("amount = amount + 1", 21, HOUSE)),
        {
            (ONCE, NOBODY),
            (SEAL, NOBODY),
            (SCREEN, DORA),
            (CHAIN, DORA),
            (SNAPSHOT, DORA),
            (SNAPSHOT, HOUSE),
        },
    ),
    Fault(
        "transaction reversed twice",
        ("DROP INDEX transactions_by_reversed", *transaction(f"reverses = {at(20)}", 24)),
        {(ONCE, NOBODY), (SEAL, NOBODY), (SCREEN, NOBODY), (SNAPSHOT, DORA), (SNAPSHOT, EMIL)},
        (ONCE, NOBODY, 24, "24", "21", "3"),
    ),
    Fault(
        "reversal that was not forced",
        transaction("metadata = '{}'", 24),
        {(FLOOR, EMIL), (SEAL, NOBODY), (SCREEN, NOBODY)},
        (FLOOR, EMIL, 24, "-5.000000", "0.000000", "-5.000000"),
    ),
]


@pytest.mark.parametrize(
    "fault",
    [*CACHED, *POSTINGS, *TRANSACTIONS, *SEALS, *HOLD_ROWS, *REVERSALS],
    ids=lambda fault: fault.name.replace(" ", "-"),
)
async def test_fault_is_found(written_url: str, fault: Fault) -> None:
    await execute(written_url, *fault.statements)
    found = await findings(written_url)
    assert {(each.invariant.value, each.account) for each in found} == fault.broken
    if fault.exactly is not None:
        assert fault.exactly in [
            (
                each.invariant.value,
                each.account,
                each.position,
                each.stored,
                each.actual,
                each.difference,
            )
            for each in found
        ]


async def test_journal_is_clean_before_the_faults(written_url: str) -> None:
    assert await findings(written_url) == []


async def test_fault_is_told_once(written_url: str) -> None:
    """One altered amount early in a long history is not found again in every later entry."""
    await execute(written_url, posting("amount = amount - 1", 1, ALICE))
    found = await findings(written_url)
    assert sorted((each.what, each.position) for each in found) == [
        ("balance", 1),
        ("content hash", 1),
        ("digest", 1),
        ("sum of legs in main/USDT", 1),
        ("told: amount", 1),
        ("told: balance_before", 1),
        ("total_in", 1),
    ]


async def test_every_text_of_a_transaction(written_url: str) -> None:
    """Each is found by the content hash, and told by the update where that has it too."""
    (before,) = await rows(written_url, "SELECT * FROM transactions WHERE position = 1")
    for column, (edited, told) in TEXTS.items():
        await execute(written_url, *transaction(f"{column} = '{edited}'"))
        found = {
            (each.invariant.value, f"{each.what}: {each.stored} {each.actual}"): each.position
            for each in await findings(written_url)
        }
        seals = [position for (invariant, _), position in found.items() if invariant == SEAL]
        assert seals[0] == 1, column
        assert [said for invariant, said in found if invariant == SCREEN] == [told] * bool(told)
        assert len(found) == len(seals) + bool(told), column
        value = "NULL" if before[column] is None else f"'{before[column]}'"
        await execute(written_url, *transaction(f"{column} = {value}"))
    assert await findings(written_url) == []


# SQLite keeps any value in any column that no CHECK guards.
MISFITS = {
    "held of an account as a number with a point": (account("held = 20.5", BOB), SNAPSHOT, BOB),
    "total_in of an account as a text": (account("total_in = 'many'"), SNAPSHOT, ALICE),
    "owner of an account as bytes": (account("owner = x'00'"), SNAPSHOT, NOBODY),
    "amount of a posting": ((posting("amount = 1.5", 1, WORLD),), SNAPSHOT, WORLD),
    "balance of an entry": ((posting("balance = 'none'", 1, ALICE),), SNAPSHOT, ALICE),
    "account of a posting": ((posting("account_id = 'a'", 1, WORLD),), SNAPSHOT, NOBODY),
    "position of a posting": ((posting("position = 'a'", 1, WORLD),), GAP, NOBODY),
    "position of a transaction": (transaction("position = 1.5"), GAP, NOBODY),
    "position of a transaction as a text": (transaction("position = 'x'"), GAP, NOBODY),
    "updates as bytes": (transaction("encoded = x'00'"), SCREEN, NOBODY),
    "description that is not UTF-8": (
        transaction("description = CAST(x'ff' AS TEXT)"),
        SCREEN,
        NOBODY,
    ),
    "metadata as bytes": (transaction("metadata = x'00'"), SCREEN, NOBODY),
    "beginning of a seal": (("UPDATE seals SET first = 'a' WHERE last = 3",), SEAL, NOBODY),
    "end of a seal": (("UPDATE seals SET last = 'a' WHERE last = 3",), SEAL, NOBODY),
    "position of the clock": (("UPDATE clock SET position = 'a'",), GAP, NOBODY),
}


@pytest.mark.parametrize("name", MISFITS)
async def test_value_of_another_type_is_found(
    written_sqlite: Path, tmp_path: Path, name: str
) -> None:
    shutil.copyfile(written_sqlite, tmp_path / "tallywire.db")
    url = f"sqlite+aiosqlite:///{tmp_path / 'tallywire.db'}"
    statements, invariant, account_name = MISFITS[name]
    await execute(url, *statements)
    found = await findings(url)
    assert (invariant, account_name) in {(each.invariant.value, each.account) for each in found}


async def forge(url: str, position: int, *statements: str) -> None:
    """Edit a transaction, and make its content hash, every seal and the clock's fit."""
    await execute(url, *statements)
    (row,) = await rows(url, f"SELECT * FROM transactions WHERE position = {position}")
    legs = await rows(
        url,
        "SELECT a.name, p.* FROM postings p JOIN accounts a ON a.id = p.account_id"
        f" WHERE p.position = {position} ORDER BY a.name",
    )
    forged = content_hash(
        [value for name, value in row.items() if name != "content_hash"],
        [
            [value for name, value in leg.items() if name not in ("position", "account_id")]
            for leg in legs
        ],
    )
    await execute(url, *transaction(f"content_hash = '{forged}'", position))


async def seal_again(url: str) -> None:
    """Make every seal fit the content hashes, and the clock the last of them."""
    hashes = [
        row["content_hash"]
        for row in await rows(url, "SELECT content_hash FROM transactions ORDER BY position")
    ]
    seal = GENESIS
    for row in await rows(url, "SELECT * FROM seals ORDER BY last"):
        first, last = row["first"], row["last"]
        seal = batch_seal(seal, first, last, row["created_at"], hashes[first - 1 : last])
        await execute(url, f"UPDATE seals SET seal = '{seal}' WHERE last = {last}")
    await execute(url, f"UPDATE clock SET seal = '{seal}'")


async def logged_seal(url: str, position: int) -> LoggedSeal:
    """The seal of `position`, as somebody noted it."""
    (row,) = await rows(url, f"SELECT seal FROM seals WHERE last = {position}")
    return LoggedSeal(position, row["seal"])


async def test_content_hash_made_to_fit_breaks_the_seal(written_url: str) -> None:
    """Who edits a transaction and hashes it again is found by the seal of its batch."""
    await forge(written_url, 4, *transaction("fingerprint = 'f'", 4))
    (found,) = await findings(written_url)
    assert (found.invariant, found.what, found.position) == (SEAL, "seal", 4)


async def test_seals_made_to_fit_are_found_by_one_that_was_logged(written_url: str) -> None:
    logged = await logged_seal(written_url, 8)
    await forge(written_url, 4, *transaction("fingerprint = 'f'", 4))
    await seal_again(written_url)
    assert await findings(written_url) == []
    (found,) = await findings(written_url, logged)
    assert (found.invariant, found.what, found.position) == (SEAL, "logged seal", 8)


@pytest.mark.parametrize(
    "statements",
    [
        transaction(f"effective_at = '{THEN}'", 4),
        transaction("encoded = replace(encoded, 'USDT', 'USDX')", 4),
        (posting("status = 'frozen'", 4, ALICE),),
    ],
)
async def test_forged_transaction_disagrees_with_its_updates(
    written_url: str, statements: tuple[str, ...]
) -> None:
    """Even where all hashes and seals are made to fit, and none was logged."""
    await forge(written_url, 4, *statements)
    await seal_again(written_url)
    found = await findings(written_url)
    assert {each.invariant for each in found} == {SCREEN}
    assert {each.position for each in found} == {4}


async def test_tail_cut_off_cleanly_is_found_by_a_logged_seal(written_url: str) -> None:
    """Nothing in the database can show that there was more."""
    logged = [await logged_seal(written_url, position) for position in (8, END)]
    await execute(
        written_url,
        *(statement for position in range(9, END + 1) for statement in remove(position)),
        "DELETE FROM seals WHERE last > 8",
        "DELETE FROM holds WHERE position > 8",
        "UPDATE clock SET position = 8, seal = (SELECT seal FROM seals WHERE last = 8)",
        *as_entries_say(),
    )
    assert await findings(written_url, logged[0]) == []
    (found,) = await findings(written_url, *logged)
    assert (found.invariant, found.position, found.stored) == (SEAL, END, None)
