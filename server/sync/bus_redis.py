"""The bus of several processes: Redis publish and subscribe, proven alive by its own heartbeat."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from redis.asyncio.connection import AbstractConnection

from .. import logs
from ..ledger.updates import Batch
from .envelope import Revocation, Signer, decode_batch, decode_revocation, encode, split
from .redis_connection import WITHIN, connected, pipeline

JOURNAL = "tallywire:journal"
REVOCATIONS = "tallywire:revocations"

# Seconds: between heartbeats, without one until the link counts as dead, until the next attempt.
HEARTBEAT = 0.25
SILENCE = 1.0
RETRY = 0.25
# Bytes that may wait for Redis; past that batches are dropped, and read from the journal.
WAITING = 8 * 1_048_576

_log = logs.get_logger(__name__)


class RedisBus:
    """
    A link to Redis of two connections, one that publishes and one that is subscribed. Both end
    together, as soon as one fails or the link's own heartbeat is not heard, and are made anew:
    a subscription that was lost without a word (a failover, an output buffer overrun) is
    noticed within `SILENCE` seconds.
    """

    def __init__(self, url: str, secrets_: Sequence[str]) -> None:
        """url: ``redis://`` or ``rediss://``; secrets_: the first signs, each verifies."""
        self._url = url
        self._signer = Signer(secrets_)
        self._heartbeats = f"tallywire:heartbeat:{secrets.token_hex(8)}"
        self._subscribers: list[Callable[[Batch], None]] = []
        self._revoked: list[Callable[[str, int], None]] = []
        self._changed: list[Callable[[], None]] = []
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._up = asyncio.Event()
        self._strangers = False
        self._closing = False
        self._running: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether this process hears what it publishes."""
        return self._up.is_set()

    async def start(self) -> None:
        """Begin to deliver; waits for the first link, at most as long as one attempt may take."""
        self._running = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(WITHIN):
                await self._up.wait()
        except TimeoutError:
            _log.warning("the bus is not up yet: going on without it")

    async def close(self) -> None:
        """Stop delivering, send what waits if that goes soon, and let go of every connection."""
        self._subscribers.clear()
        self._revoked.clear()
        self._changed.clear()
        if self.is_up:
            with suppress(TimeoutError):
                async with asyncio.timeout(WITHIN):
                    await self._all_sent.wait()
        self._closing = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def publish(self, batch: Batch) -> None:
        """Have `batch` sent soon; never waits, and drops it where the link is down or too slow."""
        if not self.is_up:
            return
        for piece in split(batch):
            self._send(JOURNAL, encode(piece))

    async def publish_revocation(self, user_id: str, at: int) -> None:
        """Have the revocation sent soon; never waits, and drops it where the link is down."""
        if self.is_up:
            self._send(REVOCATIONS, encode(Revocation(user_id, at)))

    def subscribe(self, deliver: Callable[[Batch], None]) -> None:
        """Have `deliver` called in the event loop with every batch that arrives."""
        self._subscribers.append(deliver)

    def subscribe_revocations(self, revoked: Callable[[str, int], None]) -> None:
        """Have `revoked` called with user id and unix second of every revocation that arrives."""
        self._revoked.append(revoked)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever `is_up` changes."""
        self._changed.append(changed)

    # The link.

    async def _run(self) -> None:
        # A task group that fails as it is cancelled raises only the failure (until Python 3.13).
        while not self._closing:
            try:
                await self._link()
            # Whatever it was: without the bus things go on more slowly, without this task never.
            except Exception as error:
                self._down(_cause(error))
            if not self._closing:
                await asyncio.sleep(RETRY)

    async def _link(self) -> None:
        async with (
            connected(self._url, "tallywire-subscriber") as subscriber,
            connected(self._url, "tallywire-publisher") as publisher,
        ):
            await subscriber.send_command("SUBSCRIBE", JOURNAL, REVOCATIONS, self._heartbeats)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._listen(subscriber))
                both.create_task(self._talk(publisher))
                both.create_task(self._beat())

    async def _listen(self, subscriber: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SILENCE) as silence:
            while True:
                kind, channel, data = await subscriber.read_response()
                if kind != b"message":
                    continue
                if channel.decode() == self._heartbeats:
                    silence.reschedule(loop.time() + SILENCE)
                    self._is_alive()
                else:
                    self._receive(channel.decode(), data)

    async def _talk(self, publisher: AbstractConnection) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
            await pipeline(
                publisher, *(("PUBLISH", channel, message) for channel, message in waiting)
            )
            if not self._waiting:
                self._all_sent.set()

    async def _beat(self) -> None:
        # What waited when the last link broke is old news: the journal has it.
        self._waiting.clear()
        self._waiting_bytes = 0
        self._all_sent.set()
        while True:
            self._waiting.append((self._heartbeats, b""))
            self._wake.set()
            await asyncio.sleep(HEARTBEAT)

    def _send(self, channel: str, payload: bytes) -> None:
        message = self._signer.sign(channel, payload)
        if self._waiting_bytes + len(message) > WAITING:
            return
        self._waiting.append((channel, message))
        self._waiting_bytes += len(message)
        self._all_sent.clear()
        self._wake.set()

    def _receive(self, channel: str, message: bytes) -> None:
        payload = self._signer.verified(channel, message)
        if payload is None:
            if not self._strangers:
                self._strangers = True
                _log.warning(
                    "messages that none of our secrets signed are ignored", channel=channel
                )
            return
        if channel == JOURNAL:
            if (batch := decode_batch(payload)) is not None:
                for deliver in tuple(self._subscribers):
                    deliver(batch)
        elif (revocation := decode_revocation(payload)) is not None:
            for revoked in tuple(self._revoked):
                revoked(revocation.user_id, revocation.at)

    def _is_alive(self) -> None:
        if not self.is_up:
            self._up.set()
            _log.info("the bus is up")
            self._tell_change()

    def _down(self, why: str) -> None:
        if self.is_up:
            self._up.clear()
            _log.warning("the bus is down", reason=why)
            self._tell_change()

    def _tell_change(self) -> None:
        for changed in tuple(self._changed):
            changed()


def _cause(error: BaseException) -> str:
    """What ended the link, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "Redis does not answer"
    return str(error) or type(error).__name__
