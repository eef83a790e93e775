"""examples/prepaid_service: what a billing team wants to be true, with its numbers and others."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prepaid.billing import Account, Billing, Entry, open_billing
from prepaid.mishaps import write_by_hand
from prepaid.story import Numbers, Scene, play
from tallywire import (
    AccountInconsistent,
    AccountSuspended,
    InsufficientFunds,
    LedgerError,
    Report,
    open_ledger,
)
from tallywire.app import create_app
from tallywire.operations.jobs import scheduled_jobs
from tallywire.settings import Settings

from ..docs.pages import ROOT
from ..ledger.raw import count, held, rows, waiting_for_locks


@pytest.fixture
async def billing(database_url: str) -> AsyncIterator[Billing]:
    async with open_billing(database_url) as billing:
        yield billing


async def customer(billing: Billing, balance: int, **limits: int) -> None:
    """An, with `balance` dong."""
    await billing.open_account("an", "An", **limits)
    await billing.recharge("an", balance)


async def servers(billing: Billing, *prices: int) -> list[str]:
    """An's servers at these prices: their ids."""
    ids = [f"vps-{number}" for number, _ in enumerate(prices)]
    for service_id, price in zip(ids, prices, strict=True):
        await billing.rent("an", service_id, "vps", price)
    return ids


async def charged_at_once(
    billing: Billing, service_ids: Sequence[str]
) -> tuple[list[Entry], list[LedgerError]]:
    """What was booked, in its order, and what was refused."""
    outcomes = await asyncio.gather(
        *(billing.charge_service(each, "2026-11") for each in service_ids), return_exceptions=True
    )
    booked = [each for each in outcomes if isinstance(each, Entry)]
    refused = [each for each in outcomes if isinstance(each, LedgerError)]
    assert len(booked) + len(refused) == len(outcomes), outcomes
    return sorted(booked, key=lambda entry: entry.position), refused


def figures(entries: Sequence[Entry]) -> list[tuple[str, int, int, int]]:
    return [(each.what, each.amount, each.before, each.after) for each in entries]


@pytest.mark.parametrize(("paid", "price"), [(100_000, 80_000), (1, 1)])
async def test_every_entry_tells_the_balance_before_and_after(
    billing: Billing, paid: int, price: int
) -> None:
    await customer(billing, paid)
    (service,) = await servers(billing, price)
    charged = await billing.charge_service(service, "2026-11")
    assert (charged.what, charged.description) == ("charge", "vps 2026-11")
    entries = await billing.entries("an")
    assert entries[-1] == charged
    assert figures(entries) == [
        ("account_opened", 0, 0, 0),
        ("recharge", paid, 0, paid),
        ("charge", -price, paid, paid - price),
    ]


async def test_totals_count_each_payment_and_each_period_once(billing: Billing) -> None:
    await customer(billing, 100_000)
    (service,) = await servers(billing, 7_001)
    for period in ("2026-10", "2026-11", "2026-11"):
        await billing.charge_service(service, period)
    for _ in range(2):
        await billing.recharge("an", 13, payment_id="bank-5")
    assert await billing.account("an") == Account(86_011, 100_013, 14_002, "active")


@pytest.mark.parametrize(("paid", "price"), [(100_000, 80_000), (149_999, 75_000)])
async def test_of_two_charges_at_once_one_passes(
    billing: Billing, database_url: str, paid: int, price: int
) -> None:
    await customer(billing, paid)
    (passed,), (refused,) = await charged_at_once(billing, await servers(billing, price, price))
    assert figures([passed]) == [("charge", -price, paid, paid - price)]
    assert isinstance(refused, InsufficientFunds)
    assert refused.extra == {"required": str(price), "available": str(paid - price)}
    assert await count(database_url, "rendered") == 1


async def test_five_charges_at_once_never_overdraw(billing: Billing) -> None:
    await customer(billing, 205_000)
    prices = (50_000, 90_000, 50_000, 70_000, 60_000)
    booked, refused = await charged_at_once(billing, await servers(billing, *prices))
    balance = 205_000
    for entry in booked:
        assert entry.before == balance
        balance += entry.amount
        assert entry.after == balance >= 0
    assert all(isinstance(each, InsufficientFunds) for each in refused)
    # Whatever was refused could not be paid now either.
    assert all(int(each.extra["required"]) > balance for each in refused) and refused
    assert await billing.account("an") == Account(balance, 205_000, 205_000 - balance, "active")


async def test_a_refused_charge_leaves_nothing_and_a_booked_one_its_row(
    billing: Billing, database_url: str
) -> None:
    await customer(billing, 1_000)
    (dear, cheap) = await servers(billing, 1_001, 400)
    with pytest.raises(InsufficientFunds):
        await billing.charge_service(dear, "2026-11")
    assert await count(database_url, "rendered") == 0
    assert len(await billing.entries("an")) == 2
    charged = await billing.charge_service(cheap, "2026-11")
    (row,) = await rows(database_url, "SELECT * FROM rendered")
    (stored,) = await rows(
        database_url, f"SELECT id, type FROM transactions WHERE position = {charged.position}"
    )
    assert row == {
        "transaction_id": stored["id"],
        "service_id": cheap,
        "period": "2026-11",
        "price": 400,
    }
    assert stored["type"] == "charge"


async def test_a_charge_suspends_in_its_own_entry_and_a_recharge_reopens_in_its_own(
    billing: Billing,
) -> None:
    await customer(billing, 20_000, suspend_below=10_000)
    (first, second) = await servers(billing, 15_000, 1)
    assert (await billing.charge_service(first, "2026-11")).status == "suspended"
    with pytest.raises(AccountSuspended):
        await billing.charge_service(second, "2026-11")
    # What leaves it below the limit does not reopen it.
    assert (await billing.recharge("an", 4_999)).status == "suspended"
    assert (await billing.recharge("an", 1)).status == "active"
    assert (await billing.charge_service(second, "2026-11")).status == "suspended"
    entries = await billing.entries("an")
    assert [each.what for each in entries][1:] == [
        *("recharge", "charge", "recharge", "recharge", "charge"),
    ]


async def test_one_alert_for_each_crossing(billing: Billing) -> None:
    await customer(billing, 100_000, alert_below=30_000)
    ids = await servers(billing, *[20_000] * 5)
    booked, _ = await charged_at_once(billing, ids)
    assert [each.after for each in booked if each.low_balance] == [20_000]
    assert not (await billing.recharge("an", 29_999)).low_balance
    assert not (await billing.charge_service(ids[0], "2026-12")).low_balance
    await billing.recharge("an", 20_001)
    assert (await billing.charge_service(ids[1], "2026-12")).low_balance
    alerts = [each.after for each in await billing.entries("an") if each.low_balance]
    assert alerts == [20_000, 10_000]


@pytest.mark.parametrize(("stored", "actual"), [(500_000, 450_000), (-1, 8_000_000)])
async def test_a_balance_written_by_hand_is_found_and_put_right(
    billing: Billing, stored: int, actual: int
) -> None:
    await customer(billing, actual)
    (service,) = await servers(billing, 1)
    place = {"account": "main/an/VND", "stored": str(stored), "actual": str(actual)}
    difference = str(stored - actual)

    def told(report: Report) -> list[dict[str, Any]]:
        return [
            {name: getattr(each, name) for name in (*place, "difference")}
            for each in report.details
            if each.account == place["account"]
        ]

    for put_right in (billing.ledger.verify(True), billing.ledger.rebuild()):
        await write_by_hand(billing.engine, "an", stored)
        for refused in (billing.charge_service(service, "2026-11"), billing.recharge("an", 5)):
            with pytest.raises(AccountInconsistent):
                await refused
        found = await billing.ledger.verify()
        # The account, and the sum of all accounts.
        assert (found.synced, found.fixed, found.errors) == (0, 0, 2)
        assert told(found) == [{**place, "difference": difference}]
        report = await put_right
        assert (report.synced, report.fixed, report.errors) == (0, 1, 0)
        assert told(report) == [{**place, "difference": difference}]
        assert (await billing.account("an")).balance == actual
        assert (await billing.ledger.verify()).details == []
    assert (await billing.charge_service(service, "2026-11")).before == actual


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 29, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


async def test_one_of_three_workers_verifies_by_night_and_rebuilds_by_month(
    billing: Billing, database_url: str
) -> None:
    await customer(billing, 450_000)
    clock, settings = Clock(), Settings()
    async with AsyncExitStack() as stack:
        ledgers = [
            await stack.enter_async_context(open_ledger(database_url, clock=clock))
            for _ in range(3)
        ]
        jobs = [
            job
            for ledger in ledgers
            for job in scheduled_jobs(ledger, settings, clock)
            if job.name in ("verify", "rebuild")
        ]
        assert len(jobs) == 6
        # To 01:00, 02:00, 03:00 and noon of three days.
        for hours in (13, 1, 1, 9) * 3:
            clock.time += timedelta(hours=hours)
            if clock.time.hour == 1:
                await write_by_hand(billing.engine, "an", 500_000)
            await asyncio.gather(*(job.run() for job in jobs))
        kept = await ledgers[0].proof.verifications.listed(None, 100)
    assert [
        (each.kind, each.due_at, each.status, each.report and each.report.fixed)
        for each in reversed(kept)
    ] == [
        ("verify", "2026-11-30T02:00:00.000000Z", "done", 1),
        ("verify", "2026-12-01T02:00:00.000000Z", "done", 1),
        ("rebuild", "2026-12-01T03:00:00.000000Z", "done", 0),
        ("verify", "2026-12-02T02:00:00.000000Z", "done", 1),
    ]


OTHERS = Numbers(
    recharge=1_234_567,
    charge=700_001,
    backup=500_000,
    again=900_000,
    server=333_333,
    servers=7,
    suspend_below=40_000,
    alert_below=600_000,
    actual=8_000_000,
    stored=1,
)


@pytest.mark.parametrize(
    "numbers", [Numbers(), OTHERS, replace(OTHERS, charge=300_000, backup=700_000)]
)
async def test_the_story(database_url: str, numbers: Numbers) -> None:
    async with open_billing(database_url) as billing:
        scenes = [scene async for scene in play(billing, numbers, "an", "binh")]
    balance, total_in, total_out, status = 0, 0, 0, "active"
    asked = [
        [numbers.recharge],
        [-numbers.charge] * 2,
        [-numbers.backup],
        [-numbers.backup],
        [numbers.again],
        [-numbers.server] * numbers.servers,
    ]
    for scene, amounts in zip(scenes[: len(asked)], asked, strict=True):
        booked: list[tuple[int, int, int, str, bool]] = []
        refused: list[type[LedgerError]] = []
        for amount in amounts:
            if amount < 0 and status == "suspended":
                refused.append(AccountSuspended)
                continue
            if balance + amount < 0:
                refused.append(InsufficientFunds)
                continue
            low = balance >= numbers.alert_below > balance + amount
            crosses = balance >= numbers.suspend_below > balance + amount
            if crosses:
                status = "suspended"
            elif amount > 0 and balance + amount >= numbers.suspend_below:
                status = "active"
            booked.append((amount, balance, balance + amount, status, low))
            balance += amount
            total_in, total_out = total_in + max(amount, 0), total_out - min(amount, 0)
        assert outcomes_of(scene) == (booked, refused)
        assert scene.account == Account(balance, total_in, total_out, status)
    reports = [scene.report for scene in scenes if scene.report is not None]
    assert [(each.fixed, each.errors) for each in reports] == [(0, 2), (1, 0), (1, 0), (0, 0)]
    assert (reports[0].details[0].stored, reports[0].details[0].actual) == (
        str(numbers.stored),
        str(numbers.actual),
    )
    assert outcomes_of(scenes[7])[1] == [AccountInconsistent] * 2


def outcomes_of(scene: Scene) -> tuple[list[tuple[int, int, int, str, bool]], list[type]]:
    entries = [each for each in scene.outcomes if isinstance(each, Entry)]
    return (
        [(each.amount, each.before, each.after, each.status, each.low_balance) for each in entries],
        [type(each) for each in scene.outcomes if isinstance(each, LedgerError)],
    )


async def test_of_two_processes_that_charge_at_once_one_passes(postgres_url: str) -> None:
    async with open_billing(postgres_url) as billing:
        await customer(billing, 100_000)
    # Neither can go on before both have come to the account.
    async with held(postgres_url, "SELECT id FROM accounts WHERE owner = 'an' FOR UPDATE"):
        desks = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "prepaid.desk", "charge", "an", "80000"),
                stdout=asyncio.subprocess.PIPE,
                env={"DATABASE_URL": postgres_url},
                cwd=ROOT / "examples" / "prepaid_service",
            )
            for _ in range(2)
        ]
        await waiting_for_locks(postgres_url, 2)
    told = sorted([(await desk.communicate())[0].decode() for desk in desks])
    assert told == [
        "charge -80000: 100000 -> 20000, active\n",
        "refused, insufficient_funds: required 80000, available 20000\n",
    ]
    assert await count(postgres_url, "rendered") == 1


async def test_over_http_the_figures_are_the_same(sqlite_url: str) -> None:
    async with open_billing(sqlite_url) as billing:
        await customer(billing, 450_000)
    app = create_app(Settings(database_url=sqlite_url, secrets=("s" * 32,)))
    async with app.router.lifespan_context(app):
        services = app.state.services
        token = services.tokens.encode("root", "superadmin", 60)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://prepaid",
            headers={"Authorization": f"Bearer {token}"},
        ) as http:
            charge = {"user_id": "an", "asset": "VND", "service_type": "vps"}
            answer = await http.post("/v1/charges", json={**charge, "amount": "80000"})
            assert answer.status_code == 201, answer.text
            (update,) = answer.json()["updates"]
            (change,) = update["changes"]
            assert (change["amount"], change["balance_before"], change["balance"]) == (
                *("-80000", "450000", "370000"),
            )
            assert update["metadata"] == {"service_type": "vps"}
            answer = await http.post("/v1/charges", json={**charge, "amount": "370001"})
            assert answer.status_code == 422
            problem = answer.json()
            assert (problem["code"], problem["required"], problem["available"]) == (
                *("insufficient_funds", "370001", "370000"),
            )
            async with open_billing(sqlite_url) as billing:
                await write_by_hand(billing.engine, "an", 420_000)
                await billing.ledger.verify()
            found = (await http.get("/v1/admin/discrepancies")).json()["items"]
            account = next(each for each in found if each["account"] == "main/an/VND")
            assert (account["stored"], account["actual"], account["difference"]) == (
                *("420000", "370000", "50000"),
            )
            refused = await http.post("/v1/charges", json={**charge, "amount": "1"})
            assert (refused.status_code, refused.json()["code"]) == (409, "account_inconsistent")
