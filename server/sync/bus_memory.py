"""The bus of a single process: a batch is delivered as it is published."""

from __future__ import annotations

from collections.abc import Callable

from ..ledger.updates import Batch


class MemoryBus:
    """Delivers within the event loop, in order, losing nothing."""

    is_up = True

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Batch], None]] = []

    async def start(self) -> None:
        """Nothing has to be started."""

    async def close(self) -> None:
        """Forget the subscribers."""
        self._subscribers.clear()

    async def publish(self, batch: Batch) -> None:
        """Hand `batch` to every subscriber before returning."""
        for deliver in tuple(self._subscribers):
            deliver(batch)

    def subscribe(self, deliver: Callable[[Batch], None]) -> None:
        """Have `deliver` called with every batch published from now on."""
        self._subscribers.append(deliver)
