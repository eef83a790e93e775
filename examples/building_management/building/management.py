"""A building: its apartments, their mills, what they are charged for and what they pay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, Self, TypedDict
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from tallywire import (
    TRANSACTION_ID,
    AlreadyReversed,
    BalanceManager,
    Book,
    Conflict,
    LedgerError,
    open_ledger,
)

from .tables import divisions, engine_at, expenses, metadata, payments

MILLS = 1000
ASSET = "EUR"
UPLOAD_TIME = timedelta(seconds=30)

PENDING, KEPT, REFUSED, REVERSED = "pending", "kept", "refused", "reversed"


class Receipts(Protocol):
    """Where scans are kept, such as `receipts.ReceiptFolder`."""

    async def keep(self, payment_id: UUID, scan: bytes) -> None:
        """Keep the payment's `scan`; the same again changes nothing. Raises OSError."""

    async def has(self, payment_id: UUID) -> bool:
        """Whether the payment's scan is here. Raises OSError."""


class ReceiptNotKept(Exception):
    """The payment's receipt was not kept in time, so the payment does not stand."""


@dataclass(frozen=True)
class Line:
    """One line of a statement: what `kind` of change moved in `category` (None: in none)."""

    kind: str
    category: str | None
    count: int
    amount: Decimal


@dataclass(frozen=True)
class Statement:
    """What an apartment owed before a period, what moved it, what it owed afterwards."""

    opening: Decimal
    lines: Sequence[Line]
    closing: Decimal


@dataclass(frozen=True)
class Summary:
    """What all apartments were charged and paid in a period, and what else moved their debts."""

    charged: Decimal
    paid: Decimal
    corrected: Decimal


class _Place(TypedDict):
    asset: str
    book: str


class Building:
    """
    One building, which is one debit book of the ledger: an apartment's balance is its debt. Days
    are those of the building's time zone, amounts are in euros.
    """

    def __init__(
        self,
        ledger: BalanceManager,
        engine: AsyncEngine,
        receipts: Receipts,
        name: str,
    ) -> None:
        """name: of a building that there is, see `create`; engine: the building's own tables."""
        self.name = name
        self.book = f"building:{name}"
        self._ledger = ledger
        self._engine = engine
        self._receipts = receipts
        self._place: _Place = {"asset": ASSET, "book": self.book}

    @classmethod
    async def create(
        cls,
        ledger: BalanceManager,
        engine: AsyncEngine,
        receipts: Receipts,
        name: str,
        *,
        starts_on: date,
        timezone: str = "Europe/Athens",
    ) -> Self:
        """
        A new building. starts_on: its first day here; nothing is charged or paid before. Raises
        ValueError where there is one of that name.
        """
        if f"building:{name}" in (await ledger.read_catalog()).books:
            raise ValueError(f"there is a building {name!r} already")
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        settings = {
            "side": "debit",
            "accounts": "strict",
            "timezone": timezone,
            "starts_on": starts_on.isoformat(),
        }
        building = cls(ledger, engine, receipts, name)
        await ledger.administration.put_book(building.book, settings, actor="management")
        return building

    def account(self, apartment: str) -> str:
        """The apartment's user id in the ledger: another building may have an `A1` too."""
        return f"{self.name}:{apartment}"

    async def today(self) -> date:
        """The day that it is at the building."""
        return datetime.now(ZoneInfo((await self._settings()).timezone)).date()

    # Who has which part

    async def divide(self, mills: Mapping[str, int], valid_from: date) -> None:
        """
        From that day on (until the next division) expenses are split by these mills, by
        apartment. What was charged stays as it was split. Raises ValueError.
        """
        if sum(mills.values()) != MILLS or min(mills.values()) < 0:
            raise ValueError(f"mills are 0 or more and {MILLS} in all, not {sum(mills.values())}")
        for apartment in mills:
            with suppress(Conflict):
                await self._ledger.open_account(self.account(apartment), **self._place)
        rows = [
            {"book": self.book, "valid_from": valid_from, "apartment": name, "mills": part}
            for name, part in mills.items()
        ]
        same_day = (divisions.c.book == self.book) & (divisions.c.valid_from == valid_from)
        async with self._engine.begin() as connection:
            await connection.execute(delete(divisions).where(same_day))
            await connection.execute(insert(divisions), rows)

    async def mills_on(self, day: date) -> dict[str, int]:
        """Each apartment's mills on that day, by name; raises LookupError where none are set."""
        here = divisions.c.book == self.book
        latest = select(func.max(divisions.c.valid_from)).where(here, divisions.c.valid_from <= day)
        found = await self._rows(
            select(divisions.c.apartment, divisions.c.mills)
            .where(here, divisions.c.valid_from == latest.scalar_subquery())
            .order_by(divisions.c.apartment)
        )
        if not found:
            raise LookupError(f"no mills are set on {day}")
        return {row.apartment: row.mills for row in found}

    async def apartments(self) -> list[str]:
        """All that have ever had a part, by name."""
        query = select(divisions.c.apartment).where(divisions.c.book == self.book).distinct()
        return [row.apartment for row in await self._rows(query.order_by(divisions.c.apartment))]

    # Expenses

    async def add_expense(
        self,
        title: str,
        category: str,
        amount: Decimal,
        day: date,
        shares: Mapping[str, int] | None = None,
        *,
        expense_id: UUID | None = None,
    ) -> dict[str, Decimal]:
        """
        Charge an expense of that day: what it is to each apartment, by name.

        shares: apartments with weights, such as one alone or all with 1; None: the mills of that
        day. expense_id: repeats with it charge once. Raises LookupError and LedgerError.
        """
        weights = await self.mills_on(day) if shares is None else shares
        expense_id = expense_id or uuid4()
        charged = await self._ledger.shared_charge(
            {self.account(apartment): weight for apartment, weight in weights.items()},
            amount,
            title,
            category=category,
            reference=str(expense_id),
            idempotency_key=f"expense {expense_id}",
            effective_at=await self._start_of(day),
            alongside=[
                insert(expenses).values(
                    id=expense_id,
                    book=self.book,
                    title=title,
                    category=category,
                    cents=_cents(amount),
                    day=day,
                    transaction_id=TRANSACTION_ID,
                )
            ],
            **self._place,
        )
        return {
            update["user_id"].removeprefix(f"{self.name}:"): Decimal(update["changes"][0]["amount"])
            for update in charged.updates
        }

    async def delete_expense(self, expense_id: UUID) -> None:
        """
        Undo an expense for all apartments at once, and mark it as deleted. Raises LookupError,
        and AlreadyReversed where it is deleted already.
        """
        here = (expenses.c.book == self.book) & (expenses.c.id == expense_id)
        found = await self._rows(select(expenses).where(here))
        if not found:
            raise LookupError(f"there is no expense {expense_id}")
        (expense,) = found
        await self._ledger.reverse(
            expense.transaction_id,
            f"Deleted: {expense.title}",
            metadata={"category": expense.category},
            reference=str(expense_id),
            alongside=[update(expenses).where(here).values(reversal_id=TRANSACTION_ID)],
        )

    async def expenses(self) -> Sequence[Row[Any]]:
        """All expenses, deleted ones too (they have a `reversal_id`), by day and title."""
        query = select(expenses).where(expenses.c.book == self.book)
        return await self._rows(query.order_by(expenses.c.day, expenses.c.title))

    # Payments

    async def take_payment(
        self,
        apartment: str,
        amount: Decimal,
        scan: bytes,
        *,
        day: date | None = None,
        payment_id: UUID | None = None,
    ) -> None:
        """
        Take a payment, and keep the scan of its receipt. Where that fails the payment is reversed
        and ReceiptNotKept raised; where this process ends in between, see `finish_payments`.

        day: None for now. payment_id: repeats with it pay once. Raises LedgerError.
        """
        payment_id = payment_id or uuid4()
        await self._ledger.pay(
            self.account(apartment),
            amount,
            "Payment",
            reference=str(payment_id),
            idempotency_key=f"payment {payment_id}",
            effective_at=None if day is None else await self._start_of(day),
            alongside=[
                insert(payments).values(
                    id=payment_id,
                    book=self.book,
                    apartment=apartment,
                    cents=_cents(amount),
                    transaction_id=TRANSACTION_ID,
                    taken_at=_now(),
                    receipt=PENDING,
                )
            ],
            **self._place,
        )
        try:
            async with asyncio.timeout(UPLOAD_TIME.total_seconds()):
                await self._receipts.keep(payment_id, scan)
        except OSError as failure:
            await self._move(payment_id, PENDING, REFUSED)
            await self._reverse_refused(payment_id)
            raise ReceiptNotKept(f"the receipt could not be kept: {failure}") from failure
        await self._move(payment_id, PENDING, KEPT)
        if await self._receipt_of(payment_id) != KEPT:
            raise ReceiptNotKept("the receipt came too late")

    async def finish_payments(self, pending_for: timedelta = 2 * UPLOAD_TIME) -> dict[UUID, str]:
        """
        Finish what a process that ended has begun, at the next start and whenever you like: a
        payment that has been pending for that long is kept if its scan has arrived, else reversed.
        What became of each payment, `kept` or `reversed`. One that cannot be reversed now, such as
        in a frozen account, keeps no other from it: raises them all as an ExceptionGroup.
        """
        in_book = payments.c.book == self.book
        late = (payments.c.receipt == PENDING) & (payments.c.taken_at <= _now() - pending_for)
        begun = await self._rows(
            select(payments.c.id).where(in_book, late | (payments.c.receipt == REFUSED))
        )
        finished, refusals = {}, []
        for (payment_id,) in begun:
            arrived = await self._receipts.has(payment_id)
            await self._move(payment_id, PENDING, KEPT if arrived else REFUSED)
            try:
                await self._reverse_refused(payment_id)
            except LedgerError as refusal:
                refusals.append(refusal)
            finished[payment_id] = await self._receipt_of(payment_id)
        if refusals:
            raise ExceptionGroup("payments that cannot be reversed now", refusals)
        return finished

    async def _reverse_refused(self, payment_id: UUID) -> None:
        # Decided by one UPDATE before: who keeps the scan and who gives it up never both win.
        if await self._receipt_of(payment_id) != REFUSED:
            return
        (payment,) = await self._rows(select(payments).where(payments.c.id == payment_id))
        reversed_ = update(payments).where(payments.c.id == payment_id).values(receipt=REVERSED)
        try:
            await self._ledger.reverse(
                payment.transaction_id,
                "No receipt",
                reference=str(payment_id),
                alongside=[reversed_],
            )
        except AlreadyReversed:
            # By another process at the same moment, or by hand.
            await self._move(payment_id, REFUSED, REVERSED)

    async def _receipt_of(self, payment_id: UUID) -> str:
        (payment,) = await self._rows(select(payments.c.receipt).where(payments.c.id == payment_id))
        state: str = payment.receipt
        return state

    async def _move(self, payment_id: UUID, before: str, after: str) -> None:
        """Move a payment's receipt on, where it still is as `before`."""
        its_own = (payments.c.id == payment_id) & (payments.c.receipt == before)
        async with self._engine.begin() as connection:
            await connection.execute(update(payments).where(its_own).values(receipt=after))

    # What is owed

    async def set_opening_debt(self, apartment: str, debt: Decimal) -> None:
        """
        What the apartment owed as the building started here, negative where it had paid ahead.
        Raises Conflict where something has been charged or paid already.
        """
        starts_on = (await self._settings()).starts_on
        await self._ledger.set_balance(
            self.account(apartment),
            debt,
            "Debt before the start",
            # The account's own entry and nothing else.
            if_seq=1,
            metadata={"category": "opening"},
            effective_at=await self._start_of(date.fromisoformat(str(starts_on))),
            **self._place,
        )

    async def debt(self, apartment: str) -> Decimal:
        """What the apartment owes now; negative where it has paid more."""
        return await self._ledger.get_balance(self.account(apartment), **self._place)

    async def debts(self) -> dict[str, Decimal]:
        """What each apartment owes now, by name."""
        return {apartment: await self.debt(apartment) for apartment in await self.apartments()}

    async def previous_balance(self, apartment: str, day: date) -> Decimal:
        """What the apartment owed before that day: nothing of the day itself is in it."""
        return await self._ledger.balance_at(self.account(apartment), before=day, **self._place)

    async def statement(self, apartment: str, first: date, last: date) -> Statement:
        """The apartment's account over the days `first` to `last`, both included."""
        found = await self._ledger.statement(
            self.account(apartment), from_=first, to=last, book=self.book
        )
        if not found.accounts:
            return Statement(Decimal(0), (), Decimal(0))
        (account,) = found.accounts
        lines = [
            Line(m.change_type, m.category, m.count, Decimal(m.amount)) for m in account.movements
        ]
        return Statement(Decimal(account.opening), lines, Decimal(account.closing))

    async def summary(self, first: date, last: date) -> Summary:
        """What moved the debts of all apartments on the days `first` to `last`, both included."""
        charges = {kind.name for kind in self._ledger.types.charges()}
        payments_ = {kind.name for kind in self._ledger.types.payments()}
        charged = paid = corrected = Decimal(0)
        for apartment in await self.apartments():
            for line in (await self.statement(apartment, first, last)).lines:
                if line.kind in charges:
                    charged += line.amount
                elif line.kind in payments_:
                    paid -= line.amount
                else:
                    corrected += line.amount
        return Summary(charged, paid, corrected)

    async def close_through(self, day: date) -> None:
        """Nothing that counts on that day or earlier is taken any more."""
        settings = {"closed_through": day.isoformat()}
        await self._ledger.administration.put_book(self.book, settings, actor="management")

    async def _settings(self) -> Book:
        return await self._ledger.prepare(lambda catalog: catalog.book(self.book))

    async def _start_of(self, day: date) -> datetime:
        return (await self._settings()).start_of(day)

    async def _rows(self, query: Any) -> Sequence[Row[Any]]:
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).all()


@asynccontextmanager
async def open_buildings(address: str) -> AsyncIterator[tuple[BalanceManager, AsyncEngine]]:
    """The ledger and the buildings' tables in one database. address: with its driver."""
    engine = engine_at(address)
    try:
        async with open_ledger(address) as ledger:
            yield ledger, engine
    finally:
        await engine.dispose()


def _cents(amount: Decimal) -> int:
    # Parts of a cent are refused by the ledger, and no row is kept then.
    return int(amount.scaleb(2))


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
