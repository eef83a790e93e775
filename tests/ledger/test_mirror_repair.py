"""check_and_fix_balance_mismatch, verify and sync where mirrors are missing, drifted or stuck."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tallywire import AccountInconsistent, MirrorBusy, MirrorRefused
from tallywire.ledger import BalanceManager, Wallet, open_ledger

from .raw import count, execute, held, rows

MIRRORS = {"kept": "overwrite", "old": "adopt"}


@pytest.fixture
async def wallet(ledger: BalanceManager, database_url: str) -> Wallet:
    return await anns(ledger, database_url)


async def anns(ledger: BalanceManager, url: str) -> Wallet:
    """A wallet in a game, with a row in a table that is kept and in one that is adopted from."""
    await ledger.administration.put_book("game:7", {}, actor="test")
    for table, on_drift in MIRRORS.items():
        await execute(
            url,
            f"CREATE TABLE {table} (game INTEGER, player VARCHAR(40), balance DECIMAL(20, 2)"
            " NOT NULL DEFAULT 0, PRIMARY KEY (game, player))",
            f"INSERT INTO {table} (game, player) VALUES (7, 'ann')",
        )
        await ledger.register_mirror(table, **options(table), on_drift=on_drift)
    return ledger.wallet("ann", asset="USD", book="game:7")


def options(table: str) -> Any:
    key = {"game": "{game}", "player": "{owner}"}
    return {
        "table": table,
        "column": "balance",
        "key": key,
        "book": "game:{game}",
        "asset": "USD",
    }


async def said(url: str) -> dict[str, Decimal]:
    """What ann's rows say, and the ledger's own."""
    own = await rows(url, "SELECT balance FROM accounts WHERE owner = 'ann'")
    found = {"accounts": Decimal(own[0]["balance"]).scaleb(-2)} if own else {}
    for table in MIRRORS:
        for row in await rows(url, f"SELECT balance FROM {table} WHERE player = 'ann'"):
            found[table] = round(Decimal(row["balance"]), 3)
    return found


def everywhere(balance: str) -> dict[str, Decimal]:
    return dict.fromkeys(("accounts", *MIRRORS), Decimal(balance))


@pytest.mark.parametrize("missing", ["kept", "old"])
async def test_a_missing_row_is_no_mismatch(
    wallet: Wallet, database_url: str, missing: str
) -> None:
    """It is told, and waits for its row; the others are put right."""
    (other,) = MIRRORS.keys() - {missing}
    await execute(database_url, f"DELETE FROM {missing}")
    await wallet.add_to_balance("5", "prize")
    assert await wallet.check_and_fix_balance_mismatch() == (False, Decimal(5))
    (told,) = await wallet.balance_drift()
    assert told.what == f"mirror {missing}: there is no such row"
    await execute(database_url, f"UPDATE {other} SET balance = balance + 1")
    balance = 6 if other == "old" else 5
    assert await wallet.check_and_fix_balance_mismatch() == (True, Decimal(balance))
    assert await wallet.check_and_fix_balance_mismatch() == (False, Decimal(balance))
    await execute(database_url, f"UPDATE {other} SET balance = balance + 1")
    report = await wallet.sync()
    assert (report.checked, report.synced, report.errors) == (2, 1, 1)
    await execute(database_url, f"INSERT INTO {missing} (game, player) VALUES (7, 'ann')")
    await wallet.sync()
    assert await said(database_url) == everywhere("7" if other == "old" else "5")


async def test_each_mirror_is_counted_by_itself(
    ledger: BalanceManager, wallet: Wallet, database_url: str
) -> None:
    await wallet.add_to_balance("5", "prize")
    await execute(database_url, "DELETE FROM kept", "UPDATE old SET balance = 7")
    report = await ledger.verify(fix=True)
    assert (report.synced, report.errors) == (1, 1)
    assert [(found.what.split(":")[0], found.fixed) for found in report.details] == [
        ("mirror kept", False),
        ("mirror old", True),
    ]


@pytest.mark.parametrize("by", ["check_and_fix", "verify"])
async def test_a_repair_books_what_others_wrote(
    ledger: BalanceManager, wallet: Wallet, database_url: str, by: str
) -> None:
    """The ledger's own row and both mirrors changed at once: only what may be booked is."""
    await wallet.add_to_balance("10", "prize")
    await execute(
        database_url,
        "UPDATE accounts SET balance = 777 WHERE owner = 'ann'",
        "UPDATE kept SET balance = 888",
        "UPDATE old SET balance = balance + 2.5",
    )
    with pytest.raises(AccountInconsistent):
        await wallet.add_to_balance("1", "not booked on a row that is wrong")
    if by == "verify":
        report = await ledger.verify(fix=True)
        assert (report.fixed, report.synced, report.errors) == (1, 2, 0)
    else:
        assert await wallet.check_and_fix_balance_mismatch() == (True, Decimal("12.5"))
    assert await wallet.check_and_fix_balance_mismatch() == (False, Decimal("12.5"))
    assert await said(database_url) == everywhere("12.5")
    types = [each["change_type"] for each in await wallet.history()]
    assert types == ["adoption", "repair", "adjustment"]
    assert (await ledger.verify()).details == []


async def test_what_rows_say_before_there_is_an_account(
    ledger: BalanceManager, wallet: Wallet, database_url: str
) -> None:
    """Booked by a sync that names the user, or a check; nothing to book makes no account."""
    assert dict(await wallet.sync())["checked"] == 0
    assert await wallet.check_and_fix_balance_mismatch() == (False, Decimal(0))
    assert await said(database_url) == {"kept": 0, "old": 0}
    await execute(database_url, "UPDATE old SET balance = 12.34")
    assert await wallet.check_and_fix_balance_mismatch() == (True, Decimal("12.34"))
    assert await said(database_url) == everywhere("12.34")
    await execute(
        database_url,
        *(f"INSERT INTO {table} VALUES (7, 'bob', 5)" for table in MIRRORS),
    )
    assert (await ledger.sync_balances("bob", book="game:7")).synced == 1
    before = await count(database_url, "transactions")
    assert (await ledger.sync_balances("bob", book="game:7")).synced == 0
    assert (await ledger.sync_balances(book="game:7")).errors == 0
    assert await count(database_url, "transactions") == before == 2
    assert await ledger.get_balance("bob", asset="USD", book="game:7") == 5


async def test_a_row_that_is_only_compared_is_no_mismatch(
    ledger: BalanceManager, wallet: Wallet, database_url: str
) -> None:
    await ledger.register_mirror("old", **options("old"), mode="shadow")
    await wallet.add_to_balance("5", "prize")
    assert len(await wallet.balance_drift()) == 1
    assert await wallet.check_and_fix_balance_mismatch() == (False, Decimal(5))


async def test_an_amount_of_three_decimals(sqlite_url: str) -> None:
    """SQLite keeps what PostgreSQL would round: named, and left to whoever wrote it."""
    async with open_ledger(sqlite_url) as ledger:
        wallet = await anns(ledger, sqlite_url)
        await wallet.add_to_balance("5", "prize")
        await execute(sqlite_url, "UPDATE old SET balance = balance + 0.125")
        named = r"'old': balance of old holds 5\.125"
        with pytest.raises(MirrorRefused, match=named):
            await wallet.check_and_fix_balance_mismatch()
        with pytest.raises(MirrorRefused, match=named):
            await wallet.add_to_balance("1", "prize")
        assert await wallet.get_balance() == 5
        await execute(sqlite_url, "UPDATE old SET balance = round(balance, 2)")
        assert await wallet.check_and_fix_balance_mismatch() == (True, Decimal("5.13"))
        assert await said(sqlite_url) == everywhere("5.13")


async def test_a_row_that_others_keep_locked(postgres_url: str) -> None:
    """The account is sound, so it is asked for again."""
    async with open_ledger(postgres_url) as ledger:
        wallet = await anns(ledger, postgres_url)
        await wallet.add_to_balance("5", "prize")
        await execute(postgres_url, "UPDATE old SET balance = balance + 1")
        async with held(postgres_url, "SELECT * FROM old FOR UPDATE"):
            with pytest.raises(MirrorBusy, match="'old'"):
                await wallet.check_and_fix_balance_mismatch()
        assert await wallet.check_and_fix_balance_mismatch() == (True, Decimal(6))


async def test_a_book_that_another_process_made(ledger: BalanceManager, database_url: str) -> None:
    """What is remembered of books between two looks never hides one."""
    wallet = await anns(ledger, database_url)
    await wallet.add_to_balance("5", "prize")
    assert (await ledger.sync_balances()).checked == 2
    async with open_ledger(database_url) as other:
        await other.administration.put_book("game:8", {}, actor="test")
        await other.update_balance("ann", "1", "deposit", asset="USD", book="game:8")
    assert (await ledger.sync_balances()).checked == 4
    assert (await ledger.sync_balances("ann", book="game:8", asset="USD")).errors == 2
