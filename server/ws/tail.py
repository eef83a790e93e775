"""The newest transactions, kept so that a connection a little behind needs no journal read."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

from ..ledger.updates import Committed

MOST_TRANSACTIONS = 4_096
MOST_BYTES = 8_388_608


class Seen(NamedTuple):
    """A transaction and the users who see it, decoded once."""

    committed: Committed
    users: tuple[str, ...]


class Tail:
    """The last transactions that the feed handed on, without holes, bounded in number and bytes."""

    def __init__(self) -> None:
        self._entries: deque[Seen] = deque()
        self._bytes = 0

    def append(self, seen: Seen) -> None:
        """Add the next transaction, forgetting the oldest where there are too many."""
        self._entries.append(seen)
        self._bytes += len(seen.committed.encoded)
        while len(self._entries) > MOST_TRANSACTIONS or self._bytes > MOST_BYTES:
            self._bytes -= len(self._entries.popleft().committed.encoded)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._bytes = 0

    def after(self, position: int, newest: int) -> list[Seen] | None:
        """
        The transactions above `position`, where `newest` is the feed's; None where some of
        them are not here any more.
        """
        count = newest - position
        if count > len(self._entries):
            return None
        return list(islice(self._entries, len(self._entries) - count, None))
