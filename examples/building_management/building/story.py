"""The story of a building's first months, as a function of its numbers."""

from __future__ import annotations

import asyncio
from calendar import monthrange
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine
from tallywire import AlreadyReversed, BalanceManager, InvalidRequest

from .management import Building, ReceiptNotKept, Statement, Summary, open_buildings
from .receipts import ReceiptFolder
from .statements import parts_line, statement_lines
from .workers import Work, work_at_once

SCAN = b"%PDF-1.7 a scan"
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Numbers:
    """
    The numbers of the story; amounts in euros. mills: by apartment, 1000 in all; opening: debts
    from before; day: of the lift's repair and the fees, before today; updates: of each worker.
    """

    mills: Mapping[str, int] = field(
        default_factory=lambda: {"A1": 220, "A2": 195, "B1": 235, "B2": 167, "C1": 183}
    )
    opening: Mapping[str, Decimal] = field(default_factory=dict)
    starts_on: date = date(2024, 10, 1)
    day: date = date(2024, 11, 1)
    charge: Decimal = Decimal("100.00")
    payment: Decimal = Decimal("50.00")
    heating: Decimal = Decimal("1234.57")
    lift: Decimal = Decimal("300.01")
    fees: Decimal = Decimal("90.00")
    workers: int = 5
    updates: int = 10

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.day < self.starts_on:
            raise ValueError(f"{self.day} is before the building starts, on {self.starts_on}")
        if not self.mills:
            raise ValueError("no mills are given")
        if strangers := self.opening.keys() - self.mills.keys():
            raise ValueError(f"no mills are given for {', '.join(sorted(strangers))}")
        if min(self.workers, self.updates) < 0:
            raise ValueError("workers and updates are 0 or more")


@dataclass(frozen=True)
class Outcome:
    """What the story came to, by apartment where it is a mapping."""

    first_debt: Decimal
    heating: Mapping[str, Decimal]
    lift: Mapping[str, Decimal]
    fees: Mapping[str, Decimal]
    before_mistakes: Mapping[str, Decimal]
    after_mistakes: Mapping[str, Decimal]
    previous: tuple[Mapping[str, Decimal], Mapping[str, Decimal]]
    statements: tuple[Statement, Statement]
    worked: Decimal
    summary: Summary
    debts: Mapping[str, Decimal]
    errors: int


class StorageAway(ReceiptFolder):
    """A storage that cannot be reached."""

    async def keep(self, payment_id: UUID, scan: bytes) -> None:
        """Raises OSError."""
        raise ConnectionError("the storage does not answer")


class PowerCut(BaseException):
    """What no handler of the application catches."""


class StorageCutOff(ReceiptFolder):
    """A storage during whose upload the process ends."""

    async def keep(self, payment_id: UUID, scan: bytes) -> None:
        """Raises PowerCut."""
        raise PowerCut


async def play(
    address: str, name: str, receipts: Path, numbers: Numbers, say: Callable[[str], object]
) -> Outcome:
    """
    Play the story in a new building of that name. address: of the database, with its driver;
    receipts: the folder of the scans; say: takes each line. Raises ValueError and LedgerError on
    odd numbers, and where there is such a building already.
    """
    async with open_buildings(address) as (ledger, engine):
        building = await Building.create(
            ledger, engine, ReceiptFolder(receipts), name, starts_on=numbers.starts_on
        )
        return await _Story(ledger, engine, building, address, receipts, numbers, say).play()


class _Story:
    def __init__(
        self,
        ledger: BalanceManager,
        engine: AsyncEngine,
        building: Building,
        address: str,
        receipts: Path,
        numbers: Numbers,
        say: Callable[[str], object],
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._building = building
        self._address = address
        self._receipts = receipts
        self._numbers = numbers
        self._say = say

    async def play(self) -> Outcome:
        numbers, building = self._numbers, self._building
        self._first = next(iter(numbers.mills))
        self._last_day = min(_month_end(numbers.day), await building.today() - ONE_DAY)
        if self._last_day < numbers.day:
            raise ValueError(f"{numbers.day} is not before today")
        await self._move_in()
        first_debt = await self._one_debt()
        heating = await self._split_heating()
        before_mistakes = await building.debts()
        await self._undo_a_mistake()
        await self._lose_a_receipt()
        await self._end_between_payment_and_receipt()
        after_mistakes = await building.debts()
        lift_id = uuid4()
        lift, fees, previous = await self._enter_late(lift_id)
        statements = await self._close_and_delete(lift_id)
        worked = await self._work_at_once()
        summary = await self._sum_up()
        report = await self._ledger.verify()
        self._say(f"verify: {report.errors} errors")
        return Outcome(
            first_debt=first_debt,
            heating=heating,
            lift=lift,
            fees=fees,
            before_mistakes=before_mistakes,
            after_mistakes=after_mistakes,
            previous=previous,
            statements=statements,
            worked=worked,
            summary=summary,
            debts=await building.debts(),
            errors=report.errors,
        )

    async def _move_in(self) -> None:
        numbers, building = self._numbers, self._building
        await building.divide(numbers.mills, numbers.starts_on)
        parts = "  ".join(f"{apartment} {mills}" for apartment, mills in numbers.mills.items())
        self._say(f"Book {building.book} starts on {numbers.starts_on}. Mills: {parts}")
        for apartment, debt in numbers.opening.items():
            await building.set_opening_debt(apartment, debt)
            self._say(f"{apartment} brings a debt of {debt:.2f}.")

    async def _one_debt(self) -> Decimal:
        numbers, building, first = self._numbers, self._building, self._first
        alone = {first: 1}
        await building.add_expense("New keys", "keys", numbers.charge, numbers.starts_on, alone)
        await building.take_payment(first, numbers.payment, SCAN, day=numbers.starts_on)
        debt = await building.debt(first) - numbers.opening.get(first, 0)
        self._say(
            f"{first} is charged {numbers.charge:.2f} and pays {numbers.payment:.2f}:"
            f" it owes {debt:.2f}."
        )
        return debt

    async def _split_heating(self) -> Mapping[str, Decimal]:
        numbers = self._numbers
        parts = await self._building.add_expense(
            "Heating oil", "heating", numbers.heating, numbers.starts_on
        )
        self._say(f"Heating oil, {numbers.heating:.2f} by mills: {parts_line(parts)}")
        return parts

    async def _undo_a_mistake(self) -> None:
        numbers, building = self._numbers, self._building
        twice = uuid4()
        await building.add_expense(
            "Heating oil", "heating", numbers.heating, await building.today(), expense_id=twice
        )
        self._say(f"Entered a second time, they owe: {parts_line(await building.debts())}")
        await building.delete_expense(twice)
        self._say(f"Deleted, they owe: {parts_line(await building.debts())}")
        try:
            await building.delete_expense(twice)
        except AlreadyReversed as refusal:
            self._say(f"Deleted once more, it is refused: {refusal.code}.")

    async def _lose_a_receipt(self) -> None:
        numbers, first = self._numbers, self._first
        try:
            await self._with(StorageAway).take_payment(first, numbers.payment, SCAN)
        except ReceiptNotKept as failure:
            self._say(f"{first} pays {numbers.payment:.2f}, but {failure}:")
        account = self._building.account(first)
        for entry in reversed(await self._ledger.history(account, limit=2)):
            (change,) = entry["changes"]
            self._say(
                f"  {entry['change_type']:<16}{entry['description']:<14}"
                f"{change['amount']:>12}  owes {change['balance']}"
            )

    async def _end_between_payment_and_receipt(self) -> None:
        numbers, building, first = self._numbers, self._building, self._first
        try:
            await self._with(StorageCutOff).take_payment(first, numbers.payment, SCAN)
        except PowerCut:
            debt = await building.debt(first)
            self._say(f"{first} pays, and the power fails during the upload: it owes {debt:.2f}.")
        # At the next start no other process can still be at it, so nobody is waited for.
        (became,) = (await building.finish_payments(pending_for=timedelta(0))).values()
        debt = await building.debt(first)
        self._say(f"At the next start that payment is {became}: it owes {debt:.2f}.")

    async def _enter_late(
        self, lift_id: UUID
    ) -> tuple[
        Mapping[str, Decimal],
        Mapping[str, Decimal],
        tuple[Mapping[str, Decimal], Mapping[str, Decimal]],
    ]:
        numbers, building, day = self._numbers, self._building, self._numbers.day
        lift = await building.add_expense("Lift", "lift", numbers.lift, day, expense_id=lift_id)
        equally = dict.fromkeys(await building.mills_on(day), 1)
        fees = await building.add_expense(
            "Management", "management fees", numbers.fees, day, equally
        )
        self._say(f"Lift of {day}, {numbers.lift:.2f} by mills: {parts_line(lift)}")
        self._say(f"Management fees of {day}, {numbers.fees:.2f} equally: {parts_line(fees)}")
        before = await self._previous(day)
        after = await self._previous(day + ONE_DAY)
        self._say(f"Previous balances on {day}: {parts_line(before)}")
        self._say(f"Previous balances on {day + ONE_DAY}: {parts_line(after)}")
        try:
            too_early = numbers.starts_on - ONE_DAY
            await building.add_expense("Paint", "paint", numbers.lift, too_early, equally)
        except InvalidRequest as refusal:
            self._say(f"An expense of {too_early} is refused: {refusal.detail}.")
        return lift, fees, (before, after)

    async def _previous(self, day: date) -> dict[str, Decimal]:
        apartments = await self._building.apartments()
        return {each: await self._building.previous_balance(each, day) for each in apartments}

    async def _close_and_delete(self, lift_id: UUID) -> tuple[Statement, Statement]:
        building, first = self._building, self._first
        from_, to, today = self._numbers.day.replace(day=1), self._last_day, await building.today()
        before = await building.statement(first, from_, to)
        for line in statement_lines(f"Statement of {first}, {from_} to {to}", before):
            self._say(line)
        await building.close_through(to)
        await building.delete_expense(lift_id)
        after = await building.statement(first, from_, to)
        self._say(f"Closed through {to}; then the lift's expense is deleted, as of now.")
        self._say(f"That statement's closing is {after.closing:.2f} as before. Since then:")
        since = await building.statement(first, to + ONE_DAY, today)
        for line in statement_lines(f"Statement of {first}, {to + ONE_DAY} to {today}", since):
            self._say(line)
        return before, after

    async def _work_at_once(self) -> Decimal:
        numbers = self._numbers
        if not numbers.workers or not numbers.updates:
            return Decimal(0)
        work = Work(
            self._address,
            self._building.name,
            self._receipts,
            numbers.updates,
            numbers.heating,
            numbers.payment,
        )
        before = sum((await self._building.debts()).values(), Decimal(0))
        await asyncio.to_thread(work_at_once, work, numbers.workers)
        worked = sum((await self._building.debts()).values(), Decimal(0)) - before
        paid = numbers.workers * (numbers.updates // 2)
        charged = numbers.workers * numbers.updates - paid
        self._say(
            f"{numbers.workers} workers at once: {charged} expenses of {numbers.heating:.2f} and"
            f" {paid} payments of {numbers.payment:.2f} add {worked:.2f} to the debts."
        )
        return worked

    async def _sum_up(self) -> Summary:
        building = self._building
        summary = await building.summary(self._numbers.starts_on, await building.today())
        owed = sum((await building.debts()).values(), Decimal(0))
        self._say(
            f"Charged {summary.charged:.2f}, paid {summary.paid:.2f},"
            f" corrected {summary.corrected:.2f}: owed {owed:.2f}"
        )
        return summary

    def _with(self, storage: type[ReceiptFolder]) -> Building:
        return Building(self._ledger, self._engine, storage(self._receipts), self._building.name)


def _month_end(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])
