"""MIRROR=LEDGER: copies of balances in other tables, kept in the ledger's own commit."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from tallywire.ledger import (
    BalanceManager,
    Details,
    Receipt,
    TransactionType,
    changes,
    open_ledger,
)
from tallywire.ledger.database import _POSTGRES_WRITER
from tallywire.ledger.errors import InvalidRequest, MirrorBusy, MirrorRefused

from .asking import deposit, together, told, transfer, withdrawal
from .raw import execute, held, rows

REWARD = TransactionType(name="reward", direction="up", counter="@house", earning=True)
USERS: dict[str, Any] = {
    "table": "users",
    "column": "balance",
    "key": {"id": "{owner}"},
    "asset": "USD",
}


@pytest.fixture
async def users(database_url: str) -> str:
    """A host application's table with three users; the result is the database's address."""
    await execute(
        database_url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, balance DECIMAL(20, 2) NOT NULL DEFAULT 0,"
        " points BIGINT, CHECK (balance < 100000))",
        "INSERT INTO users (id, points) VALUES (1, 0), (2, 0), (3, 0)",
    )
    return database_url


async def stored(url: str, column: str = "balance") -> dict[int, Any]:
    """The column as exact decimals, by user."""
    found = await rows(url, f"SELECT id, {column} AS value FROM users ORDER BY id")
    return {
        row["id"]: None if row["value"] is None else Decimal(str(row["value"])) for row in found
    }


async def states(url: str) -> list[tuple[Any, ...]]:
    found = await rows(
        url,
        "SELECT a.owner, s.written, s.failure FROM mirror_states s"
        " JOIN accounts a ON a.id = s.account_id ORDER BY a.owner, s.mirror",
    )
    return [tuple(row.values()) for row in found]


async def discrepancies(ledger: BalanceManager, **of: Any) -> list[tuple[str | None, ...]]:
    return [
        (each.what, each.account, each.stored, each.actual, each.difference)
        async for page in ledger.mirrors.check(**of)
        for each in page
    ]


async def types(url: str) -> list[str]:
    return [
        row["type"] for row in await rows(url, "SELECT type FROM transactions ORDER BY position")
    ]


def usd(ledger: BalanceManager, user: str, amount: str, **more: Any) -> Any:
    kind = withdrawal if amount.startswith("-") else deposit
    return kind(ledger, user, amount.lstrip("-"), asset="USD", **more)


async def test_a_decimal_column_follows(ledger: BalanceManager, users: str) -> None:
    await ledger.register_mirror("balance", **USERS)
    outcomes = await together(
        ledger, usd(ledger, "1", "10.25"), usd(ledger, "2", "5"), usd(ledger, "1", "-0.20")
    )
    assert told(outcomes) == [1, 2, 3]
    assert await stored(users) == {1: Decimal("10.05"), 2: 5, 3: 0}
    assert await discrepancies(ledger) == []
    await ledger.post(usd(ledger, "1", "-10.05"))
    assert await stored(users) == {1: 0, 2: 5, 3: 0}
    assert await states(users) == [("1", 0, None), ("2", 500, None)]


async def test_two_assets_in_one_row(ledger: BalanceManager, users: str) -> None:
    """An integer column holds minor units."""
    await ledger.register_mirror("balance", **USERS)
    await ledger.register_mirror("points", **{**USERS, "column": "points", "asset": "USDT"})
    await together(ledger, usd(ledger, "1", "1.50"), deposit(ledger, "1", "2.5"))
    assert await stored(users) == {1: Decimal("1.50"), 2: 0, 3: 0}
    assert await stored(users, "points") == {1: 2_500_000, 2: 0, 3: 0}
    assert await discrepancies(ledger) == []


async def test_what_others_wrote_is_adopted(ledger: BalanceManager, users: str) -> None:
    """Booked first, as its own transaction; the change is decided on it."""
    await ledger.register_mirror("balance", **USERS)
    await ledger.post(usd(ledger, "1", "10"))
    await execute(users, "UPDATE users SET balance = balance + 5.5 WHERE id = 1")
    await execute(users, "UPDATE users SET balance = 7 WHERE id = 2")
    outcomes = await together(ledger, usd(ledger, "1", "-15"), usd(ledger, "2", "-8"))
    assert told(outcomes) == [3, "insufficient_funds"]
    assert await types(users) == ["deposit", "adoption", "withdrawal", "adoption"]
    assert await stored(users) == {1: Decimal("0.50"), 2: 7, 3: 0}
    (adoption,) = await ledger.history("2", type="adoption")
    assert adoption["metadata"] == {"mirror": "balance"}
    assert adoption["changes"][0]["amount"] == "7.00"
    assert await discrepancies(ledger) == []
    assert (await ledger.verify())["errors"] == 0


async def test_adoption_passes_status_and_floor(ledger: BalanceManager, users: str) -> None:
    """The money has moved already."""
    await ledger.register_mirror("balance", **USERS)
    await ledger.post(usd(ledger, "1", "10"))
    await ledger.post(
        changes.change_account(
            ledger.catalog,
            ledger.types["account_changed"],
            "1",
            asset="USD",
            book="main",
            settings={"status": "frozen"},
            details=Details(),
        )
    )
    await execute(users, "UPDATE users SET balance = -3 WHERE id = 1")
    assert told(await together(ledger, usd(ledger, "1", "1"))) == ["account_frozen"]
    assert await ledger.get_balance("1", asset="USD") == -3
    assert (await ledger.verify())["errors"] == 0


async def test_several_mirrors_bring_each_their_difference(
    ledger: BalanceManager, users: str
) -> None:
    await execute(
        users,
        "CREATE TABLE wallets (player VARCHAR(40) PRIMARY KEY, cents BIGINT)",
        "INSERT INTO wallets VALUES ('1', 0)",
    )
    await ledger.register_mirror("balance", **USERS)
    await ledger.register_mirror(
        "wallet", table="wallets", column="cents", key={"player": "{owner}"}, asset="USD"
    )
    await ledger.post(usd(ledger, "1", "10"))
    await execute(
        users,
        "UPDATE users SET balance = balance + 2 WHERE id = 1",
        "UPDATE wallets SET cents = cents - 50",
    )
    await ledger.post(usd(ledger, "1", "1"))
    assert (await stored(users))[1] == Decimal("12.50")
    assert await rows(users, "SELECT cents FROM wallets") == [{"cents": 1250}]
    assert (await types(users)).count("adoption") == 2


async def test_the_ledgers_value_wins(ledger: BalanceManager, users: str) -> None:
    await ledger.register_mirror("balance", **USERS, on_drift="overwrite")
    await ledger.post(usd(ledger, "1", "10"))
    await execute(users, "UPDATE users SET balance = 99 WHERE id = 1")
    await ledger.post(usd(ledger, "1", "1"))
    assert (await stored(users))[1] == 11
    assert await types(users) == ["deposit", "deposit"]


async def test_a_missing_row_stops_nothing(ledger: BalanceManager, users: str) -> None:
    await ledger.register_mirror("balance", **USERS)
    owners = ["7", "01", "not-a-number", "99999999999999999999"]
    outcomes = await together(ledger, *(usd(ledger, owner, "5") for owner in owners))
    assert told(outcomes) == [1, 2, 3, 4]
    assert [(o, w) for o, w, _ in await states(users)] == [(o, None) for o in sorted(owners)]
    found = await discrepancies(ledger)
    assert ("mirror balance: there is no such row", "main/01/USD", None, "5.00", None) in found
    assert len(found) == 4
    assert (await stored(users))[1] == 0
    # A row that comes later takes the ledger's value, whatever its default.
    await execute(users, "INSERT INTO users (id, balance) VALUES (7, 0)")
    await ledger.post(usd(ledger, "7", "1"))
    assert (await stored(users))[7] == 6
    assert "adoption" not in await types(users)


async def test_a_row_reported_missing_has_no_say(ledger: BalanceManager, users: str) -> None:
    """Made anew with a default, it would book the balance away."""
    await ledger.register_mirror("balance", **USERS)
    await ledger.post(usd(ledger, "1", "10"))
    await execute(users, "DELETE FROM users WHERE id = 1")
    for _ in range(2):
        assert dict(await ledger.sync_balances())["errors"] == 1
    assert await states(users) == [("1", None, "there is no such row")]
    await execute(users, "INSERT INTO users (id) VALUES (1)")
    await ledger.post(usd(ledger, "1", "1"))
    assert await types(users) == ["deposit", "deposit"]
    assert (await stored(users))[1] == 11


async def test_a_row_made_alongside(ledger: BalanceManager, users: str) -> None:
    await ledger.register_mirror("balance", **USERS)
    made = text("INSERT INTO users (id) VALUES (9)")
    await ledger.post(usd(ledger, "9", "4", alongside=(made,)))
    assert (await stored(users))[9] == 4
    assert await discrepancies(ledger) == []


async def test_a_row_written_alongside(ledger: BalanceManager, users: str) -> None:
    """The ledger's value wins, also where the batch leaves it as it was: nothing is adopted."""
    await ledger.register_mirror("balance", **USERS)
    more = text("UPDATE users SET balance = balance + 50 WHERE id = 1")
    await together(ledger, usd(ledger, "1", "50", alongside=(more,)), usd(ledger, "1", "-50"))
    assert await discrepancies(ledger) == []
    await ledger.post(usd(ledger, "1", "1"))
    assert (await stored(users))[1] == 1
    assert await types(users) == ["deposit", "withdrawal", "deposit"]


@pytest.mark.parametrize("on_failure", ["abort", "defer"])
async def test_a_row_that_the_database_refuses(
    ledger: BalanceManager, users: str, on_failure: str
) -> None:
    """REJECTION_ATOMICITY: only that change is refused; or its row is written later."""
    await ledger.register_mirror("balance", **USERS, on_failure=on_failure)
    outcomes = await together(
        ledger,
        usd(ledger, "1", "5"),
        usd(ledger, "2", "100000"),
        usd(ledger, "3", "5"),
        usd(ledger, "1", "1"),
    )
    if on_failure == "abort":
        assert told(outcomes) == [1, "invalid_request", 2, 3]
        refusal = outcomes[1]
        assert isinstance(refusal, MirrorRefused)
        assert "'balance'" in refusal.detail
    else:
        assert told(outcomes) == [1, 2, 3, 4]
        (_, written, failure) = (await states(users))[1]
        assert written == 0
        assert failure
        assert len(await discrepancies(ledger)) == 1
        # Others' writing meanwhile is no less adopted.
        await execute(users, "UPDATE users SET balance = balance + 1 WHERE id = 2")
        await ledger.post(usd(ledger, "2", "-50000"))
    assert await stored(users) == {1: 6, 2: 50001 if on_failure == "defer" else 0, 3: 5}
    assert await discrepancies(ledger) == []


async def test_deferred_is_retried(ledger: BalanceManager, users: str) -> None:
    await ledger.register_mirror("balance", **USERS, on_failure="defer")
    await ledger.post(usd(ledger, "2", "100000"))
    await ledger.retry_mirrors()
    assert (await stored(users))[2] == 0
    await execute(users, "DELETE FROM users WHERE id = 2")
    await execute(
        users,
        "CREATE TABLE new_users (id INTEGER PRIMARY KEY, balance DECIMAL(20, 2), points BIGINT)",
        "INSERT INTO new_users VALUES (2, 0, 0)",
        "DROP TABLE users",
        "ALTER TABLE new_users RENAME TO users",
    )
    await ledger.retry_mirrors()
    assert (await stored(users))[2] == 100000
    assert await types(users) == ["deposit"]
    assert await discrepancies(ledger) == []


async def test_deferred_is_retried_once_a_pause_is_over(ledger: BalanceManager, users: str) -> None:
    await ledger.register_mirror("balance", **USERS, on_failure="defer")
    async with open_ledger(users) as worker:
        await ledger.administration.pause("root")
        await worker.read_catalog()
        await ledger.administration.resume("root")
        await ledger.post(usd(ledger, "1", "100000"))
        await execute(users, "UPDATE users SET balance = -1 WHERE id = 1")
        await worker.retry_mirrors()
    assert (await stored(users))[1] == 99999


@pytest.mark.parametrize("on_failure", ["abort", "defer"])
async def test_a_table_that_is_gone(ledger: BalanceManager, users: str, on_failure: str) -> None:
    await ledger.register_mirror("balance", **USERS, on_failure=on_failure)
    await execute(users, "ALTER TABLE users RENAME TO people")
    outcomes = await together(ledger, usd(ledger, "1", "5"), deposit(ledger, "1", "5"))
    refused = on_failure == "abort"
    assert told(outcomes) == (["invalid_request", 1] if refused else [1, 2])
    found = await discrepancies(ledger)
    assert refused or "users" in str(found[0][0])
    await execute(users, "ALTER TABLE people RENAME TO users")
    await ledger.retry_mirrors()
    assert (await stored(users))[1] == (0 if refused else 5)


async def test_shadow_is_compared_and_left_alone(ledger: BalanceManager, users: str) -> None:
    await ledger.register_mirror("balance", **USERS, mode="shadow")
    await ledger.post(usd(ledger, "1", "10"))
    assert (await stored(users))[1] == 0
    assert await discrepancies(ledger) == [
        ("mirror balance", "main/1/USD", "0.00", "10.00", "-10.00")
    ]
    report = await ledger.sync_balances()
    assert (report["synced"], report["errors"]) == (0, 1)
    await ledger.register_mirror("balance", **USERS)
    await execute(users, "UPDATE users SET balance = 12 WHERE id = 1")
    report = await ledger.sync_balances()
    assert (report["synced"], report["errors"]) == (1, 0)
    assert await types(users) == ["deposit", "adoption"]


async def test_a_pattern_of_books(ledger: BalanceManager, database_url: str) -> None:
    await execute(
        database_url,
        'CREATE TABLE "game players" (game_id VARCHAR(20), player_id VARCHAR(40),'
        ' "cash:now" BIGINT NOT NULL, PRIMARY KEY (game_id, player_id))',
        "INSERT INTO \"game players\" VALUES ('42', 'p-ann', 0), ('43', 'p-ann', 0)",
    )
    await ledger.register_mirror(
        "cash",
        table="game players",
        column="cash:now",
        key={"game_id": "{game}", "player_id": "p-{owner}"},
        book="game:{game}",
        asset="USD",
    )
    for game in ("42", "43"):
        await ledger.administration.put_book(f"game:{game}", {}, actor="root")
    await together(
        ledger,
        usd(ledger, "ann", "1", book="game:42"),
        usd(ledger, "ann", "2", book="game:43"),
        usd(ledger, "ann", "3"),
    )
    found = await rows(database_url, 'SELECT * FROM "game players" ORDER BY game_id')
    assert [row["cash:now"] for row in found] == [100, 200]
    assert await discrepancies(ledger) == []
    assert await discrepancies(ledger, book="game:42") == []


async def test_the_other_values(ledger: BalanceManager, users: str) -> None:
    ledger.register_type(REWARD)
    for value in ("available", "total_in", "total_out", "total_earned"):
        await execute(users, f"ALTER TABLE users ADD COLUMN {value} BIGINT")
        drift = "adopt" if value == "available" else "overwrite"
        options = {**USERS, "column": value, "value": value}
        await ledger.register_mirror(value, **options, on_drift=drift)
    await ledger.post(usd(ledger, "1", "10"))
    await ledger.post(usd(ledger, "1", "-4"))
    await ledger.place_hold("1", "1", asset="USD")
    await ledger.update_balance("1", "2", "reward", asset="USD")
    columns = "available, total_in, total_out, total_earned"
    found = await rows(users, f"SELECT {columns} FROM users WHERE id = 1")
    assert [tuple(row.values()) for row in found] == [(700, 1000, 400, 200)]
    assert await discrepancies(ledger) == []


async def test_sync_twice_changes_nothing(ledger: BalanceManager, users: str) -> None:
    await together(ledger, *(usd(ledger, str(n), "10") for n in (1, 2, 3)))
    await execute(users, "UPDATE users SET balance = 10 WHERE id = 1")
    await execute(users, "UPDATE users SET balance = 4 WHERE id = 2")
    await ledger.register_mirror("balance", **USERS)
    await ledger.register_mirror("points", **{**USERS, "column": "points"}, on_drift="overwrite")
    report = await ledger.sync_balances()
    assert (report["checked"], report["synced"], report["errors"]) == (6, 5, 0)
    assert await stored(users) == {1: 10, 2: 4, 3: 0}
    assert await stored(users, "points") == {1: 1000, 2: 400, 3: 0}
    head = (await ledger.reader.head()).position
    again = await ledger.sync_balances()
    assert (again["synced"], again["errors"]) == (0, 0)
    assert (await ledger.reader.head()).position == head
    assert (await ledger.verify())["errors"] == 0


async def test_sync_repairs_where_the_ledger_wins(ledger: BalanceManager, users: str) -> None:
    await ledger.register_mirror("balance", **USERS, on_drift="overwrite")
    await ledger.post(usd(ledger, "1", "10"))
    await execute(users, "UPDATE users SET balance = 4 WHERE id = 1")
    report = await ledger.sync_balances("1", actor="root")
    assert (report["synced"], report["errors"]) == (1, 0)
    assert (await stored(users))[1] == 10
    assert await types(users) == ["deposit", "repair"]


async def test_another_process_follows(ledger: BalanceManager, users: str) -> None:
    """A registration holds from the next batch of every process."""
    async with open_ledger(users) as other:
        await other.post(usd(other, "1", "1"))
        await ledger.register_mirror("balance", **USERS, on_drift="overwrite")
        await other.post(usd(other, "1", "1"))
        assert (await stored(users))[1] == 2
        await ledger.unregister_mirror("balance")
        await other.post(usd(other, "1", "1"))
        assert (await stored(users))[1] == 2
    assert await states(users) == []


async def test_legacy_code_and_the_ledger_at_once(ledger: BalanceManager, users: str) -> None:
    """64 changes while others change the same row: not a cent is lost or made."""
    await ledger.register_mirror("balance", **USERS)
    await ledger.post(usd(ledger, "1", "100"))

    async def legacy() -> None:
        for _ in range(20):
            await execute(users, "UPDATE users SET balance = balance + 0.25 WHERE id = 1")

    async def ours() -> None:
        for _ in range(4):
            outcomes = await together(ledger, *(usd(ledger, "1", "1") for _ in range(16)))
            assert all(isinstance(outcome, (Receipt, MirrorBusy)) for outcome in outcomes)
            accepted.extend(o for o in outcomes if isinstance(o, Receipt))

    accepted: list[Receipt] = []
    await asyncio.gather(legacy(), ours())
    report = await ledger.sync_balances()
    assert report["errors"] == 0
    expected = 100 + len(accepted) + Decimal("0.25") * 20
    assert await ledger.get_balance("1", asset="USD") == expected
    assert (await stored(users))[1] == expected
    assert (await ledger.verify())["errors"] == 0


async def test_a_row_that_others_keep_locked(postgres_url: str) -> None:
    """Only its changes are refused, by name; nobody waits for it a second time."""
    await execute(
        postgres_url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, balance DECIMAL(20, 2) NOT NULL DEFAULT 0)",
        "CREATE TABLE orders (user_id INTEGER REFERENCES users (id))",
        "INSERT INTO users VALUES (1), (2), (3)",
    )
    async with open_ledger(postgres_url) as ledger:
        await ledger.register_mirror("balance", **USERS)
        loop = asyncio.get_running_loop()
        async with (
            held(postgres_url, "SELECT * FROM users WHERE id = 1 FOR UPDATE"),
            held(postgres_url, "INSERT INTO orders VALUES (2)"),
        ):
            began = loop.time()
            outcomes = await together(
                ledger, *(usd(ledger, str(n), "1") for n in (1, 2, 3)), transfer(ledger, "x", "y")
            )
            assert told(outcomes) == ["mirror_busy", 1, 2, "insufficient_funds"]
            refusal = outcomes[0]
            assert isinstance(refusal, MirrorBusy)
            assert "'balance'" in refusal.detail
            waited = loop.time() - began
            began = loop.time()
            outcomes = await together(ledger, *(usd(ledger, str(n), "1") for n in (1, 2)))
            assert told(outcomes) == ["mirror_busy", 3]
            # The first waited for a second, whatever else both took.
            assert loop.time() - began < waited - 0.5
            await ledger.register_mirror("balance", **USERS, on_failure="defer")
            assert told(await together(ledger, usd(ledger, "1", "5"))) == [4]
        await ledger.retry_mirrors()
        assert await stored(postgres_url) == {1: 5, 2: 2, 3: 1}


@pytest.mark.parametrize("away", ["users RENAME TO away", "users RENAME COLUMN balance TO away"])
async def test_the_same_again_while_the_table_is_gone(
    database_url: str, users: str, away: str
) -> None:
    """An application that registers at its start starts; what is new is still looked for."""
    mirror = {**USERS, "on_failure": "defer"}
    async with open_ledger(database_url) as ledger:
        await ledger.register_mirror("balance", **mirror)
    await execute(users, f"ALTER TABLE {away}")
    async with open_ledger(database_url) as ledger:
        await ledger.register_mirror("balance", **mirror)
        assert told(await together(ledger, usd(ledger, "1", "5"))) == [1]
        for changed in (
            {"value": "available"},
            {"key": {"id": "1{owner}"}},
            {"on_failure": "abort"},
        ):
            with pytest.raises(InvalidRequest, match="there is no"):
                await ledger.register_mirror("balance", **{**mirror, **changed})
        with pytest.raises(InvalidRequest, match="there is no"):
            await ledger.register_mirror("other", **mirror)


@pytest.mark.parametrize("mode", ["SHARE", "ACCESS EXCLUSIVE"])
@pytest.mark.parametrize("on_failure", ["abort", "defer"])
async def test_a_table_that_others_keep_locked(
    postgres_url: str, on_failure: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    As for CREATE INDEX: its changes are refused by name, however many, of however many mirrors;
    one batch waits, once.
    """
    monkeypatch.setitem(_POSTGRES_WRITER, "lock_timeout", "500")
    await execute(
        postgres_url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, balance DECIMAL(20, 2) NOT NULL DEFAULT 0,"
        " a BIGINT, b BIGINT, c BIGINT, d BIGINT)",
        "INSERT INTO users SELECT generate_series(1, 16)",
    )
    async with open_ledger(postgres_url) as ledger:
        for column in ("balance", "a", "b", "c", "d"):
            of = {**USERS, "column": column, "on_failure": on_failure}
            await ledger.register_mirror(column, **of)
        loop = asyncio.get_running_loop()
        async with held(postgres_url, f"LOCK TABLE users IN {mode} MODE"):
            began = loop.time()
            for _ in range(2):
                outcomes = await together(
                    ledger, *(usd(ledger, str(n), "1") for n in range(1, 17)), deposit(ledger, "x")
                )
                refused = on_failure == "abort"
                assert ("mirror_busy" in told(outcomes)) == refused
                assert sum(isinstance(each, Receipt) for each in outcomes) == (1 if refused else 17)
            assert loop.time() - began < 2
        await ledger.retry_mirrors()


async def test_two_writers_on_rows_in_opposite_order(postgres_url: str) -> None:
    """Two assets in one row are two accounts: neither writer keeps the other from its rows."""
    await execute(
        postgres_url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, balance DECIMAL(20, 2), points BIGINT)",
        "INSERT INTO users VALUES (1, 0, 0), (2, 0, 0)",
    )
    async with open_ledger(postgres_url) as one, open_ledger(postgres_url) as other:
        await one.register_mirror("balance", **USERS)
        await one.register_mirror("points", **{**USERS, "column": "points", "asset": "USDT"})
        for _ in range(20):
            outcomes = await asyncio.gather(
                together(one, usd(one, "1", "1"), deposit(one, "2", "1")),
                together(other, usd(other, "2", "1"), deposit(other, "1", "1")),
            )
            assert all(isinstance(each, Receipt) for pair in outcomes for each in pair)
        assert await stored(postgres_url) == {1: 20, 2: 20}
        assert await discrepancies(one) == []
