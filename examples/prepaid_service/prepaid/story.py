"""A customer's month, and another's account that somebody wrote by hand, by their numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field

from tallywire import LedgerError, Report

from .billing import Account, Billing, Entry
from .mishaps import write_by_hand


@dataclass(frozen=True)
class Numbers:
    """
    What the story is played with, amounts in dong. recharge: what the customer pays first; charge:
    two services cost that, charged at the same moment; backup: a smaller service; again: the next
    payment; server: `servers` more services cost that, charged at the same moment; suspend_below,
    alert_below: the account's limits; actual: what the other customer has; stored: what somebody
    writes over it.
    """

    recharge: int = 100_000
    charge: int = 80_000
    backup: int = 15_000
    again: int = 200_000
    server: int = 50_000
    servers: int = 5
    suspend_below: int = 10_000
    alert_below: int = 30_000
    actual: int = 450_000
    stored: int = 500_000


@dataclass(frozen=True)
class Scene:
    """
    What happened. outcomes: each entry that was booked, or why it was refused; account: how the
    customer's account stands then; report: of a verification or rebuild.
    """

    what: str
    outcomes: list[Entry | LedgerError] = field(default_factory=list)
    account: Account | None = None
    report: Report | None = None


async def play(
    billing: Billing, numbers: Numbers, customer_id: str, other_id: str
) -> AsyncIterator[Scene]:
    """The story of two new customers, a scene at a time."""
    async for scene in _month(billing, numbers, customer_id):
        yield scene
    async for scene in _mismatch(billing, numbers, other_id):
        yield scene


async def _month(billing: Billing, numbers: Numbers, customer_id: str) -> AsyncIterator[Scene]:
    async def rent(plan: str, price: int) -> str:
        service_id = f"{customer_id}/{plan}"
        await billing.rent(customer_id, service_id, plan, price)
        return service_id

    async def scene(what: str, *asked: Awaitable[Entry]) -> Scene:
        return Scene(what, await _each(*asked), await billing.account(customer_id))

    await billing.open_account(
        customer_id,
        customer_id,
        suspend_below=numbers.suspend_below,
        alert_below=numbers.alert_below,
    )
    backup = await rent("backup", numbers.backup)
    pair = [await rent(f"vps-{n}", numbers.charge) for n in (1, 2)]
    more = [await rent(f"server-{n + 1}", numbers.server) for n in range(numbers.servers)]

    yield await scene(
        f"{customer_id} pays {numbers.recharge}",
        billing.recharge(customer_id, numbers.recharge),
    )
    yield await scene(
        f"two charges of {numbers.charge} at the same moment",
        *(billing.charge_service(each, "2026-11") for each in pair),
    )
    yield await scene(
        f"a charge of {numbers.backup}, and suspension below {numbers.suspend_below}",
        billing.charge_service(backup, "2026-11"),
    )
    yield await scene("the next charge", billing.charge_service(backup, "2026-12"))
    yield await scene(
        f"{customer_id} pays {numbers.again}", billing.recharge(customer_id, numbers.again)
    )
    yield await scene(
        f"{numbers.servers} charges of {numbers.server} at the same moment",
        *(billing.charge_service(each, "2026-12") for each in more),
    )


async def _mismatch(billing: Billing, numbers: Numbers, customer_id: str) -> AsyncIterator[Scene]:
    ledger = billing.ledger
    await billing.open_account(customer_id, customer_id)
    await billing.rent(customer_id, f"{customer_id}/vps", "vps", numbers.charge)
    yield Scene(
        f"{customer_id} pays {numbers.actual}",
        await _each(billing.recharge(customer_id, numbers.actual)),
        await billing.account(customer_id),
    )
    await write_by_hand(billing.engine, customer_id, numbers.stored)
    yield Scene(
        f"somebody writes {numbers.stored} over it by hand: nothing is booked on that",
        await _each(
            billing.charge_service(f"{customer_id}/vps", "2026-11"),
            billing.recharge(customer_id, numbers.recharge),
        ),
        await billing.account(customer_id),
    )
    yield Scene("verify", report=await ledger.verify())
    yield Scene(
        "verify --fix",
        report=await ledger.verify(fix=True, actor="prepaid"),
        account=await billing.account(customer_id),
    )
    await write_by_hand(billing.engine, customer_id, numbers.stored)
    yield Scene(
        "written by hand once more: rebuild",
        report=await ledger.rebuild(actor="prepaid"),
        account=await billing.account(customer_id),
    )
    yield Scene(
        "the charge again",
        await _each(billing.charge_service(f"{customer_id}/vps", "2026-11")),
        await billing.account(customer_id),
    )
    yield Scene("verify", report=await ledger.verify())


async def _each(*asked: Awaitable[Entry]) -> list[Entry | LedgerError]:
    """What became of all that is asked for at the same moment: as it was booked, then refusals."""
    booked: list[Entry] = []
    refused: list[LedgerError] = []
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(outcome, Entry):
            booked.append(outcome)
        elif isinstance(outcome, LedgerError):
            refused.append(outcome)
        else:
            raise outcome
    return [*sorted(booked, key=lambda entry: entry.position), *refused]
