"""The worker process: what comes round by itself, until a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import uvloop

from .app import open_worker
from .ledger.clock import SystemClock
from .settings import Settings


def work(settings: Settings, started: Callable[[], None]) -> None:
    """
    Do a worker's part until SIGTERM or SIGINT.

    started: called once the ledger is open. Raises LedgerError where it cannot be opened.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings, started))


async def _work(settings: Settings, started: Callable[[], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_worker(settings, SystemClock()):
        started()
        await stop.wait()
