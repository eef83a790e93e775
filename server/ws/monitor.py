"""The monitor's messages: everybody's changes, filtered and gathered, a position never split."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from ..ledger.updates import Committed, UpdateFilter, with_epoch

# A message is at most 64 KiB with its envelope.
GATHER_BYTES = 65_536 - 256


class AdminUpdates:
    """A transaction as admins see it, decoded only where a filter asks."""

    def __init__(self, epoch: str, committed: Committed) -> None:
        self._epoch = epoch
        self._committed = committed

    @cached_property
    def _bodies(self) -> list[bytes]:
        return [with_epoch(self._epoch, body) for body in self._committed.admin_bodies()]

    @cached_property
    def _decoded(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(body) for body in self._bodies]

    def passing(self, wanted: UpdateFilter) -> list[bytes]:
        """The UPDATEs, with epoch, that pass `wanted`."""
        if wanted == UpdateFilter():
            return self._bodies
        pairs = zip(self._bodies, self._decoded, strict=True)
        return [body for body, decoded in pairs if wanted.matches(decoded)]


class Gather:
    """UPDATEs on their way into one monitor message."""

    def __init__(self) -> None:
        self.size = 0
        self._updates: list[bytes] = []

    def takes(self, updates: list[bytes]) -> bool:
        """Whether one more transaction's `updates` fit; an empty one takes any."""
        return not self._updates or self.size + _size(updates) <= GATHER_BYTES

    def add(self, updates: list[bytes]) -> None:
        """Put a transaction's `updates` in."""
        self._updates += updates
        self.size += _size(updates)

    def take(self) -> list[bytes]:
        """What was gathered; it is empty then."""
        updates, self._updates, self.size = self._updates, [], 0
        return updates


def _size(updates: list[bytes]) -> int:
    return sum(map(len, updates)) + len(updates)
