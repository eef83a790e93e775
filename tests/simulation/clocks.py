"""Wall clocks that go with the simulated time, and sometimes jump."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import NamedTuple

from ..virtual_time import START


class Readings(NamedTuple):
    """The earliest and the latest time of day that a clock has shown in some while."""

    earliest: datetime
    latest: datetime


class JumpingClock:
    """One machine's wall clock."""

    def __init__(self, offset: float) -> None:
        """offset: seconds by which it is wrong."""
        # Since when, in the loop's time, it was wrong by so much.
        self._offsets = [(0.0, offset)]

    @property
    def offset(self) -> float:
        """The seconds by which it is wrong now."""
        return self._offsets[-1][1]

    def jump(self, seconds: float) -> None:
        """Be wrong by so much more from now on."""
        self._offsets.append((asyncio.get_running_loop().time(), self.offset + seconds))

    def now(self) -> datetime:
        """The time of day that this machine believes it is."""
        return _time_of_day(asyncio.get_running_loop().time() + self.offset)

    def readings(self, since: float) -> Readings:
        """The earliest and the latest that it has shown since that time of the loop."""
        shown: list[float] = []
        until = asyncio.get_running_loop().time()
        for begun, offset in reversed(self._offsets):
            shown += (max(begun, since) + offset, until + offset)
            until = begun
            if begun <= since:
                break
        return Readings(_time_of_day(min(shown)), _time_of_day(max(shown)))


def _time_of_day(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
