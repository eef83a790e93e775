"""Each fault put into a database by hand is found by verify, under its own names and no others."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tallywire.ledger import open_ledger
from tallywire.ledger.digest import content_hash
from tallywire.ledger.invariants import Discrepancy

from ..services.postgres import PostgresServer
from .raw import execute, rows
from .written import LAST, write_journal

CONSERVATION = "CONSERVATION"
SNAPSHOT = "SNAPSHOT=REPLAY"
GAP = "SEQUENCE_GAP"
CHAIN = "HASH_CHAIN"
SEAL = "SEAL"
FLOOR = "OVERDRAFT_FLOOR"
HOLDS = "HOLD_ACCOUNTING"

ALICE, BOB = "main/alice/USDT", "main/bob/USDT"
WORLD, HOUSE = "main/@world/USDT", "main/@house/USDT"
NOBODY = "-"

APPEND_ONLY = ("transactions", "postings", "seals")


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
    async with open_ledger(url) as manager:
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


async def findings(url: str) -> list[Discrepancy]:
    """What verify finds in the database at `url`."""
    async with open_ledger(url) as manager:
        report = await manager.verify()
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


def remove(position: int) -> tuple[str, str]:
    """Take a whole transaction out."""
    return (
        f"DELETE FROM postings WHERE position = {position}",
        f"DELETE FROM transactions WHERE position = {position}",
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
        (SNAPSHOT, WORLD, None, "-169.999999", "-170.000000", "0.000001"),
    ),
    Fault("status of a system account", account("status = 'closed'", WORLD), {(SNAPSHOT, WORLD)}),
    Fault("account name", account("name = 'main/eve/USDT'"), {(SNAPSHOT, ALICE)}),
    Fault(
        "account owner",
        account("owner = 'eve'"),
        {(SNAPSHOT, "main/eve/USDT"), (CHAIN, "main/eve/USDT"), (SEAL, NOBODY)},
    ),
    Fault(
        "account book",
        account("book = 'nowhere'"),
        {(SNAPSHOT, "nowhere/alice/USDT"), (CONSERVATION, NOBODY), (SEAL, NOBODY)},
    ),
    Fault(
        "account deleted",
        (f"DELETE FROM accounts WHERE name = '{ALICE}'",),
        {(SNAPSHOT, NOBODY), (CONSERVATION, NOBODY)},
        (CONSERVATION, NOBODY, None, "-24.000000", "0.000000", "-24.000000"),
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
        {(CONSERVATION, NOBODY), (SEAL, NOBODY), (SNAPSHOT, ALICE), (CHAIN, ALICE)},
        (CONSERVATION, NOBODY, 3, "-1.000000", "0.000000", "-1.000000"),
    ),
    Fault(
        "amount of a system account's posting",
        (posting("amount = amount - 1", 1, WORLD),),
        {(CONSERVATION, NOBODY), (SEAL, NOBODY), (SNAPSHOT, WORLD)},
        (SNAPSHOT, WORLD, None, "-170.000000", "-170.000001", "0.000001"),
    ),
    Fault(
        "amounts of both legs",
        (posting("amount = amount - 1", 3, ALICE), posting("amount = amount + 1", 3, BOB)),
        {(SEAL, NOBODY), (SNAPSHOT, ALICE), (CHAIN, ALICE), (SNAPSHOT, BOB), (CHAIN, BOB)},
        (SNAPSHOT, BOB, 3, "80.000000", "80.000001", "-0.000001"),
    ),
    Fault(
        "posting deleted",
        (f"DELETE FROM postings WHERE position = 3 AND account_id = {id_(ALICE)}",),
        {
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
        {(CONSERVATION, NOBODY), (SEAL, NOBODY), (SNAPSHOT, ALICE)},
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
        {(CONSERVATION, NOBODY), (SEAL, NOBODY), (SNAPSHOT, ALICE)},
    ),
    Fault(
        "posting inserted past the end",
        (
            "INSERT INTO postings (position, account_id, amount, held_change)"
            f" VALUES ({LAST + 1}, {id_(WORLD)}, 500, 0)",
        ),
        {(GAP, NOBODY), (SNAPSHOT, WORLD)},
        (GAP, NOBODY, None, "13", "12", "1"),
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
        "floor of an entry",
        (posting("floor = 5000000", 8, ALICE),),
        {(SEAL, NOBODY), (FLOOR, ALICE)},
        (FLOOR, ALICE, 8, "4.000000", "5.000000", "-1.000000"),
    ),
    Fault(
        "status of an entry",
        (posting("status = 'active'", 8, ALICE),),
        {(SEAL, NOBODY)},
    ),
    Fault(
        "held of an entry",
        (posting("held = held + 1", 6, BOB),),
        {(SEAL, NOBODY), (SNAPSHOT, BOB), (HOLDS, BOB), (CHAIN, BOB)},
    ),
    Fault(
        "held_change of an entry",
        (posting("held_change = 0", 6, BOB),),
        {(SEAL, NOBODY), (SNAPSHOT, BOB), (HOLDS, BOB), (CHAIN, BOB)},
        (HOLDS, BOB, 6, "20.000000", "0.000000", "20.000000"),
    ),
    Fault(
        "totals of an entry",
        (posting("total_in = 0", 1, ALICE),),
        {(SEAL, NOBODY), (SNAPSHOT, ALICE)},
    ),
    Fault(
        "digest of an entry",
        (posting(f"digest = '{'ab' * 32}'", 1, ALICE),),
        {(SEAL, NOBODY), (CHAIN, ALICE)},
    ),
    Fault(
        "digest of an entry and of the row",
        (posting(f"digest = '{'ab' * 32}'", LAST, ALICE), *account(f"digest = '{'ab' * 32}'")),
        {(SEAL, NOBODY), (CHAIN, ALICE)},
    ),
    Fault(
        "seq of an entry",
        (posting("seq = 2", 1, ALICE),),
        {(SEAL, NOBODY), (GAP, ALICE), (CHAIN, ALICE)},
    ),
]

TEXTS = {
    "subject": "bob",
    "description": "Another",
    "reference": "r-1",
    "metadata": "{}",
    "internal": "1",
    "actor": "eve",
    "actor_role": "superadmin",
    "reverses": "b",
    "effective_at": "2020-01-01T00:00:00.000000Z",
    "created_at": "2020-01-01T00:00:00.000000Z",
    "key_namespace": "request",
    "key_principal": "eve",
    "key": "k9",
    "fingerprint": "f",
    "encoded": "[]",
    "content_hash": "ab" * 32,
}

TRANSACTIONS = [
    *(
        Fault(f"{column} of a transaction", transaction(f"{column} = '{text}'"), {(SEAL, NOBODY)})
        for column, text in TEXTS.items()
    ),
    Fault(
        "type of a transaction",
        transaction("type = 'adjustment'"),
        {(SEAL, NOBODY), (SNAPSHOT, ALICE)},
        (SNAPSHOT, ALICE, 1, "100.000000", "0.000000", "100.000000"),
    ),
    Fault(
        "id of a transaction",
        transaction("id = '01900000-0000-7000-8000-000000000000'"),
        {(SEAL, NOBODY), (CHAIN, ALICE)},
    ),
    Fault(
        "id of a transaction that no ledger writes",
        transaction("id = 'é'"),
        {(SEAL, NOBODY), (CHAIN, ALICE)},
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
        remove(LAST),
        {(GAP, NOBODY), (SEAL, NOBODY), (SNAPSHOT, ALICE), (SNAPSHOT, WORLD)},
        (GAP, NOBODY, None, "12", "11", "1"),
    ),
    Fault(
        "nothing but the clock",
        ("DELETE FROM postings", "DELETE FROM transactions", "DELETE FROM accounts"),
        {(GAP, NOBODY), (SEAL, NOBODY)},
        (GAP, NOBODY, None, "12", "0", "12"),
    ),
]

SEALS = [
    Fault("seal", (f"UPDATE seals SET seal = '{'ab' * 32}' WHERE last = 3",), {(SEAL, NOBODY)}),
    Fault(
        "last seal",
        (f"UPDATE seals SET seal = '{'ab' * 32}' WHERE last = {LAST}",),
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
    Fault("end of a seal", ("UPDATE seals SET last = 13 WHERE last = 12",), {(SEAL, NOBODY)}),
    Fault("seal removed", ("DELETE FROM seals WHERE last = 3",), {(SEAL, NOBODY)}),
    Fault("all seals removed", ("DELETE FROM seals",), {(SEAL, NOBODY)}),
    Fault(
        "clock ahead",
        ("UPDATE clock SET position = position + 1",),
        {(GAP, NOBODY)},
        (GAP, NOBODY, None, "13", "12", "1"),
    ),
    Fault(
        "clock behind",
        ("UPDATE clock SET position = position - 1",),
        {(GAP, NOBODY)},
        (GAP, NOBODY, None, "11", "12", "-1"),
    ),
    Fault("clock's seal", (f"UPDATE clock SET seal = '{'0' * 64}'",), {(SEAL, NOBODY)}),
]


@pytest.mark.parametrize(
    "fault",
    [*CACHED, *POSTINGS, *TRANSACTIONS, *SEALS],
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
        ("total_in", 1),
    ]


async def test_content_hash_made_to_fit_breaks_the_seal(written_url: str) -> None:
    """Who edits a transaction and hashes it again is found by the seal of its batch."""
    await execute(written_url, *transaction("description = 'Another'", 4))
    (row,) = await rows(written_url, "SELECT * FROM transactions WHERE position = 4")
    legs = await rows(
        written_url,
        "SELECT a.name, p.* FROM postings p JOIN accounts a ON a.id = p.account_id"
        " WHERE p.position = 4",
    )
    forged = content_hash(
        [value for name, value in row.items() if name != "content_hash"],
        [
            [value for name, value in leg.items() if name not in ("position", "account_id")]
            for leg in legs
        ],
    )
    await execute(written_url, *transaction(f"content_hash = '{forged}'", 4))
    (found,) = await findings(written_url)
    assert (found.invariant, found.what, found.position) == (SEAL, "seal", 4)
