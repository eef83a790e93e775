"""Work that is repeated: through failures, which are told once."""

from __future__ import annotations

import asyncio

import pytest
from tallywire.ledger.errors import LedgerError
from tallywire.repeating import repeat

from tests.logged import logged
from tests.virtual_time import in_virtual_time


@in_virtual_time
async def test_an_outage_is_told_once_and_its_end_too() -> None:
    failures: list[Exception | None] = [None, *[LedgerError("away")] * 5, None, LedgerError("away")]
    failures += [ValueError("a defect")] * 3

    async def work() -> None:
        if not failures:
            raise asyncio.CancelledError
        if (failure := failures.pop(0)) is not None:
            raise failure

    with logged() as lines, pytest.raises(asyncio.CancelledError):
        await repeat("dig", 2.0, work)
    assert [(line["level"], line.get("reason"), line["work"]) for line in lines] == [
        ("warning", "away", "dig"),
        ("info", None, "dig"),
        ("warning", "away", "dig"),
        ("error", None, "dig"),
    ]
    assert asyncio.get_running_loop().time() == 11 * 2.0


@in_virtual_time
async def test_an_error_that_answers_its_end_does_not_keep_it_going() -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise LedgerError("the statement was cancelled") from None

    running = asyncio.create_task(repeat("dig", 2.0, work))
    await asyncio.sleep(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
