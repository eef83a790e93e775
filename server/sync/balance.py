"""What follows a commit: every process is told of it."""

from __future__ import annotations

import asyncio
import os

from .. import logs
from ..ledger.updates import Batch
from ..settings import Settings
from .bus import Bus, open_bus

_log = logs.get_logger(__name__)
_process_bus: tuple[asyncio.AbstractEventLoop, Bus] | None = None


async def sync_balance_across_all_systems(batch: Batch, bus: Bus | None = None) -> None:
    """
    Tell every process of the committed `batch`; never raises for a bus that is away.

    bus: None for the process's own, opened at the first call from the environment variables
    REDIS_URL and TALLYWIRE_SECRET. What a process does not hear of, it reads from the journal,
    so a failure here is logged and forgotten.
    """
    try:
        if bus is None:
            bus = await _the_process_bus()
        await bus.publish(batch)
    except Exception as error:
        _log.warning(
            "a batch is not published", first=batch.first, last=batch.last, reason=str(error)
        )


async def _the_process_bus() -> Bus:
    global _process_bus
    loop = asyncio.get_running_loop()
    # A bus lives in the event loop that started it; after another asyncio.run() it is dead.
    if _process_bus is None or _process_bus[0] is not loop:
        settings = Settings.from_environ(os.environ)
        bus = open_bus(settings.redis_url, settings.secrets)
        _process_bus = (loop, bus)
        await bus.start()
    return _process_bus[1]
