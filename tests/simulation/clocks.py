"""Wall clocks that go with the simulated time, and sometimes jump."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from ..virtual_time import START


class JumpingClock:
    """One machine's wall clock."""

    def __init__(self, offset: float) -> None:
        """offset: seconds by which it is wrong."""
        self.offset = offset

    def now(self) -> datetime:
        """The time of day that this machine believes it is."""
        return START + timedelta(seconds=asyncio.get_running_loop().time() + self.offset)
