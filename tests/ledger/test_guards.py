"""What the ledger refuses to build on, and what its database refuses to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from tallywire.ledger import BalanceManager, Receipt, open_ledger
from tallywire.ledger.errors import AccountInconsistent, Conflict, InvalidAmount

from .asking import change, deposit, together, told, transfer, withdrawal
from .raw import count, execute, rows

TOP = str(2**63 - 1)

# Each column of a cached row, and a value that its last entry does not have.
CHANGED = {
    "balance": "balance + 1",
    "held": "1",
    "total_in": "total_in + 1",
    "total_out": "1",
    "floor": "-1",
    "suspend_below": "0",
    "alert_below": "0",
    "status": "'frozen'",
    "seq": "seq + 1",
    "digest": "'" + "f" * 64 + "'",
    "total_earned": "0",
}


@pytest.fixture
async def unexamined(database_url: str) -> AsyncIterator[BalanceManager]:
    """An open ledger whose journal the test damages."""
    async with open_ledger(database_url) as manager:
        yield manager


async def edit_entries(url: str, *statements: str) -> None:
    """Change the journal as only somebody who takes its triggers away can."""
    if url.startswith("postgresql"):
        off = "ALTER TABLE postings DISABLE TRIGGER ALL"
        await execute(url, off, *statements, off.replace("DISABLE", "ENABLE"))
    else:
        drop = "DROP TRIGGER IF EXISTS postings_no_"
        await execute(url, drop + "update", drop + "delete", *statements)


# A cache or an entry that was changed by hand


async def test_a_changed_cache_takes_no_changes(ledger: BalanceManager, database_url: str) -> None:
    """SNAPSHOT=REPLAY: every column; refused, not laundered into the next entry."""
    for user in CHANGED:
        await ledger.post(deposit(ledger, user, "5"))
    before = await rows(database_url, "SELECT * FROM accounts ORDER BY id")
    await execute(
        database_url,
        *(
            f"UPDATE accounts SET {column} = {value} WHERE owner = '{column}'"
            for column, value in CHANGED.items()
        ),
    )
    outcomes = await together(
        ledger,
        *(deposit(ledger, user) for user in CHANGED),
        transfer(ledger, "fine", "balance"),
        deposit(ledger, "fine"),
    )
    refused = "account_inconsistent"
    assert told(outcomes) == [*[refused] * len(CHANGED), refused, len(CHANGED) + 1]
    # Put right again by hand, they go on.
    for row in before:
        if row["owner"] in CHANGED:
            column = row["owner"]
            value = "NULL" if row[column] is None else f"'{row[column]}'"
            await execute(
                database_url, f"UPDATE accounts SET {column} = {value} WHERE owner = '{column}'"
            )
    outcomes = await together(ledger, *(deposit(ledger, user) for user in CHANGED))
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)


async def test_a_changed_entry_takes_no_changes(
    unexamined: BalanceManager, database_url: str
) -> None:
    """SNAPSHOT=REPLAY: also where the entry is what was changed."""
    ledger = unexamined
    for user in CHANGED:
        await ledger.post(deposit(ledger, user, "5"))
    await edit_entries(
        database_url,
        *(
            f"UPDATE postings SET {column} = {value} WHERE seq = 1 AND account_id ="
            f" (SELECT id FROM accounts WHERE owner = '{column}')"
            for column, value in CHANGED.items()
            if column != "seq"
        ),
        "DELETE FROM postings WHERE account_id = (SELECT id FROM accounts WHERE owner = 'seq')",
    )
    outcomes = await together(ledger, *(deposit(ledger, user) for user in CHANGED))
    assert told(outcomes) == ["account_inconsistent"] * len(CHANGED)


async def test_an_account_that_no_entry_made(unexamined: BalanceManager, database_url: str) -> None:
    """SNAPSHOT=REPLAY: money that was put into a row by hand cannot be spent."""
    await execute(
        database_url,
        "INSERT INTO accounts (name, book, owner, asset, balance, held, total_in, total_out,"
        " status, seq, digest) VALUES ('main/eve/USDT', 'main', 'eve', 'USDT', 1000000, 0, 0, 0,"
        f" 'active', 0, '{'0' * 64}')",
    )
    with pytest.raises(AccountInconsistent, match="main/eve/USDT"):
        await unexamined.post(withdrawal(unexamined, "eve"))


async def test_an_account_row_that_was_deleted(
    unexamined: BalanceManager, database_url: str
) -> None:
    """Its id was remembered: the writer reads anew, and neighbours notice nothing."""
    await unexamined.post(deposit(unexamined, "alice"))
    await execute(database_url, "DELETE FROM accounts WHERE owner = 'alice'")
    outcomes = await together(unexamined, deposit(unexamined, "alice"), deposit(unexamined, "bob"))
    assert told(outcomes) in ([2, 3], ["account_inconsistent", 2])


# Overflow of a system account, which only the database can see


async def test_an_overflow_of_a_system_account(ledger: BalanceManager, database_url: str) -> None:
    """SNAPSHOT=REPLAY, REJECTION_ATOMICITY: found behind the clock, refused alone."""
    assert told(await together(ledger, deposit(ledger, "rich", TOP, asset="COIN"))) == [1]
    outcomes = await together(
        ledger,
        deposit(ledger, "alice"),
        deposit(ledger, "bob", "1", asset="COIN"),
        deposit(ledger, "carol"),
        [deposit(ledger, "dave"), deposit(ledger, "dave", "1", asset="COIN")],
        [deposit(ledger, "dave"), deposit(ledger, "dave", "2")],
        withdrawal(ledger, "rich", "5", asset="COIN"),
        deposit(ledger, "bob", "5", asset="COIN"),
        deposit(ledger, "bob", "1", asset="COIN"),
    )
    over = "invalid_amount"
    assert told(outcomes) == [2, over, 3, over, 5, 6, 7, over]
    refusal = outcomes[1]
    assert isinstance(refusal, InvalidAmount)
    assert await ledger.get_balance("bob", asset="COIN") == 5
    system = await rows(database_url, "SELECT balance FROM accounts WHERE name='main/@world/COIN'")
    assert system == [{"balance": -(2**63 - 1)}]


async def test_an_overflow_beyond_what_the_driver_can_send(ledger: BalanceManager) -> None:
    """REJECTION_ATOMICITY: the batch's sum passes 64 bits though each amount does not."""
    outcomes = await together(
        ledger,
        deposit(ledger, "alice"),
        *(deposit(ledger, f"user-{n}", TOP, asset="COIN") for n in range(4)),
        deposit(ledger, "alice"),
    )
    over = "invalid_amount"
    assert told(outcomes) == [1, 2, over, over, over, 3]


async def test_a_batch_that_nets_is_no_overflow(ledger: BalanceManager) -> None:
    """A system account is moved once per batch, by the sum."""
    await ledger.post(deposit(ledger, "rich", TOP, asset="COIN"))
    outcomes = await together(
        ledger,
        deposit(ledger, "bob", "5", asset="COIN"),
        withdrawal(ledger, "rich", "5", asset="COIN"),
    )
    assert told(outcomes) == [2, 3]


async def test_both_ends_of_the_range(ledger: BalanceManager) -> None:
    await ledger.administration.put_book("deep", {"default_floor": None}, actor="root")
    charge = await ledger.prepare(
        lambda _: change(ledger, "charge", "alice", TOP, asset="COIN", book="deep")
    )
    outcomes = await together(
        ledger,
        charge,
        change(ledger, "charge", "bob", "1", asset="COIN", book="deep"),
        change(ledger, "charge", "alice", "1", asset="COIN", book="deep"),
    )
    assert told(outcomes) == [1, "invalid_amount", "invalid_amount"]


# Append-only

JOURNAL = {
    "transactions": "description",
    "postings": "amount",
    "seals": "seal",
    "prices": "price",
}


async def test_the_journal_is_append_only(ledger: BalanceManager, database_url: str) -> None:
    """SEAL, HASH_CHAIN: no statement changes or takes back what is written."""
    await ledger.post(deposit(ledger, "alice"))
    await execute(
        database_url,
        "INSERT INTO prices (pair, number, price, source, actor, stamped_at)"
        " VALUES ('BTC-USDT', 1, 1, 'pushed', 'root', '2026-11-21T12:00:00.000000Z')",
    )
    statements = []
    for table, column in JOURNAL.items():
        statements += [f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"]
        if database_url.startswith("postgresql"):
            statements += [f"TRUNCATE {table}", f"TRUNCATE {table} CASCADE"]
    before = [await count(database_url, table) for table in JOURNAL]
    for statement in statements:
        with pytest.raises(SQLAlchemyError, match="append-only"):
            await execute(database_url, statement)
        outcomes = await together(ledger, deposit(ledger, "bob", alongside=(text(statement),)))
        assert told(outcomes) == ["alongside_failed"]
    assert [await count(database_url, table) for table in JOURNAL] == before


async def test_constraints_back_the_rules(unexamined: BalanceManager, database_url: str) -> None:
    """Even SQL by hand cannot write what can never be."""
    await unexamined.post(deposit(unexamined, "alice"))
    for statement in (
        "UPDATE accounts SET held = -1",
        "UPDATE accounts SET status = 'happy'",
        "UPDATE accounts SET balance = -9223372036854775807 - 1",
        "UPDATE assets SET scale = 13",
        "UPDATE books SET side = 'left'",
        "INSERT INTO clock SELECT 2, position, epoch, seal, created_at, settings_version, paused,"
        " system_id FROM clock",
    ):
        with pytest.raises(SQLAlchemyError):
            await execute(database_url, statement)


# Settings


async def test_a_scale_never_changes_what_an_amount_meant(
    ledger: BalanceManager, database_url: str
) -> None:
    """CONSERVATION: a deposit of 5.00 asked for by the old scale is not one of 0.500."""
    await ledger.administration.put_asset("NEW", scale=2, actor="root")
    prepared = await ledger.prepare(lambda _: deposit(ledger, "alice", "5.00", asset="NEW"))
    async with open_ledger(database_url) as other:
        await other.administration.put_asset("NEW", scale=3, actor="root")
    assert told(await together(ledger, prepared)) == ["conflict"]
    assert told(await together(ledger, deposit(ledger, "alice", "5.000", asset="NEW"))) == [1]
    assert await ledger.get_balance("alice", asset="NEW") == 5
    with pytest.raises(Conflict):
        await ledger.administration.put_asset("NEW", scale=2, actor="root")


async def test_reads_do_not_starve_each_other(ledger: BalanceManager) -> None:
    """More histories at once than there are connections to read them with."""
    await ledger.post(deposit(ledger, "alice"))
    histories = [ledger.history("alice") for _ in range(40)]
    async with asyncio.timeout(20):
        found = await asyncio.gather(*histories)
    assert all(len(history) == 1 for history in found)
