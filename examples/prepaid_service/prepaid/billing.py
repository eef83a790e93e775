"""What the service does with its customers' money: balances are the ledger's, in VND."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tallywire import TRANSACTION_ID, BalanceManager, Wallet, open_ledger

from .tables import customers, metadata, rendered, services, with_driver

# The dong has no smaller unit.
ASSET, SCALE = "VND", 0


@dataclass(frozen=True)
class Entry:
    """
    One line of a customer's account, in dong. position: its place in the journal; what: recharge,
    charge or what else the ledger booked; amount: below zero where it was taken; status: of the
    account from then on; low_balance: whether this entry, and no other, took the balance below the
    customer's limit for an alert.
    """

    position: int
    what: str
    description: str
    amount: int
    before: int
    after: int
    status: str
    low_balance: bool


@dataclass(frozen=True)
class Account:
    """A customer's account as it stands, in dong."""

    balance: int
    total_in: int
    total_out: int
    status: str


class Billing:
    """The service of one database."""

    def __init__(self, engine: AsyncEngine, ledger: BalanceManager) -> None:
        self.engine = engine
        self.ledger = ledger

    async def open_account(
        self, customer_id: str, name: str, *, suspend_below: int = 0, alert_below: int = 0
    ) -> None:
        """
        Take a new customer. suspend_below, alert_below: the balances, in dong, below which the
        account is suspended, and the customer is alerted. Raises Conflict where there is one.
        """
        await self.ledger.open_account(
            customer_id,
            {"suspend_below": str(suspend_below), "alert_below": str(alert_below)},
            asset=ASSET,
            alongside=[insert(customers).values(id=customer_id, name=name)],
        )

    async def rent(self, customer_id: str, service_id: str, plan: str, price: int) -> None:
        """A customer takes a service, at `price` dong a period."""
        async with self.engine.begin() as connection:
            await connection.execute(
                insert(services).values(
                    id=service_id, customer_id=customer_id, plan=plan, price=price
                )
            )

    async def charge_service(self, service_id: str, period: str) -> Entry:
        """
        Charge a period of a service and record that it was rendered, or neither; the same period
        again is one charge. Raises what the ledger refuses, such as InsufficientFunds.
        """
        async with self.engine.connect() as connection:
            found = await connection.execute(select(services).where(services.c.id == service_id))
            service = found.one()
        receipt = await self.wallet(service.customer_id).charge_service(
            str(service.price),
            service.plan,
            f"{service.plan} {period}",
            reference=service_id,
            idempotency_key=f"{service_id}/{period}",
            alongside=[
                insert(rendered).values(
                    transaction_id=TRANSACTION_ID,
                    service_id=service_id,
                    period=period,
                    price=service.price,
                )
            ],
        )
        return _entry(receipt.updates[0])

    async def recharge(
        self, customer_id: str, amount: int, *, payment_id: str | None = None
    ) -> Entry:
        """
        Credit `amount` dong that a customer paid, once for a payment; it lifts a suspension that
        it cures. Raises what the ledger refuses.
        """
        receipt = await self.wallet(customer_id).recharge(
            str(amount), "top-up", reference=payment_id, idempotency_key=payment_id
        )
        return _entry(receipt.updates[0])

    async def account(self, customer_id: str) -> Account:
        """How a customer's account stands."""
        (stands,) = (
            each for each in await self.ledger.balances(customer_id) if each["asset"] == ASSET
        )
        return Account(
            int(stands["balance"]),
            int(stands["total_in"]),
            int(stands["total_out"]),
            stands["status"],
        )

    async def entries(self, customer_id: str) -> list[Entry]:
        """A customer's newest hundred entries, the oldest of them first."""
        return [_entry(update) for update in reversed(await self.wallet(customer_id).history())]

    def wallet(self, customer_id: str) -> Wallet:
        """A customer's money."""
        return self.ledger.wallet(customer_id, asset=ASSET)


@asynccontextmanager
async def open_billing(address: str) -> AsyncIterator[Billing]:
    """The service in the database at `address`; its tables and its ledger are made if need be."""
    url = with_driver(address)
    async with open_ledger(url) as ledger:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(metadata.create_all)
            if ASSET not in ledger.catalog.assets:
                await ledger.administration.put_asset(ASSET, scale=SCALE, actor="prepaid")
            yield Billing(engine, ledger)
        finally:
            await engine.dispose()


def _entry(update: dict[str, Any]) -> Entry:
    (change,) = update["changes"]
    return Entry(
        update["position"],
        update["change_type"],
        update["description"],
        int(change["amount"]),
        int(change["balance_before"]),
        int(change["balance"]),
        change["status"],
        change.get("alert") == "low_balance",
    )
