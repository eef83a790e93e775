"""Statements of the application's own, in the SQL transaction of the change that they belong to."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import TextClause, column, insert, table, text, update
from tallywire.ledger import TRANSACTION_ID, BalanceManager, Receipt, open_ledger
from tallywire.ledger.database import _POSTGRES_WRITER
from tallywire.ledger.errors import AlongsideFailed

from .asking import deposit, together, told, transfer, withdrawal
from .raw import execute, held, rows


@pytest.fixture
async def orders(database_url: str) -> str:
    """Tables of a host application; the result is the database's address."""
    await execute(
        database_url,
        "CREATE TABLE shops (id INTEGER PRIMARY KEY)",
        "INSERT INTO shops VALUES (1)",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, shop INTEGER"
        " REFERENCES shops (id) DEFERRABLE INITIALLY DEFERRED)",
    )
    return database_url


def order(number: int, shop: object = 1) -> TextClause:
    return text("INSERT INTO orders VALUES (:id, :shop)").bindparams(id=number, shop=shop)


async def stored(url: str) -> list[int]:
    return [row["id"] for row in await rows(url, "SELECT id FROM orders ORDER BY id")]


async def test_success(ledger: BalanceManager, orders: str) -> None:
    receipt = await ledger.add_to_balance("alice", "5", "prize", alongside=[order(1), order(2)])
    assert receipt.position == 1
    assert await stored(orders) == [1, 2]


async def test_failure_refuses_its_change_alone(ledger: BalanceManager, orders: str) -> None:
    """REJECTION_ATOMICITY: of one change's statements all or none, and only that change."""
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", "5", alongside=(order(1),)),
        deposit(ledger, "bob", "5", alongside=(order(2), order(1))),
        deposit(ledger, "carol", "5", alongside=(text("INSERT INTO nowhere VALUES (1)"),)),
        deposit(ledger, "dave", "5", alongside=(text("INSERT INTO orders VALUES (:lost, 1)"),)),
        deposit(ledger, "finn", "5", alongside=(order(4, shop=object()),)),
        withdrawal(ledger, "bob", "1"),
        deposit(ledger, "eve", "5", alongside=(order(3),)),
    )
    failed = "alongside_failed"
    assert told(outcomes) == [1, failed, failed, failed, failed, "insufficient_funds", 2]
    assert await stored(orders) == [1, 3]
    for outcome in outcomes[1:5]:
        assert isinstance(outcome, AlongsideFailed)
        assert outcome.__cause__ is not None


async def test_a_refused_or_replayed_change_runs_nothing(
    ledger: BalanceManager, orders: str
) -> None:
    """IDEMPOTENT_REPLAY: once, as the change itself."""
    outcomes = await together(
        ledger,
        withdrawal(ledger, "alice", alongside=(order(1),)),
        deposit(ledger, "alice", key="k", alongside=(order(2),)),
        deposit(ledger, "alice", key="k", alongside=(order(3),)),
    )
    assert told(outcomes) == ["insufficient_funds", 1, 1]
    again = await ledger.post(deposit(ledger, "alice", key="k", alongside=(order(4),)))
    assert again.replayed
    assert await stored(orders) == [2]


async def test_a_row_names_its_transaction(ledger: BalanceManager, database_url: str) -> None:
    """Of each change its own, in an INSERT, an UPDATE and in text, whoever shares the batch."""
    await execute(database_url, "CREATE TABLE notes (id INTEGER, made VARCHAR, undone VARCHAR)")
    notes = table("notes", column("id"), column("made"), column("undone"))
    receipts = await asyncio.gather(
        *(
            ledger.add_to_balance(
                "alice", "1", "x", alongside=[insert(notes).values(id=n, made=TRANSACTION_ID)]
            )
            for n in range(3)
        )
    )
    undone = await ledger.reverse(
        receipts[1].transaction_id,
        alongside=[
            update(notes).where(notes.c.id == 1).values(undone=TRANSACTION_ID),
            text("INSERT INTO notes VALUES (9, :tallywire_transaction_id, '')").bindparams(
                TRANSACTION_ID
            ),
        ],
    )
    assert [
        tuple(row.values()) for row in await rows(database_url, "SELECT * FROM notes ORDER BY 1")
    ] == [
        (0, receipts[0].transaction_id, None),
        (1, receipts[1].transaction_id, undone.transaction_id),
        (2, receipts[2].transaction_id, None),
        (9, undone.transaction_id, ""),
    ]


async def test_a_groups_statements_are_undone_with_it(ledger: BalanceManager, orders: str) -> None:
    """REJECTION_ATOMICITY of a group, its neighbours' statements untouched."""
    group = [
        deposit(ledger, "alice", alongside=(order(1),)),
        transfer(ledger, "alice", "bob"),
        deposit(ledger, "alice", alongside=(order(2), order(2))),
    ]
    whole = [deposit(ledger, "bob", alongside=(order(n),)) for n in (4, 5)]
    outcomes = await together(ledger, deposit(ledger, "carol", alongside=(order(3),)), group, whole)
    assert told(outcomes) == [1, "alongside_failed", 3]
    refusal = outcomes[1]
    assert isinstance(refusal, AlongsideFailed)
    assert refusal.extra["item"] == 2
    assert await stored(orders) == [3, 4, 5]


async def test_a_constraint_that_fails_at_commit(ledger: BalanceManager, orders: str) -> None:
    """REJECTION_ATOMICITY: the one whose row it is, found by halves; order and groups kept."""
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", alongside=(order(1),)),
        deposit(ledger, "alice"),
        deposit(ledger, "bob", alongside=(order(2, shop=7),)),
        [deposit(ledger, "carol"), deposit(ledger, "carol", alongside=(order(3),))],
        [deposit(ledger, "dave", alongside=(order(4, shop=7),)), deposit(ledger, "dave")],
        deposit(ledger, "alice", alongside=(order(5),)),
    )
    failed = "alongside_failed"
    assert told(outcomes) == [1, 2, failed, 4, failed, 5]
    assert await stored(orders) == [1, 3, 5]


async def test_a_trigger_that_fails_at_commit(
    ledger: BalanceManager, orders: str, database_url: str
) -> None:
    """REJECTION_ATOMICITY: what an application's own trigger raises is no defect of neighbours."""
    if database_url.startswith("postgresql"):
        await execute(
            orders,
            "CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'not today'; END $$",
            "CREATE CONSTRAINT TRIGGER picky AFTER INSERT ON orders DEFERRABLE INITIALLY"
            " DEFERRED FOR EACH ROW WHEN (NEW.id > 10) EXECUTE FUNCTION picky()",
        )
    else:
        await execute(
            orders,
            "CREATE TRIGGER picky BEFORE INSERT ON orders WHEN NEW.id > 10"
            " BEGIN SELECT RAISE(ABORT, 'not today'); END",
        )
    outcomes = await together(
        ledger,
        deposit(ledger, "alice", alongside=(order(1),)),
        deposit(ledger, "bob", alongside=(order(11),)),
        deposit(ledger, "carol", alongside=(order(2),)),
    )
    assert told(outcomes) == [1, "alongside_failed", 2]
    assert await stored(orders) == [1, 2]


async def test_statements_see_the_changes_before_theirs_only(
    ledger: BalanceManager, orders: str
) -> None:
    """The journal is written after the decisions: no statement can read this batch's own."""
    seen = text("INSERT INTO orders SELECT 100 + count(*), 1 FROM transactions")
    outcomes = await together(
        ledger, deposit(ledger, "alice"), deposit(ledger, "alice", alongside=(seen,))
    )
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    assert await stored(orders) == [100]


async def test_a_row_that_the_application_keeps_locked(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REJECTION_ATOMICITY: it costs its own change the wait, and nobody else theirs."""
    await execute(postgres_url, "CREATE TABLE shops (id int)", "INSERT INTO shops VALUES (1), (2)")
    # Else four seconds, the session's own.
    monkeypatch.setitem(_POSTGRES_WRITER, "lock_timeout", "300")
    touch = "UPDATE shops SET id = id WHERE id = "
    async with open_ledger(postgres_url) as ledger:
        async with held(postgres_url, f"{touch} 1"), asyncio.timeout(10):
            outcomes = await together(
                ledger,
                deposit(ledger, "alice"),
                deposit(ledger, "bob", alongside=(text(f"{touch} 1"),)),
                deposit(ledger, "carol", alongside=(text(f"{touch} 2"),)),
            )
        assert told(outcomes) == [1, "alongside_failed", 2]
        assert told(
            await together(ledger, deposit(ledger, "bob", alongside=(text(f"{touch} 1"),)))
        ) == [3]


async def test_a_statement_that_never_ends(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REJECTION_ATOMICITY"""
    # Else six seconds, the session's own.
    monkeypatch.setitem(_POSTGRES_WRITER, "statement_timeout", "500")
    async with open_ledger(postgres_url) as ledger, asyncio.timeout(10):
        outcomes = await together(
            ledger,
            deposit(ledger, "alice"),
            deposit(ledger, "bob", alongside=(text("SELECT pg_sleep(60)"),)),
            deposit(ledger, "carol"),
        )
        assert told(outcomes) == [1, "alongside_failed", 2]
