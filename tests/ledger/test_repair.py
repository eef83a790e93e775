"""Repair: copies are made to say what the entries say, by transactions; entries never are."""

from __future__ import annotations

import asyncio
import json
import re
from decimal import Decimal

import pytest
from tallywire.ledger import BalanceManager, open_ledger, open_ledger_sync
from tallywire.ledger.errors import AccountInconsistent, Conflict
from tallywire.ledger.invariants import NOBODY, Invariant

from ..conftest import RunTallywire
from .raw import count, execute, rows
from .written import END, write_journal

ALICE, DORA, WORLD = "main/alice/USDT", "main/dora/USDT", "main/@world/USDT"


@pytest.fixture
async def written(ledger: BalanceManager) -> BalanceManager:
    """An open ledger with a change of every kind."""
    await write_journal(ledger)
    return ledger


CACHED = [
    "balance = balance + 5",
    "held = held + 1",
    "total_in = 0, total_out = 7",
    "floor = NULL, suspend_below = 1, alert_below = 2",
    "status = 'frozen'",
    "seq = seq + 1",
    "seq = 1",
    f"digest = '{'ab' * 32}'",
    "total_earned = 0",
]


async def test_every_cached_column_is_put_right(written: BalanceManager, database_url: str) -> None:
    for number, assignment in enumerate(CACHED, start=1):
        await execute(database_url, f"UPDATE accounts SET {assignment} WHERE name = '{DORA}'")
        report = await written.verify(fix=True)
        assert (report.fixed, report.errors) == (1, 0), assignment
        assert report.details
        assert all(found.fixed and found.account == DORA for found in report.details)
        assert await count(database_url, "transactions") == END + number
    assert (await written.verify()).details == []


async def test_a_repair_is_a_transaction_that_says_what_was_found(
    written: BalanceManager, database_url: str
) -> None:
    await execute(database_url, f"UPDATE accounts SET balance = 7 WHERE name = '{ALICE}'")
    await written.verify(fix=True, actor="root")
    (newest,) = await written.reader.transactions(None, 1)
    view = newest.view("e")
    assert (view["change_type"], view["actor"]) == ("repair", "root")
    assert view["postings"] == [{"account": ALICE, "amount": "0.000000", "held_change": "0.000000"}]
    assert b'["cached balance","0.000007","24.000000"]' in bytes(view["internal"])
    assert await written.get_balance("alice") == Decimal(24)
    await written.update_balance("alice", "1", "deposit")


async def test_system_accounts_are_put_right_while_money_moves(
    written: BalanceManager, database_url: str
) -> None:
    await execute(
        database_url,
        f"UPDATE accounts SET balance = balance + 9, status = 'closed' WHERE name = '{WORLD}'",
    )
    moving = asyncio.gather(
        *(written.update_balance(f"user-{n % 5}", "1", "deposit") for n in range(50))
    )
    report = await written.verify(fix=True)
    await moving
    assert (report.fixed, report.errors) == (1, 0)
    assert (await written.verify()).details == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM holds",
        "UPDATE holds SET status = 'open', remaining = 1 WHERE status <> 'open'",
        "UPDATE holds SET remaining = remaining - 1 WHERE status = 'open' AND remaining > 1",
        "UPDATE holds SET placed_by = 'eve', expires_at = NULL, reference = 'x', amount = 99999999",
    ],
)
async def test_holds_are_put_right(
    written: BalanceManager, database_url: str, statement: str
) -> None:
    before = await rows(database_url, "SELECT * FROM holds ORDER BY id")
    await execute(database_url, statement)
    report = await written.verify(fix=True)
    assert report.errors == 0
    assert report.fixed >= 1
    assert await rows(database_url, "SELECT * FROM holds ORDER BY id") == before


async def test_two_fixes_at_once_do_no_harm(written: BalanceManager, database_url: str) -> None:
    await execute(database_url, "UPDATE accounts SET balance = balance + 5")
    async with open_ledger(database_url) as other:
        mismatches = await asyncio.gather(
            *(
                manager.check_and_fix_balance_mismatch(user)
                for manager in (written, other)
                for user in ("alice", "bob", "dora")
            )
        )
    assert [balance for _, balance in mismatches[:3]] == [balance for _, balance in mismatches[3:]]
    assert (await written.verify(fix=True)).errors == 0
    assert (await written.verify()).details == []


async def test_only_one_verification_fixes_at_a_time(
    written: BalanceManager, database_url: str
) -> None:
    refused = []
    with open_ledger_sync(database_url) as other:

        def ask_another(checked: int, total: int) -> None:
            with pytest.raises(Conflict) as refusal:
                other.verify(fix=True)
            refused.append(refusal)

        assert (await written.verify(fix=True, progress=ask_another)).errors == 0
        assert refused
        assert other.verify(fix=True).errors == 0


async def test_one_account_is_checked_and_fixed(written: BalanceManager, database_url: str) -> None:
    assert await written.check_and_fix_balance_mismatch("alice") == (False, Decimal(24))
    assert await written.check_and_fix_balance_mismatch("nobody") == (False, Decimal(0))
    await execute(database_url, "UPDATE accounts SET balance = balance + 1 WHERE owner <> 'bob'")
    (drift,) = await written.balance_drift("alice")
    assert (drift.what, drift.difference) == ("cached balance", "0.000001")
    assert await written.balance_drift("bob") == []
    assert await written.check_and_fix_balance_mismatch("alice") == (True, Decimal(24))
    assert await written.check_and_fix_balance_mismatch("alice") == (False, Decimal(24))
    carol = await written.check_and_fix_balance_mismatch("carol", asset="COIN")
    assert carol == (True, Decimal(7))
    assert await written.verify(fix=True)


@pytest.mark.parametrize("on_drift", ["adopt", "overwrite"])
async def test_drifted_mirrors_are_found_and_put_right(
    ledger: BalanceManager, database_url: str, on_drift: str
) -> None:
    """By their own rule: what others wrote is booked where the mirror adopts, else written over."""
    await execute(
        database_url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, balance DECIMAL(20, 2) NOT NULL DEFAULT 0)",
        "INSERT INTO users (id) VALUES (1)",
    )
    await ledger.register_mirror(
        "balance",
        table="users",
        column="balance",
        key={"id": "{owner}"},
        asset="USD",
        on_drift=on_drift,
    )
    await ledger.update_balance("1", "10", "deposit", asset="USD")
    await execute(database_url, "UPDATE users SET balance = 12.5 WHERE id = 1")
    (found,) = (await ledger.verify()).details
    assert (found.invariant, found.account) == ("MIRROR=LEDGER", "main/1/USD")
    assert (found.stored, found.actual, found.difference) == ("12.50", "10.00", "2.50")
    assert await ledger.balance_drift("1", asset="USD") == [found]
    had_mismatch, balance = await ledger.check_and_fix_balance_mismatch("1", asset="USD")
    assert had_mismatch
    assert balance == (Decimal("12.5") if on_drift == "adopt" else Decimal(10))
    await execute(database_url, "UPDATE users SET balance = 1 WHERE id = 1")
    report = await ledger.verify(fix=True)
    assert (report.synced, report.fixed, report.errors) == (1, 0, 0)
    assert (await ledger.verify()).details == []


async def test_rebuild_puts_everything_right_and_may_be_repeated(
    written: BalanceManager, database_url: str
) -> None:
    await execute(database_url, "UPDATE accounts SET balance = balance + 1, total_in = 3")
    await execute(database_url, "DELETE FROM holds")
    first = await written.rebuild()
    assert first.errors == 0
    assert first.fixed == await count(database_url, "accounts")
    again = await written.rebuild()
    assert (again.fixed, again.details) == (0, [])


async def test_discrepancies_are_those_that_remain_by_size(
    written: BalanceManager, database_url: str
) -> None:
    assert await written.discrepancies() == []
    for owner, drift in (("alice", 5), ("bob", -700), ("dora", 60)):
        await execute(
            database_url, f"UPDATE accounts SET balance = balance + {drift} WHERE owner = '{owner}'"
        )
    await written.verify()
    found = [each for each in await written.discrepancies() if each.what == "cached balance"]
    assert [each.account.split("/")[1] for each in found] == ["bob", "dora", "alice"]
    assert len(await written.discrepancies(2)) == 2
    await written.verify(fix=True)
    assert await written.discrepancies() == []


class TestEntriesThatAreNotSound:
    """Nobody's row is repaired from entries that somebody altered."""

    @pytest.fixture
    async def url(self, database_url: str) -> str:
        """A journal of every kind of change, open to any edit."""
        async with open_ledger(database_url) as manager:
            await write_journal(manager)
        for table in ("transactions", "postings", "seals"):
            if database_url.startswith("sqlite"):
                acts = ("update", "delete")
                await execute(database_url, *(f"DROP TRIGGER {table}_no_{act}" for act in acts))
            else:
                await execute(database_url, f"DROP TRIGGER {table}_append_only ON {table}")
        return database_url

    async def test_what_later_verifications_did_not_look_at_remains_known(self, url: str) -> None:
        drift = "UPDATE accounts SET balance = balance + 5 WHERE name = 'main/alice/USDT'"
        await execute(url, drift, "UPDATE seals SET seal = 'x' WHERE last = 1")
        async with open_ledger(url) as manager:

            async def known() -> set[tuple[str, str]]:
                return {(each.invariant, each.account) for each in await manager.discrepancies()}

            await manager.verify()
            everything = await known()
            journal = {each for each in everything if each[0] == Invariant.SEAL}
            assert journal and (Invariant.SNAPSHOT_REPLAY, "main/alice/USDT") in everything
            await manager.verify(user_id="bob")
            await manager.verify(book="demo")
            assert await known() == everything
            await manager.verify(fix=True, user_id="alice")
            assert await known() == journal | {(Invariant.CONSERVATION, NOBODY)}
            await execute(url, "UPDATE accounts SET held = held + 1 WHERE owner = 'bob'")
            await manager.verify(user_id="bob")
            assert (Invariant.SNAPSHOT_REPLAY, "main/bob/USDT") in await known()
            await manager.rebuild()
            assert await known() == journal

    @pytest.mark.parametrize(
        "statements",
        [
            # An entry altered, and the row with it, so that only the amounts before disagree.
            (
                "UPDATE postings SET balance = balance + 5 WHERE position = 12"
                " AND account_id = (SELECT id FROM accounts WHERE name = 'main/alice/USDT')",
            ),
            # The last entry, or the last transaction, taken away: the row is the only trace.
            (
                "DELETE FROM postings WHERE position = 12"
                " AND account_id = (SELECT id FROM accounts WHERE name = 'main/alice/USDT')",
            ),
            (
                "DELETE FROM postings WHERE position >= 12",
                "DELETE FROM transactions WHERE position >= 12",
                "DELETE FROM seals WHERE last >= 12",
                "DELETE FROM holds WHERE position >= 12",
                "UPDATE clock SET position = 8, seal = (SELECT seal FROM seals WHERE last = 8),"
                " created_at = (SELECT created_at FROM seals WHERE last = 8)",
                "DELETE FROM postings WHERE position > 8",
                "DELETE FROM transactions WHERE position > 8",
            ),
            # What the entry says of it is as it was, but not what its transaction says.
            (
                "UPDATE transactions SET description = 'x' WHERE position = 8",
                "UPDATE accounts SET balance = 1 WHERE name = 'main/alice/USDT'",
            ),
        ],
    )
    async def test_their_account_is_left_as_it_is(
        self, url: str, statements: tuple[str, ...]
    ) -> None:
        await execute(url, *statements)
        accounts = "SELECT * FROM accounts WHERE owner IN ('alice', '@world') ORDER BY id"
        before = await rows(url, accounts)
        async with open_ledger(url) as manager:
            for user_id in (None, "alice"):
                report = await manager.verify(fix=True, user_id=user_id)
                alices = [each for each in report.details if each.account == ALICE]
                assert alices
                assert not any(each.fixed for each in alices)
            with pytest.raises(AccountInconsistent):
                await manager.check_and_fix_balance_mismatch("alice")
        assert await rows(url, accounts) == before

    async def test_others_are_repaired(self, url: str) -> None:
        await execute(
            url,
            "UPDATE transactions SET description = 'x' WHERE position = 8",
            "UPDATE accounts SET balance = balance + 1 WHERE owner IN ('alice', 'dora')",
        )
        async with open_ledger(url) as manager:
            report = await manager.verify(fix=True)
        fixed = {each.account: each.fixed for each in report.details}
        assert (fixed[DORA], fixed[ALICE]) == (True, False)


def test_commands_put_right_what_can_be(database_url: str, tallywire: RunTallywire) -> None:
    asyncio.run(_write(database_url))
    names = "'main/alice/USDT', 'main/bob/USDT'"
    drift = f"UPDATE accounts SET balance = balance + 500000 WHERE name IN ({names})"
    mismatches = [
        "MISMATCH SNAPSHOT=REPLAY main/alice/USDT 24.500000 24.000000 0.500000",
        "MISMATCH SNAPSHOT=REPLAY main/bob/USDT 76.000000 75.500000 0.500000",
    ]
    for arguments, code, said in (
        (["reconcile", "--all", "--dry-run"], 1, mismatches),
        (["reconcile", "--all", "--limit", "1", "--batch-size", "1"], 0, mismatches[:1]),
        (["reconcile", "--user-id", "bob"], 0, mismatches[1:]),
        (["reconcile", "--all"], 0, []),
        (["rebuild"], 0, mismatches),
        (["verify", "--fix"], 0, mismatches),
        (["verify"], 0, []),
    ):
        if said == mismatches:
            asyncio.run(execute(database_url, drift))
        done = tallywire(*arguments, database_url=database_url)
        assert (done.returncode, done.stdout.splitlines()) == (code, said), arguments


def test_command_tells_how_far_it_is_and_of_texts(sqlite_url: str, tallywire: RunTallywire) -> None:
    asyncio.run(_write(sqlite_url))
    asyncio.run(
        execute(
            sqlite_url,
            "DROP TRIGGER transactions_no_update",
            "UPDATE transactions SET description = 'A \"new\" one' WHERE position = 1",
        )
    )
    done = tallywire("verify", "--progress", database_url=sqlite_url)
    assert done.returncode == 1
    assert re.search(r"checked \d+ of \d+, [\d,]+/s, \d+ s left", done.stderr)
    (line,) = [line for line in done.stdout.splitlines() if "SCREEN" in line]
    *_, stored, actual, difference = line.split(" ")
    assert (json.loads(stored), json.loads(actual)) == ("Bank deposit", 'A "new" one')
    assert (len(line.split(" ")), difference) == (6, "-")


def test_command_proves_that_a_logged_seal_is_there(
    sqlite_url: str, tallywire: RunTallywire
) -> None:
    asyncio.run(_write(sqlite_url))
    (clock,) = asyncio.run(rows(sqlite_url, "SELECT position, seal FROM clock"))
    logged = f"{clock['position']}:{clock['seal']}"
    done = tallywire("verify", "--logged-seal", logged, database_url=sqlite_url)
    assert (done.returncode, done.stdout) == (0, "")
    done = tallywire("verify", "--logged-seal", f"99:{'0' * 64}", database_url=sqlite_url)
    assert (done.returncode, done.stdout) == (1, f"MISMATCH SEAL - - {'0' * 64} -\n")


async def _write(url: str) -> None:
    async with open_ledger(url) as manager:
        await write_journal(manager)
