"""
The protocol of one connection, without any I/O: text, binary frames and the passing of time go
in; frames to send, events for the hub and at last a close come out.

WebSocket and server-sent events share it. `now` is always seconds of a monotonic clock, the
wall time comes from the injected clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..ledger.clock import Clock
from ..ledger.errors import LedgerError
from . import closes, frames
from .closes import Close
from .frames import Cursor, Frame
from .messages import (
    Connect,
    Ping,
    Refresh,
    Request,
    UnreadableMessage,
    read_connect,
    read_message,
    read_refresh,
    request_of,
    type_of,
)

if TYPE_CHECKING:
    from ..auth import Principal

REFUSED_WITHIN = 5.0

# The last second of the year 9999, beyond which there are no datetimes.
_LAST_SECOND = 253_402_300_799

Authenticate = Callable[[str], "Principal"]


class Limits(Struct, frozen=True, kw_only=True):
    """
    What a client must keep to, in seconds, bytes and messages: `burst` messages at once, and
    `rate` a second in the long run.
    """

    connect_within: float = 5.0
    heartbeat_every: float = 15.0
    message_bytes: int = 65_536
    burst: int = 60
    rate: float = 20.0


class Accepted(Struct, frozen=True):
    """An event: the connection is authenticated and is to be served `request`."""

    request: Request


class Session:
    """
    One connection's protocol: connect, token, cursor, heartbeat, close.

    cursor: what the client was told last, None before its first init and between the parts of a
    new one; examined: up to which position of that epoch everything was looked at for it, at
    least the cursor's; closed: why it ends, None while it is open.
    """

    def __init__(
        self,
        clock: Clock,
        authenticate: Authenticate,
        now: float,
        *,
        principal: Principal | None = None,
        refused: Close | None = None,
        limits: Limits | None = None,
    ) -> None:
        """
        authenticate: the principal of a token, or NotAuthenticated; principal: who came with the
        upgrade request already, so that `connect` needs no token; refused: why what came with it
        is not accepted. That close waits for `connect`, a moment at most: a client reads the
        close code where it awaits an answer, not where it sends its first message.
        """
        self._clock = clock
        self._authenticate = authenticate
        self._limits = limits or Limits()
        self.principal = principal
        self.request: Request | None = None
        self.cursor: Cursor | None = None
        self.examined = 0
        self.closed: Close | None = None
        self.queued_bytes = 0
        self._outgoing: deque[Frame] = deque()
        self._events: list[Accepted] = []
        self._refused = refused
        patience = self._limits.connect_within if refused is None else REFUSED_WITHIN
        self._connect_by = now + patience
        self._next_heartbeat = now + self._limits.heartbeat_every
        self._allowance = float(self._limits.burst)
        self._allowance_at = now

    # What comes in.

    def receive_text(self, text: str, now: float) -> None:
        """Take a text message that arrived at `now`."""
        if self.closed is not None or not self._within_rate(now):
            return
        if len(text) > self._limits.message_bytes or (
            not text.isascii() and len(text.encode("utf-8", "replace")) > self._limits.message_bytes
        ):
            self.close(closes.TOO_BIG)
            return
        try:
            message = read_message(text)
            if self.request is None:
                self._receive_first(message, now)
            else:
                self._receive_next(message)
        except UnreadableMessage as problem:
            self.close(closes.BAD_CONNECT.because(str(problem)))

    def receive_binary(self) -> None:
        """Take a binary message: there are none in this protocol."""
        self.close(closes.BAD_CONNECT.because("binary messages are not understood"))

    def connect(self, connect: Connect, now: float) -> None:
        """Take a `connect`, whichever way it was made; raises UnreadableMessage."""
        if self.request is not None:
            raise UnreadableMessage("connected already")
        request = request_of(connect)
        if self._refused is not None:
            self.close(self._refused)
            return
        if connect.token is not None:
            self.principal = self._authenticated(connect.token)
        elif self.principal is None:
            self.close(closes.NOT_AUTHENTICATED)
        if self.principal is None or self.closed is not None or self._expire():
            return
        if request.monitor and not self.principal.may("auditor"):
            self.close(closes.NOT_ALLOWED)
            return
        self.request = request
        self._next_heartbeat = now + self._limits.heartbeat_every
        self._events.append(Accepted(request))

    def tick(self, now: float) -> None:
        """Do what is due at `now`; call it at `deadline()` or at any time."""
        if self.closed is not None or self._expire():
            return
        if self.request is None:
            if now >= self._connect_by:
                self.close(self._refused or closes.NO_CONNECT)
        elif now >= self._next_heartbeat:
            self._next_heartbeat = now + self._limits.heartbeat_every
            self.heartbeat()

    def deadline(self, now: float) -> float:
        """When `tick` has something to do next."""
        due = self._connect_by if self.request is None else self._next_heartbeat
        if self.principal is not None:
            left = self.principal.expires_at - self._clock.now().timestamp()
            due = min(due, now + max(left, 0.0))
        return due

    # What goes out.

    def send(self, frame: Frame) -> None:
        """Queue `frame`; where it moves the cursor, the connection's is moved."""
        if self.closed is not None:
            return
        self._outgoing.append(frame)
        self.queued_bytes += len(frame.data)
        if frame.cursor is not None:
            self.cursor = frame.cursor
            self.examined = frame.cursor.position

    def begin(self, cursor: Cursor) -> None:
        """The client stands at `cursor` already: it resumes there, or follows no positions."""
        self.cursor = cursor
        self.examined = cursor.position

    def restart(self) -> None:
        """Inits are about to follow: until the last of them the client has no cursor."""
        self.cursor = None
        self.examined = 0

    def examine(self, position: int) -> None:
        """Everything up to `position` was looked at for this client."""
        self.examined = max(self.examined, position)

    def heartbeat(self) -> None:
        """Tell the client how far it was served; nothing where it has no cursor yet."""
        if self.cursor is not None:
            moved = Cursor(self.cursor.epoch, max(self.examined, self.cursor.position))
            self.send(frames.heartbeat(moved, self._clock.now()))

    def close(self, why: Close) -> None:
        """End the connection after what is queued; the first reason stays."""
        if self.closed is None:
            self.closed = why

    def events_received(self) -> list[Accepted]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def data_to_send(self, most: int) -> list[Frame]:
        """The next frames of the queue, at most `most` bytes, but always one where there is one."""
        taken: list[Frame] = []
        size = 0
        while self._outgoing and (not taken or size + len(self._outgoing[0].data) <= most):
            taken.append(self._outgoing.popleft())
            size += len(taken[-1].data)
        self.queued_bytes -= size
        return taken

    # Inside.

    def _receive_first(self, message: dict[str, Any], now: float) -> None:
        if message.get("type") != type_of(Connect):
            raise UnreadableMessage("the first message must be connect")
        self.connect(read_connect(message), now)

    def _receive_next(self, message: dict[str, Any]) -> None:
        kind, req_id = message.get("type"), message.get("req_id")
        if kind == type_of(Ping):
            self.send(frames.pong(req_id))
        elif kind == type_of(Refresh):
            self._refresh(message)
        elif kind == type_of(Connect):
            raise UnreadableMessage("connected already")
        else:
            self.send(frames.error("invalid_request", f"unknown type {kind!r:.60}", req_id))

    def _refresh(self, message: dict[str, Any]) -> None:
        try:
            fresh = self._authenticated(read_refresh(message).token)
        except UnreadableMessage:
            self.close(closes.NOT_AUTHENTICATED)
            return
        if fresh is None or self.principal is None or self.request is None:
            return
        if fresh.user_id != self.principal.user_id:
            self.close(closes.NOT_AUTHENTICATED.because("the token is another user's"))
        elif self.request.monitor and not fresh.may("auditor"):
            self.close(closes.NOT_ALLOWED)
        else:
            self.principal = fresh
            expires_at = min(fresh.expires_at, _LAST_SECOND)
            self.send(frames.refreshed(datetime.fromtimestamp(expires_at, UTC)))

    def _authenticated(self, token: str) -> Principal | None:
        try:
            return self._authenticate(token)
        except LedgerError as problem:
            self.close(closes.NOT_AUTHENTICATED.because(problem.detail))
        return None

    def _expire(self) -> bool:
        if self.principal is None or self._clock.now().timestamp() < self.principal.expires_at:
            return False
        self.close(closes.NOT_AUTHENTICATED.because("the token has expired"))
        return True

    def _within_rate(self, now: float) -> bool:
        earned = (now - self._allowance_at) * self._limits.rate
        self._allowance = min(self._allowance + earned, float(self._limits.burst))
        self._allowance_at = now
        if self._allowance < 1:
            self.close(closes.TOO_FAST)
            return False
        self._allowance -= 1
        return True
