"""The bus between processes: an accelerator, never a promise. What it loses, the journal has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from ..ledger.updates import Batch
from .bus_memory import MemoryBus

Deliver = Callable[[Batch], None]


class Bus(Protocol):
    """Carries committed batches to every process; it may lose, repeat and reorder them."""

    @property
    def is_up(self) -> bool:
        """Whether batches are believed to get through now."""

    async def start(self) -> None:
        """Begin to deliver. Does not fail where the bus is away: it goes on trying."""

    async def close(self) -> None:
        """Stop delivering and let go of every connection."""

    async def publish(self, batch: Batch) -> None:
        """Send `batch` to every process, this one included; raises where that failed."""

    def subscribe(self, deliver: Deliver) -> None:
        """Have `deliver` called in the event loop with every batch that arrives."""


def open_bus(url: str | None) -> Bus:
    """
    The bus that `url` names, not started yet: None is the one inside this process.

    Raises ValueError where no bus has that scheme.
    """
    if url is None:
        return MemoryBus()
    raise ValueError(f"there is no bus for {urlsplit(url).scheme}://")
