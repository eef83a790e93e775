"""The ledger inside a Python program: no server, the same rules, on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import tallywire
from sqlalchemy import (
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tallywire import (
    AlongsideFailed,
    BalanceManager,
    Conflict,
    IdempotencyKeyReused,
    InsufficientFunds,
    InvalidAmount,
    InvalidRequest,
    LedgerError,
    TransactionType,
    UnknownAsset,
    UnknownBook,
    open_ledger,
    open_ledger_sync,
)
from tallywire.ledger import Batch, Details, changes, errors

from .journeys.client import Accounts, check_update

_TABLES = MetaData()
ORDERS = Table(
    "orders",
    _TABLES,
    Column("id", Integer, primary_key=True),
    Column("player", String(40), nullable=False),
    Column("pieces", Integer, CheckConstraint("pieces > 0"), nullable=False),
)


@pytest.fixture
async def manager(database_url: str) -> AsyncIterator[BalanceManager]:
    """An open ledger on a database that has its schema."""
    async with open_ledger(database_url) as manager:
        yield manager


@pytest.fixture
async def application(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The host application's own engine, on the same database, with its table `orders`."""
    url = make_url(database_url)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(_TABLES.create_all)
    yield engine
    await engine.dispose()


async def _orders(application: AsyncEngine) -> list[tuple[Any, ...]]:
    async with application.connect() as connection:
        rows = await connection.execute(select(ORDERS).order_by(ORDERS.c.id))
        return [tuple(row) for row in rows]


async def _balance(manager: BalanceManager, user: str) -> Decimal:
    return await manager.get_balance(user)


def _updates_follow(updates: list[dict[str, Any]]) -> Accounts:
    accounts = Accounts()
    for each in updates:
        check_update(each)
        accounts.follow(each, complete=True)
    return accounts


async def test_the_example_of_the_contract(manager: BalanceManager) -> None:
    receipt = await manager.update_balance(
        "alice",
        "500.25",
        "deposit",
        "Bank deposit",
        {"via": "bank"},
        actor="root",
        idempotency_key="k1",
    )
    assert receipt.position == 1 and not receipt.replayed
    (shown,) = receipt.updates
    assert shown["transaction_id"] == receipt.transaction_id
    assert (shown["actor"], shown["idempotency_key"]) == ("root", "k1")
    assert shown["metadata"] == {"via": "bank"}
    _updates_follow(receipt.updates)
    assert await manager.get_balance("alice") == Decimal("500.25")

    again = await manager.update_balance(
        "alice",
        Decimal("500.250"),
        "deposit",
        "Bank deposit",
        {"via": "bank"},
        actor="root",
        idempotency_key="k1",
    )
    assert again.replayed
    assert again.transaction_id == receipt.transaction_id
    assert again.updates == receipt.updates
    with pytest.raises(IdempotencyKeyReused):
        await manager.update_balance("alice", "1", "deposit", actor="root", idempotency_key="k1")
    other = await manager.update_balance(
        "alice", "1", "deposit", actor="other", idempotency_key="k1"
    )
    assert not other.replayed


async def test_amounts_are_in_the_accounts_own_sense(manager: BalanceManager) -> None:
    await manager.update_balance("alice", "10", "deposit")
    await manager.update_balance("alice", "-4", "withdrawal")
    assert await _balance(manager, "alice") == 6
    for amount, kind in (("4", "withdrawal"), ("-1", "deposit"), ("0", "adjustment")):
        with pytest.raises(InvalidAmount):
            await manager.update_balance("alice", amount, kind)
    for wrong in (1.5, 1, True, None, Decimal("NaN"), Decimal("Infinity"), Decimal("0.0000001")):
        with pytest.raises((InvalidAmount, TypeError)):
            await manager.update_balance("alice", wrong, "deposit")  # type: ignore[arg-type]
    assert await _balance(manager, "alice") == 6
    assert await manager.get_balance("nobody") == 0
    assert (await manager.reader.head()).position == 2


def test_every_refusal_can_be_caught_by_its_name() -> None:
    classes = {each for each in vars(errors).values() if isinstance(each, type)}
    refusals = {each.__name__ for each in classes if issubclass(each, LedgerError)}
    assert refusals <= set(tallywire.__all__)
    for name in tallywire.__all__:
        assert hasattr(tallywire, name)


async def test_the_verbs(manager: BalanceManager) -> None:
    await manager.add_to_balance("alice", "100", "opening gift")
    await manager.subtract_from_balance("alice", "30", "correction")
    await manager.charge_service("alice", "5", "vps", "October", reference="inv-1")
    await manager.recharge("alice", "2.5")
    await manager.transfer("alice", "bob", "7.5")
    receipt = await manager.set_balance("alice", "50", "counted")
    assert await _balance(manager, "alice") == 50
    assert await _balance(manager, "bob") == Decimal("7.5")
    assert receipt.updates[0]["changes"][0]["amount"] == "-10.000000"
    seq = receipt.updates[0]["changes"][0]["seq"]
    with pytest.raises(Conflict):
        await manager.set_balance("alice", "1", "stale", if_seq=seq - 1)
    await manager.set_balance("alice", "51", "fresh", if_seq=seq)

    history = await manager.history("alice")
    assert [entry["change_type"] for entry in reversed(history)] == [
        "adjustment",
        "adjustment",
        "charge",
        "recharge",
        "transfer",
        "adjustment",
        "adjustment",
    ]
    assert history[-1]["description"] == "opening gift"
    charge = history[-3]
    assert charge["metadata"] == {"service_type": "vps"} and charge["reference"] == "inv-1"
    accounts = _updates_follow(history[::-1])
    assert accounts.shown["main/alice/USDT"]["balance"] == "51.000000"
    assert [h["change_type"] for h in await manager.history("alice", type="charge")] == ["charge"]
    assert len(await manager.history("alice", limit=2)) == 2
    older = await manager.history("alice", before=history[1]["position"])
    assert older == history[2:]


async def test_the_verbs_of_a_debit_book(manager: BalanceManager) -> None:
    await manager.administration.put_book("flats", {"side": "debit"}, actor="root")
    place: dict[str, Any] = {"asset": "EUR", "book": "flats"}
    shares = {"flat-2": 1, "flat-1": 1, "attic": 0}
    charge = await manager.shared_charge(
        shares, "100.01", "Oil", category="heating", metadata={"litres": 90}, **place
    )
    parts = {update["user_id"]: update["changes"][0]["amount"] for update in charge.updates}
    # The odd cent is that of the earlier share, and a share of nothing is an entry too.
    assert parts == {"flat-2": "50.01", "flat-1": "50.00", "attic": "0.00"}
    assert charge.updates[0]["metadata"] == {"litres": 90, "category": "heating"}
    assert charge.updates[0]["description"] == "Oil"
    paid = await manager.pay("flat-1", "70", "By bank", reference="r-1", **place)
    (change,) = paid.updates[0]["changes"]
    assert (change["amount"], change["balance"]) == ("-70.00", "-20.00")
    assert paid.updates[0]["change_type"] in {kind.name for kind in manager.types.payments()}
    assert charge.updates[0]["change_type"] in {kind.name for kind in manager.types.charges()}
    await manager.reverse(charge.transaction_id, "Entered twice")
    assert await manager.get_balance("flat-1", **place) == -70
    assert await manager.get_balance("flat-2", **place) == 0

    for wrong in ({}, {"flat-1": 0}, {"flat-1": -1, "flat-2": 2}, {"@house": 1}):
        with pytest.raises(InvalidRequest):
            await manager.shared_charge(wrong, "1", **place)
    for amount in ("0", "-1", "1.001"):
        with pytest.raises(InvalidAmount):
            await manager.shared_charge(shares, amount, **place)
        with pytest.raises(InvalidAmount):
            await manager.pay("flat-1", amount, **place)
    with pytest.raises(InvalidRequest):
        await manager.pay("alice", "1")
    with pytest.raises(InvalidRequest):
        await manager.shared_charge(shares, "1")
    assert (await manager.reader.head()).position == 3


async def test_refusals_are_exceptions_and_change_nothing(manager: BalanceManager) -> None:
    await manager.update_balance("alice", "10", "deposit")
    with pytest.raises(InsufficientFunds) as refusal:
        await manager.update_balance("alice", "-10.000001", "withdrawal")
    assert isinstance(refusal.value, LedgerError)
    assert refusal.value.extra["required"] == "10.000001"
    assert refusal.value.extra["available"] == "10.000000"
    with pytest.raises(UnknownAsset):
        await manager.update_balance("alice", "1", "deposit", asset="NOPE")
    with pytest.raises(UnknownBook):
        await manager.update_balance("alice", "1", "deposit", book="nowhere")
    with pytest.raises(InvalidRequest):
        await manager.update_balance("@world", "1", "deposit")
    with pytest.raises(InvalidRequest):
        await manager.update_balance("alice", "1", "no such type")
    assert (await manager.reader.head()).position == 1


async def test_a_wallet_is_one_account(manager: BalanceManager) -> None:
    await manager.administration.put_book("game:42", {"side": "credit"}, actor="root")
    wallet = manager.wallet("player-7", asset="USD", book="game:42")
    await wallet.add_to_balance("12000.00", reason="start money")
    await wallet.subtract_from_balance("5000.00", reason="procurement_order")
    assert await wallet.get_balance() == Decimal("7000.00")
    assert await manager.get_balance("player-7", asset="USD", book="game:42") == 7000
    assert await manager.get_balance("player-7") == 0
    with pytest.raises(InsufficientFunds):
        await wallet.subtract_from_balance("7000.01", reason="too much")
    entries = await wallet.history()
    assert [entry["description"] for entry in entries] == ["procurement_order", "start money"]
    assert {entry["change_type"] for entry in entries} == {"adjustment"}


async def test_many_tasks_share_one_manager(manager: BalanceManager) -> None:
    await manager.update_balance("alice", "100", "deposit")

    async def spend() -> bool:
        try:
            await manager.subtract_from_balance("alice", "0.70", "spent")
        except InsufficientFunds:
            return False
        return True

    outcomes = await asyncio.gather(*(spend() for _ in range(300)))
    assert outcomes.count(True) == 142
    assert await _balance(manager, "alice") == Decimal("0.60")


async def test_two_managers_on_one_database(database_url: str) -> None:
    async with open_ledger(database_url) as one, open_ledger(database_url) as two:
        await one.update_balance("alice", "100", "deposit")
        outcomes = await asyncio.gather(
            *(
                manager.subtract_from_balance("alice", "1", f"{n}")
                for n in range(60)
                for manager in (one, two)
            ),
            return_exceptions=True,
        )
        receipts = [each for each in outcomes if not isinstance(each, BaseException)]
        refusals = [each for each in outcomes if isinstance(each, BaseException)]
        assert len(receipts) == 100
        assert all(isinstance(refusal, InsufficientFunds) for refusal in refusals)
        assert sorted(receipt.position for receipt in receipts) == list(range(2, 102))
        assert await _balance(two, "alice") == await _balance(one, "alice") == 0
        _updates_follow((await one.history("alice", limit=200))[::-1])


async def _changes(manager: BalanceManager, *moves: tuple[str, str, str]) -> list[Any]:
    return [
        await manager.prepare(
            lambda catalog, move=move: changes.signed(  # type: ignore[misc]
                catalog,
                manager.types[move[2]],
                move[0],
                move[1],
                asset="USDT",
                book="main",
                details=Details(actor="root"),
            )
        )
        for move in moves
    ]


async def test_post_many_decides_each_or_all(manager: BalanceManager) -> None:
    mixed = await _changes(
        manager,
        ("alice", "10", "deposit"),
        ("alice", "-11", "withdrawal"),
        ("alice", "-10", "withdrawal"),
    )
    outcomes = await manager.post_many(mixed)
    assert isinstance(outcomes[1], InsufficientFunds)
    assert [getattr(outcome, "position", None) for outcome in outcomes] == [1, None, 2]

    with pytest.raises(InsufficientFunds) as refusal:
        await manager.post_many(mixed, atomic=True)
    assert refusal.value.extra["item"] == 1
    assert (await manager.reader.head()).position == 2
    assert await _balance(manager, "alice") == 0

    whole = await _changes(
        manager, ("alice", "10", "deposit"), ("alice", "-3", "withdrawal"), ("bob", "1", "deposit")
    )
    receipts = await manager.post_many(whole, atomic=True)
    assert [getattr(receipt, "position", None) for receipt in receipts] == [3, 4, 5]
    assert await _balance(manager, "alice") == 7


async def test_a_statement_alongside_is_in_the_same_commit(
    manager: BalanceManager, application: AsyncEngine
) -> None:
    wallet = manager.wallet("player-7")
    await wallet.add_to_balance("100", reason="start money")
    order = insert(ORDERS).values(id=1, player="player-7", pieces=3)
    await wallet.subtract_from_balance("60", reason="order", alongside=[order])
    assert await _orders(application) == [(1, "player-7", 3)]
    assert await wallet.get_balance() == 40

    # Funds refused: the statement did not happen either.
    with pytest.raises(InsufficientFunds):
        await wallet.subtract_from_balance(
            "60",
            reason="order",
            alongside=[insert(ORDERS).values(id=2, player="player-7", pieces=1)],
        )
    assert await _orders(application) == [(1, "player-7", 3)]

    # Several run in their order, and see one another.
    await wallet.subtract_from_balance(
        "1",
        reason="order",
        alongside=[
            insert(ORDERS).values(id=2, player="player-7", pieces=1),
            update(ORDERS).where(ORDERS.c.id == 2).values(pieces=ORDERS.c.pieces + 1),
        ],
    )
    assert (await _orders(application))[1] == (2, "player-7", 2)


async def test_a_failing_statement_refuses_its_own_change_alone(
    manager: BalanceManager, application: AsyncEngine
) -> None:
    await manager.update_balance("alice", "100", "deposit")
    head = (await manager.reader.head()).position

    async def order(number: int) -> str:
        # Every third breaks the table's CHECK; their pieces come to nothing.
        statement = insert(ORDERS).values(id=number, player="alice", pieces=number % 3)
        try:
            await manager.subtract_from_balance("alice", "1", "order", alongside=[statement])
        except AlongsideFailed as failed:
            assert failed.__cause__ is not None
            return "failed"
        return "done"

    outcomes = await asyncio.gather(*(order(number) for number in range(30)))
    assert outcomes == ["failed" if number % 3 == 0 else "done" for number in range(30)]
    assert [row[0] for row in await _orders(application)] == [n for n in range(30) if n % 3]
    assert await _balance(manager, "alice") == 80
    assert (await manager.reader.head()).position == head + 20
    _updates_follow((await manager.history("alice"))[::-1])


async def test_a_statement_runs_once_under_a_key(
    manager: BalanceManager, application: AsyncEngine
) -> None:
    await manager.update_balance("alice", "100", "deposit")
    for _ in range(2):
        await manager.subtract_from_balance(
            "alice",
            "1",
            "order",
            idempotency_key="order-9",
            actor="shop",
            alongside=[insert(ORDERS).values(id=9, player="alice", pieces=1)],
        )
    async with application.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(ORDERS)) == 1
    assert await _balance(manager, "alice") == 99


async def test_an_application_registers_its_own_types(manager: BalanceManager) -> None:
    manager.register_type(
        TransactionType(name="cashback", direction="up", counter="@house", counts=True)
    )
    receipt = await manager.update_balance("alice", "3", "cashback")
    (shown,) = receipt.updates
    assert shown["change_type"] == "cashback"
    assert shown["changes"][0]["total_in"] == "3.000000"
    with pytest.raises(InvalidAmount):
        await manager.update_balance("alice", "-3", "cashback")
    # A reason that is a registered type is that type.
    receipt = await manager.add_to_balance("alice", "1", "cashback")
    assert receipt.updates[0]["change_type"] == "cashback"
    with pytest.raises(InvalidRequest):
        manager.register_type(TransactionType(name="deposit", direction="down", counter="@house"))
    # On a debit book it makes the debt smaller, as a payment does.
    assert {kind.name for kind in manager.types.payments()} == {"payment", "cashback"}


async def test_a_debit_book(manager: BalanceManager) -> None:
    await manager.administration.put_book("building:7", {"side": "debit"}, actor="root")
    flat = manager.wallet("apartment-12", asset="EUR", book="building:7")
    await flat.update_balance("100", "charge")
    await flat.update_balance("-50", "payment")
    assert await flat.get_balance() == 50
    with pytest.raises(InvalidAmount):
        await flat.update_balance("50", "payment")
    with pytest.raises(InvalidRequest):
        await flat.update_balance("50", "deposit")
    await flat.pay("20", "By bank")
    await flat.subtract_from_balance("30.01", "waived")
    assert await flat.get_balance() == Decimal("-0.01")


async def test_every_batch_is_handed_on_in_commit_order(manager: BalanceManager) -> None:
    batches: list[Batch] = []
    first_is_in = asyncio.Event()

    async def keep(batch: Batch) -> None:
        batches.append(batch)
        first_is_in.set()

    manager.on_commit(keep)
    receipts = await asyncio.gather(
        *(manager.update_balance(f"user-{n % 5}", "1", "deposit") for n in range(50))
    )
    async with asyncio.timeout(10):
        while sum(len(batch.transactions) for batch in batches) < 50:
            first_is_in.clear()
            await first_is_in.wait()
    positions = [c.position for batch in batches for c in batch.transactions]
    assert positions == list(range(1, 51))
    assert {c.transaction_id for batch in batches for c in batch.transactions} == {
        receipt.transaction_id for receipt in receipts
    }
    assert len(batches) < 50


async def test_what_waits_at_the_end_is_committed(database_url: str) -> None:
    async with open_ledger(database_url) as manager:
        waiting = [
            asyncio.create_task(manager.update_balance("alice", "1", "deposit")) for _ in range(100)
        ]
        await asyncio.sleep(0)
    receipts = await asyncio.gather(*waiting)
    assert len({receipt.position for receipt in receipts}) == 100
    async with open_ledger(database_url) as manager:
        assert await _balance(manager, "alice") == 100


async def test_a_caller_that_goes_away_does_not_undo_its_change(manager: BalanceManager) -> None:
    for _ in range(5):
        gone = asyncio.create_task(manager.update_balance("alice", "1", "deposit"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    await manager.update_balance("alice", "1", "deposit")
    history = await manager.history("alice")
    assert await _balance(manager, "alice") == len(history)
    _updates_follow(history[::-1])


def test_without_an_event_loop_and_from_many_threads(database_url: str) -> None:
    with open_ledger_sync(database_url) as manager:
        manager.update_balance("alice", "100", "deposit")
        wallet = manager.wallet("alice")
        done = []

        def spend() -> None:
            for _ in range(10):
                try:
                    wallet.subtract_from_balance("1", "spent")
                    done.append(1)
                except InsufficientFunds:
                    done.append(0)

        threads = [threading.Thread(target=spend) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(done) == 100 and len(done) == 120
        assert manager.get_balance("alice") == 0
        assert wallet.get_balance() == 0
        assert len(manager.history("alice", limit=200)) == 101


async def test_an_empty_database_gets_its_schema(empty_database_url: str) -> None:
    async with open_ledger(empty_database_url, default_asset="USD") as manager:
        await manager.update_balance("alice", "1.23", "deposit")
        assert await manager.get_balance("alice") == Decimal("1.23")
    async with open_ledger(empty_database_url) as manager:
        assert await manager.get_balance("alice", asset="USD") == Decimal("1.23")
        assert (await manager.reader.head()).position == 1
