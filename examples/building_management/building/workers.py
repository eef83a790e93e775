"""Several processes that charge and take payments at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

from .management import Building, open_buildings
from .receipts import ReceiptFolder


@dataclass(frozen=True)
class Work:
    """
    What each worker does to a building at once: `updates` times an expense by mills, or a payment
    of one apartment, in turn.

    address: of the database, with its driver; receipts: the folder of the scans.
    """

    address: str
    building: str
    receipts: Path
    updates: int
    expense: Decimal
    payment: Decimal


def work_at_once(work: Work, workers: int) -> None:
    """Let so many processes do the work at the same moment; RuntimeError where one has failed."""
    # Not a fork of this process, which may have threads; and what they import is imported once.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    start = context.Barrier(workers)
    processes = [context.Process(target=_worker, args=(work, start)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a worker has failed")


def _worker(work: Work, start: Barrier) -> None:
    asyncio.run(_work(work, start))


async def _work(work: Work, start: Barrier) -> None:
    async with open_buildings(work.address) as (ledger, engine):
        building = Building(ledger, engine, ReceiptFolder(work.receipts), work.building)
        apartments, today = await building.apartments(), await building.today()
        await asyncio.to_thread(start.wait, 60)
        updates: list[Awaitable[object]] = []
        for number in range(work.updates):
            if number % 2 == 0:
                updates.append(building.add_expense("Water", "water", work.expense, today))
            else:
                apartment = apartments[number // 2 % len(apartments)]
                updates.append(building.take_payment(apartment, work.payment, b"scan"))
        await asyncio.gather(*updates)
