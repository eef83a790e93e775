"""examples/building_management: its story, with its numbers and others, and what goes wrong."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from building.__main__ import main
from building.management import (
    Building,
    Line,
    ReceiptNotKept,
    Statement,
    Summary,
    open_buildings,
)
from building.receipts import ReceiptFolder
from building.story import SCAN, Numbers, Outcome, StorageAway, play
from building.tables import with_driver
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine
from tallywire import (
    AccountFrozen,
    AlreadyReversed,
    BalanceManager,
    Conflict,
    InvalidAmount,
    InvalidRequest,
    TransactionType,
    UnknownUser,
)
from tallywire.ledger import TransactionTypes

from ..docs.pages import ROOT

FOLDER = ROOT / "examples" / "building_management"
START = date(2024, 10, 1)
NO_WAIT = timedelta(0)

OTHERS = Numbers(
    mills={"ground": 0, "first": 333, "second": 333, "third": 334},
    opening={"first": Decimal("12.30"), "third": Decimal("-1000")},
    starts_on=date(2023, 2, 28),
    day=date(2024, 2, 29),
    charge=Decimal("0.01"),
    payment=Decimal("7777.77"),
    heating=Decimal("0.05"),
    lift=Decimal("1"),
    fees=Decimal("0.01"),
    workers=0,
)


def split(amount: Decimal, weights: Mapping[str, int]) -> dict[str, Decimal]:
    """By largest remainder, in order of names where these are the same."""
    exact = {
        name: Fraction(amount) * 100 * w / sum(weights.values()) for name, w in weights.items()
    }
    cents = {name: int(part) for name, part in exact.items()}
    by_remainder = sorted(sorted(exact), key=lambda name: cents[name] - exact[name])
    for name in by_remainder[: int(amount * 100) - sum(cents.values())]:
        cents[name] += 1
    return {name: Decimal(part) / 100 for name, part in sorted(cents.items())}


def sums(*parts: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """What each has of all of them."""
    names = sorted({name for each in parts for name in each})
    return {name: sum((each.get(name, Decimal(0)) for each in parts), Decimal(0)) for name in names}


def check(numbers: Numbers, outcome: Outcome) -> None:
    """The story came to what its numbers say, by another calculation."""
    first, *_ = numbers.mills
    one_debt = {first: numbers.charge - numbers.payment}
    heating = split(numbers.heating, numbers.mills)
    lift = split(numbers.lift, numbers.mills)
    fees = split(numbers.fees, dict.fromkeys(numbers.mills, 1))
    assert outcome.first_debt == one_debt[first]
    assert (outcome.heating, outcome.lift, outcome.fees) == (heating, lift, fees)
    before = sums(numbers.opening, one_debt, heating)
    # Nothing is left of the mistakes: an expense twice, and two payments without receipts.
    assert outcome.before_mistakes == outcome.after_mistakes == before
    assert outcome.previous == (before, sums(before, lift, fees))

    # Deleting an expense of a closed month is no movement of that month.
    statement, after = outcome.statements
    assert statement == after
    assert statement.opening == before[first]
    assert statement.closing == before[first] + lift[first] + fees[first]
    moved = {line.category: (line.count, line.amount) for line in statement.lines}
    assert moved == {
        category: (1, parts[first])
        for category, parts in (("lift", lift), ("management fees", fees))
        if parts[first]
    }

    paid = numbers.workers * (numbers.updates // 2)
    charged = numbers.workers * numbers.updates - paid
    assert outcome.worked == charged * numbers.heating - paid * numbers.payment
    summary = outcome.summary
    # The expense that was entered twice, and the two payments, are in there with their reversals.
    assert summary == Summary(
        charged=numbers.charge + (charged + 2) * numbers.heating + numbers.lift + numbers.fees,
        paid=(paid + 3) * numbers.payment,
        corrected=sum(numbers.opening.values(), Decimal(0))
        - numbers.heating
        - numbers.lift
        + 2 * numbers.payment,
    )
    owed = sum(outcome.debts.values(), Decimal(0))
    assert owed == summary.charged - summary.paid + summary.corrected
    assert outcome.errors == 0


async def test_the_story(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one database with its own numbers and with others; on SQLite the README has workers."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    workers = 5 if database_url.startswith("postgresql") else 0
    for name, numbers in (("first", replace(Numbers(), workers=workers)), ("second", OTHERS)):
        address = with_driver(database_url)
        check(numbers, await play(address, name, tmp_path, numbers, lambda line: None))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mills", "A1=500,A2=499"],
        ["--mills", "A1=1100,A2=-100"],
        ["--day", "2999-01-01"],
        ["--day", "2024-09-30"],
        ["--heating", "1.001"],
        ["--fees", "0"],
        ["--opening", "A9=5"],
        ["--payment", "-5"],
        ["--name", "Seven"],
        ["--workers", "-1"],
        ["--mills", ""],
    ],
)
def test_odd_numbers(
    arguments: list[str],
    sqlite_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are refused in words."""
    place = ["--database", sqlite_url, "--receipts", str(tmp_path), "--workers", "0"]
    assert main([*place, *arguments]) == 2
    assert capsys.readouterr().err.startswith("building: ")


# One building


BOTH = pytest.mark.parametrize("place", ["sqlite_url", "postgres_url"], indirect=True)


@pytest.fixture
async def place(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[BalanceManager, AsyncEngine]]:
    """The ledger and the building's tables on SQLite; on both databases for tests marked BOTH."""
    url: str = request.getfixturevalue(getattr(request, "param", "sqlite_url"))
    async with open_buildings(with_driver(url)) as place:
        yield place
        assert (await place[0].verify()).errors == 0


@pytest.fixture
async def building(place: tuple[BalanceManager, AsyncEngine], tmp_path: Path) -> Building:
    """Three apartments, in a book that has just begun."""
    building = await Building.create(*place, ReceiptFolder(tmp_path), "seven", starts_on=START)
    await building.divide({"A": 500, "B": 300, "C": 200}, START)
    return building


def in_euros(**amounts: str) -> dict[str, Decimal]:
    return {apartment: Decimal(amount) for apartment, amount in amounts.items()}


@BOTH
async def test_an_expense_and_its_row(building: Building) -> None:
    """Both or neither, also for several at once that delete it, and for one who repeats."""
    expense_id = uuid4()
    for _ in range(2):
        parts = await building.add_expense(
            "Paint", "paint", Decimal("10.01"), START, expense_id=expense_id
        )
        assert parts == in_euros(A="5.01", B="3.00", C="2.00")
    with pytest.raises(InvalidAmount):
        await building.add_expense("Paint", "paint", Decimal("1.001"), START)
    (row,) = await building.expenses()
    assert (row.cents, row.category, row.day, row.reversal_id) == (1001, "paint", START, None)

    deletions = await asyncio.gather(
        *(building.delete_expense(expense_id) for _ in range(5)), return_exceptions=True
    )
    assert deletions.count(None) == 1
    assert sum(isinstance(each, AlreadyReversed) for each in deletions) == 4
    assert await building.debts() == in_euros(A="0", B="0", C="0")
    (row,) = await building.expenses()
    (reversal, charge) = await building._ledger.history(building.account("A"), limit=2)
    assert (row.reversal_id, row.transaction_id) == (
        reversal["transaction_id"],
        charge["transaction_id"],
    )
    assert (reversal["reverses"], reversal["metadata"]) == (
        row.transaction_id,
        {"category": "paint"},
    )
    with pytest.raises(LookupError):
        await building.delete_expense(uuid4())


async def test_who_has_which_part(building: Building) -> None:
    with pytest.raises(ValueError, match="999"):
        await building.divide({"A": 500, "B": 499}, START)
    with pytest.raises(ValueError, match="0 or more"):
        await building.divide({"A": 1001, "B": -1}, START)
    # Two apartments from December on: late expenses of November are not theirs.
    await building.divide({"A": 500, "B": 100, "C": 200, "D": 200, "E": 0}, date(2024, 12, 1))
    for day, parts in (
        (date(2024, 12, 1), in_euros(A="5.00", B="1.00", C="2.00", D="2.00", E="0")),
        (date(2024, 11, 30), in_euros(A="5.00", B="3.00", C="2.00")),
    ):
        assert await building.add_expense("Water", "water", Decimal(10), day) == parts
    assert await building.debts() == in_euros(A="10", B="4", C="4", D="2", E="0")
    with pytest.raises(LookupError):
        await building.add_expense("Water", "water", Decimal(10), START - timedelta(days=1))
    with pytest.raises(UnknownUser):
        await building.add_expense("Water", "water", Decimal(10), START, {"F": 1})
    with pytest.raises(InvalidRequest):
        await building.add_expense("Water", "water", Decimal(10), START, {"A": 0})


async def test_a_building_is_made_once(
    building: Building, place: tuple[BalanceManager, AsyncEngine], tmp_path: Path
) -> None:
    receipts = ReceiptFolder(tmp_path)
    with pytest.raises(ValueError, match="already"):
        await Building.create(*place, receipts, building.name, starts_on=date(2025, 1, 1))
    await building.add_expense("Water", "water", Decimal(10), START)


async def test_one_cent_over_three(building: Building) -> None:
    equally = {"A": 1, "B": 1, "C": 1}
    parts = await building.add_expense("Stamp", "post", Decimal("0.01"), START, equally)
    assert parts == in_euros(A="0.01", B="0", C="0")


async def test_what_was_owed_before(building: Building) -> None:
    await building.set_opening_debt("B", Decimal("-30.50"))
    await building.take_payment("B", Decimal(100), SCAN, day=START)
    assert await building.previous_balance("B", START) == 0
    assert await building.previous_balance("B", START + timedelta(days=1)) == Decimal("-130.50")
    for apartment in ("A", "B"):
        await building.add_expense("Keys", "keys", Decimal(1), START, {apartment: 1})
        with pytest.raises(Conflict):
            await building.set_opening_debt(apartment, Decimal(5))
    assert await building.debt("B") == Decimal("-129.50")


async def test_the_days_of_a_building(sqlite_url: str, tmp_path: Path) -> None:
    """Of 25 hours and of 23, and where midnight is skipped or comes twice."""
    async with open_buildings(sqlite_url) as place:
        for number, (timezone, day) in enumerate(
            (
                ("Europe/Athens", date(2024, 10, 27)),
                ("Europe/Athens", date(2025, 3, 30)),
                ("America/Santiago", date(2024, 9, 8)),
                ("America/Havana", date(2024, 11, 3)),
            )
        ):
            receipts = ReceiptFolder(tmp_path)
            building = await Building.create(
                *place, receipts, str(number), starts_on=day, timezone=timezone
            )
            await building.divide({"A": 1000}, day)
            await building.add_expense("Keys", "keys", Decimal(5), day)
            assert await building.previous_balance("A", day) == 0
            assert await building.previous_balance("A", day + timedelta(days=1)) == 5
            assert await building.statement("A", day, day) == Statement(
                Decimal(0), [Line("shared_charge", "keys", 1, Decimal(5))], Decimal(5)
            )
            with pytest.raises(InvalidRequest):
                yesterday = day - timedelta(days=1)
                await building.add_expense("Keys", "keys", Decimal(5), yesterday, {"A": 1})


async def test_a_closed_month(building: Building) -> None:
    expense_id, end = uuid4(), date(2024, 10, 31)
    await building.add_expense("Paint", "paint", Decimal(10), START, expense_id=expense_id)
    october = await building.statement("A", START, end)
    await building.close_through(end)
    with pytest.raises(InvalidRequest):
        await building.add_expense("Paint", "paint", Decimal(10), end)
    with pytest.raises(InvalidRequest):
        await building.take_payment("A", Decimal(10), SCAN, day=end)
    await building.delete_expense(expense_id)
    assert await building.statement("A", START, end) == october
    assert await building.previous_balance("A", end + timedelta(days=1)) == 5
    assert await building.debt("A") == 0
    since = await building.statement("A", end + timedelta(days=1), await building.today())
    reversal = Line("reversal", "paint", 1, Decimal(-5))
    assert since == Statement(Decimal(5), [reversal], Decimal(0))


# Payments and their receipts


async def test_a_payment_is_kept_once(building: Building, tmp_path: Path) -> None:
    payment_id = uuid4()
    for _ in range(2):
        await building.take_payment("A", Decimal("5.50"), SCAN, payment_id=payment_id)
    assert await building.debt("A") == Decimal("-5.50")
    assert (tmp_path / f"{payment_id}.pdf").read_bytes() == SCAN
    assert await building.finish_payments(NO_WAIT) == {}


@BOTH
async def test_what_another_process_has_begun(
    building: Building, place: tuple[BalanceManager, AsyncEngine], tmp_path: Path
) -> None:
    """Whoever is first decides, kept or given up, and the other one says so too."""
    payment_id = uuid4()

    class Overtaken(ReceiptFolder):
        async def keep(self, payment_id: UUID, scan: bytes) -> None:
            assert await building.finish_payments() == {}
            assert await building.finish_payments(NO_WAIT) == {payment_id: "reversed"}
            await super().keep(payment_id, scan)

    with pytest.raises(ReceiptNotKept):
        await Building(*place, Overtaken(tmp_path), "seven").take_payment(
            "A", Decimal(5), SCAN, payment_id=payment_id
        )
    assert await building.debt("A") == 0
    with pytest.raises(ReceiptNotKept):
        await building.take_payment("A", Decimal(5), SCAN, payment_id=payment_id)

    class Late(ReceiptFolder):
        async def has(self, payment_id: UUID) -> bool:
            """False, and then the upload of the other process comes to its end."""
            missing = not await super().has(payment_id)
            arrived.set()
            await asyncio.wait_for(taken, 30)
            return not missing

    class Waiting(ReceiptFolder):
        async def keep(self, payment_id: UUID, scan: bytes) -> None:
            started.set()
            await arrived.wait()
            await super().keep(payment_id, scan)

    started, arrived = asyncio.Event(), asyncio.Event()
    waiting = Building(*place, Waiting(tmp_path), "seven")
    taken = asyncio.create_task(waiting.take_payment("A", Decimal(6), SCAN))
    await started.wait()
    finished = await Building(*place, Late(tmp_path), "seven").finish_payments(NO_WAIT)
    assert list(finished.values()) == ["kept"]
    assert await building.debt("A") == -6


async def test_a_scan_that_arrived_is_kept_at_the_next_start(
    building: Building, place: tuple[BalanceManager, AsyncEngine], tmp_path: Path
) -> None:
    class CutOff(ReceiptFolder):
        async def keep(self, payment_id: UUID, scan: bytes) -> None:
            await super().keep(payment_id, scan)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Building(*place, CutOff(tmp_path), "seven").take_payment("A", Decimal(5), SCAN)
    assert list((await building.finish_payments(NO_WAIT)).values()) == ["kept"]
    assert await building.debt("A") == -5


async def test_a_payment_undone_by_hand(
    building: Building, place: tuple[BalanceManager, AsyncEngine], tmp_path: Path
) -> None:
    ledger, _ = place

    class AwayAndUndone(StorageAway):
        async def keep(self, payment_id: UUID, scan: bytes) -> None:
            (payment,) = await ledger.history(building.account("A"), reference=str(payment_id))
            await ledger.reverse(payment["transaction_id"], "By hand")
            await super().keep(payment_id, scan)

    with pytest.raises(ReceiptNotKept):
        await Building(*place, AwayAndUndone(tmp_path), "seven").take_payment("A", Decimal(5), SCAN)
    assert await building.debt("A") == 0
    assert await building.finish_payments(NO_WAIT) == {}


async def test_one_that_cannot_be_finished_stops_no_other(
    building: Building, place: tuple[BalanceManager, AsyncEngine], tmp_path: Path
) -> None:
    class CutOff(ReceiptFolder):
        async def keep(self, payment_id: UUID, scan: bytes) -> None:
            raise asyncio.CancelledError

    for apartment in ("A", "B", "A", "C"):
        with pytest.raises(asyncio.CancelledError):
            await Building(*place, CutOff(tmp_path), "seven").take_payment(
                apartment, Decimal(5), SCAN
            )
    ledger, _ = place
    account: dict[str, Any] = {"book": building.book, "asset": "EUR"}
    await ledger.change_account(building.account("A"), {"status": "frozen"}, **account)
    with pytest.raises(ExceptionGroup) as stuck:
        await building.finish_payments(NO_WAIT)
    assert [type(each) for each in stuck.value.exceptions] == [AccountFrozen] * 2
    assert await building.debts() == in_euros(A="-10", B="0", C="0")
    await ledger.change_account(building.account("A"), {"status": "active"}, **account)
    assert list((await building.finish_payments(NO_WAIT)).values()) == ["reversed"] * 2
    assert await building.debt("A") == 0


# Types


async def test_types_are_asked_for(
    building: Building, place: tuple[BalanceManager, AsyncEngine]
) -> None:
    """A payment of the application's own is one without another line of code."""
    ledger, _ = place
    by_card = TransactionType(
        name="card_slip",
        direction="up",
        counter="@world",
        counts=True,
        sides=frozenset(("debit",)),
    )
    ledger.register_type(by_card)
    await building.add_expense("Keys", "keys", Decimal(20), START, {"A": 1})
    await ledger.update_balance(
        building.account("A"), "-7.50", by_card.name, book=building.book, asset="EUR"
    )
    summary = await building.summary(START, await building.today())
    assert summary == Summary(Decimal(20), Decimal("7.50"), Decimal(0))


def test_no_type_is_named() -> None:
    names = {kind.name for kind in TransactionTypes()}
    for file in FOLDER.rglob("*.py"):
        texts = [
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not names & set(texts), file
        assert not any(f"'{name}'" in text for name in names for text in texts), file


# Any mills


def test_no_cent_is_lost(sqlite_url: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        place = open_buildings(sqlite_url)
        ledger, engine = runner.run(place.__aenter__())
        receipts = ReceiptFolder(tmp_path)
        create = Building.create(ledger, engine, receipts, "nine", starts_on=START)
        building = runner.run(create)

        @settings(max_examples=15, deadline=None)
        @given(st.lists(st.integers(0, 1000), max_size=8), st.integers(1, 10**9))
        def charged(cuts: list[int], cents: int) -> None:
            ends = [0, *sorted(cuts), 1000]
            mills = {f"A{n}": ends[n + 1] - ends[n] for n in range(len(ends) - 1)}
            amount = Decimal(cents).scaleb(-2)
            runner.run(building.divide(mills, START))
            parts = runner.run(building.add_expense("Oil", "heating", amount, START))
            assert sum(parts.values()) == amount
            assert parts == split(amount, mills)

        charged()
        owed = sum(runner.run(building.debts()).values())
        assert owed == runner.run(building.summary(START, START)).charged > 0
        runner.run(place.__aexit__(None, None, None))
