"""Work that comes round by itself, done by exactly one of however many workers there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct

from .. import logs
from ..ledger.errors import LedgerError
from ..repeating import repeat

# Seconds: how long a lease lasts, and how often it is renewed or, by the others, asked for.
LEASE = 15.0
RENEWAL = 5.0

_NAME = "scheduler"
_log = logs.get_logger(__name__)


class Leases(Protocol):
    """Who may do what only one may do."""

    async def take(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew the lease `name` for `seconds`; whether `holder` has it now."""

    async def give_back(self, name: str, holder: str) -> None:
        """End the lease, if `holder` has it."""


class Job(Struct, frozen=True):
    """
    What is to be done `every` so many seconds, and once at the beginning.

    Every worker that ever held the lease may have begun it, so `run` can be repeated safely.
    """

    name: str
    every: float
    run: Callable[[], Awaitable[object]]


class Scheduler:
    """
    Runs jobs while it holds the lease, which it renews; another takes over once that expires.

    Where it cannot renew, it stops its jobs before the lease is another's.
    """

    def __init__(self, leases: Leases, holder: str, jobs: Sequence[Job]) -> None:
        """holder: the name of this process, unlike any other's."""
        self._leases = leases
        self._holder = holder
        self._jobs = tuple(jobs)

    async def run(self) -> None:
        """Go on until cancelled, then give the lease back."""
        try:
            while True:
                asked = asyncio.get_running_loop().time()
                if await self._take():
                    await self._lead(asked)
                else:
                    await asyncio.sleep(RENEWAL)
        finally:
            try:
                await self._leases.give_back(_NAME, self._holder)
            except LedgerError as error:
                _log.warning("the scheduler's lease is not given back", reason=str(error))

    async def _lead(self, asked: float) -> None:
        """Run the jobs for as long as the lease is ours; asked: when we asked for it."""
        _log.info("this process runs the scheduled jobs")
        jobs = [asyncio.create_task(repeat(job.name, job.every, job.run)) for job in self._jobs]
        try:
            await self._renew(asked)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        _log.warning("this process no longer runs the scheduled jobs")

    async def _renew(self, asked: float) -> None:
        """Return once the lease is another's, or too near to its end."""
        loop = asyncio.get_running_loop()
        safe_until = asked + LEASE - RENEWAL
        while loop.time() < safe_until:
            await asyncio.sleep(RENEWAL)
            asked = loop.time()
            try:
                async with asyncio.timeout_at(safe_until):
                    if not await self._leases.take(_NAME, self._holder, LEASE):
                        return
                safe_until = asked + LEASE - RENEWAL
            except (LedgerError, TimeoutError) as error:
                _log.warning("the scheduler's lease is not renewed", reason=str(error))

    async def _take(self) -> bool:
        try:
            return await self._leases.take(_NAME, self._holder, LEASE)
        except LedgerError as error:
            _log.warning("the scheduler's lease is not taken", reason=str(error))
            return False
