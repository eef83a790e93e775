"""Work that goes on until it is cancelled, through failures that are told once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from . import logs
from .ledger.errors import LedgerError

_log = logs.get_logger(__name__)


async def repeat(name: str, every: float, run: Callable[[], Awaitable[object]]) -> None:
    """
    Await `run`, and again `every` so many seconds after each end, until cancelled.

    Of failures in a row the first of a kind is logged: in one line where the ledger refuses, such
    as while its database is away, else as the defect that it is. `name` says in the log what fails.
    """
    failing: type[Exception] | None = None
    while True:
        try:
            await run()
            if failing is not None:
                _log.info("work goes on", work=name)
            failing = None
        # What fails is tried again in its time, and other work goes on.
        except Exception as error:
            # A driver may answer the end of its statement with an error of its own.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError from error
            if type(error) is not failing:
                if isinstance(error, LedgerError):
                    _log.warning("work fails, and is tried again", work=name, reason=str(error))
                else:
                    _log.exception("work fails, and is tried again", work=name)
            failing = type(error)
        await asyncio.sleep(every)
