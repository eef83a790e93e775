"""The bus between processes: an accelerator, never a promise. What it loses, the journal has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from ..ledger.updates import Batch
from .bus_memory import MemoryBus

Deliver = Callable[[Batch], None]
Revoked = Callable[[str, int], None]


class Bus(Protocol):
    """
    Carries committed batches, and revocations of tokens, to every process; it may lose, repeat
    and reorder them. Callbacks are called in the event loop and do not wait.
    """

    @property
    def is_up(self) -> bool:
        """Whether batches are believed to get through now."""

    async def start(self) -> None:
        """Begin to deliver. Does not fail where the bus is away: it goes on trying."""

    async def close(self) -> None:
        """Stop delivering and let go of every connection."""

    async def publish(self, batch: Batch) -> None:
        """Send `batch` to every process, this one included; never waits for the network."""

    async def publish_revocation(self, user_id: str, at: int) -> None:
        """Tell every process that tokens issued at or before unix second `at` are revoked."""

    def subscribe(self, deliver: Deliver) -> None:
        """Have `deliver` called with every batch that arrives."""

    def subscribe_revocations(self, revoked: Revoked) -> None:
        """Have `revoked` called with user id and unix second of every revocation that arrives."""

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever `is_up` changes."""


def open_bus(url: str | None, secrets: Sequence[str] = ()) -> Bus:
    """
    The bus that `url` names, not started yet: None is the one inside this process.

    secrets: what its messages are signed with, the first signs, each verifies. Raises ValueError
    where no bus has that scheme, or where a bus between processes has no secret.
    """
    if url is None:
        return MemoryBus()
    scheme = urlsplit(url).scheme
    if scheme not in ("redis", "rediss"):
        raise ValueError(f"there is no bus for {scheme}://")
    if not secrets:
        raise ValueError("the bus needs a secret to sign with: TALLYWIRE_SECRET")
    from .bus_redis import RedisBus

    return RedisBus(url, secrets)
