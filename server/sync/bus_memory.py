"""The bus of a single process: what is published is delivered at once."""

from __future__ import annotations

from collections.abc import Callable

from ..ledger.updates import Batch


class MemoryBus:
    """Delivers within the event loop, in order, losing nothing."""

    is_up = True

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Batch], None]] = []
        self._revoked: list[Callable[[str, int], None]] = []

    async def start(self) -> None:
        """Nothing has to be started."""

    async def close(self) -> None:
        """Forget the subscribers."""
        self._subscribers.clear()
        self._revoked.clear()

    async def publish(self, batch: Batch) -> None:
        """Hand `batch` to every subscriber before returning."""
        for deliver in tuple(self._subscribers):
            deliver(batch)

    async def publish_revocation(self, user_id: str, at: int) -> None:
        """Hand the revocation to every subscriber before returning."""
        for revoked in tuple(self._revoked):
            revoked(user_id, at)

    def subscribe(self, deliver: Callable[[Batch], None]) -> None:
        """Have `deliver` called with every batch published from now on."""
        self._subscribers.append(deliver)

    def subscribe_revocations(self, revoked: Callable[[str, int], None]) -> None:
        """Have `revoked` called with every revocation published from now on."""
        self._revoked.append(revoked)

    def on_change(self, changed: Callable[[], None]) -> None:
        """It is always up: nobody is ever told."""
