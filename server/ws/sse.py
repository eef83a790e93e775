"""Server-sent events (HTML standard, section 9.2): an HTTP answer on a connection of the hub."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..ledger.errors import InvalidRequest, LedgerError, NotAllowed, NotAuthenticated, Overloaded
from . import closes
from .closes import Close
from .frames import Frame
from .hub import Hub
from .messages import Connect, ServerShutdown, UnreadableMessage, read_connect, type_of

if TYPE_CHECKING:
    from ..auth import Principal

_ID = re.compile(r"([^:]+):([0-9]{1,19})", re.ASCII)


class TooManyConnections(LedgerError):
    """You have too many live connections: close one first."""

    code = "too_many_requests"


_REFUSALS: Mapping[int, type[LedgerError]] = {
    closes.RESTARTING.code: Overloaded,
    closes.TRY_LATER.code: Overloaded,
    closes.NOT_AUTHENTICATED.code: NotAuthenticated,
    closes.NOT_ALLOWED.code: NotAllowed,
    closes.TOO_MANY.code: TooManyConnections,
    closes.REVOKED.code: NotAuthenticated,
}


async def open_stream(
    hub: Hub,
    principal: Principal,
    *,
    streams: str | None = None,
    mode: str | None = None,
    resume: str | None = None,
    filter: Mapping[str, str] | None = None,
) -> Response:
    """
    The answer that streams to `principal` what is wanted, once its first message is there.

    streams: names with commas between; resume: the id of the last event that the client has,
    `epoch:position`; the others are those of a `connect`. Raises the LedgerError that refuses it.
    """
    stream = EventStream(hub, principal)
    try:
        await stream.begin(_connect(streams, mode, resume, filter))
    except BaseException:
        stream.leave()
        raise
    return stream


class EventStream(Response):
    """An answer without end, and the transport of the connection that it shows."""

    _to_client: Send

    def __init__(self, hub: Hub, principal: Principal) -> None:
        super().__init__(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        # Nobody knows how long it will be.
        del self.headers["Content-Length"]
        self._hub = hub
        self._connection = hub.open(self, _takes_no_token, kind="sse", principal=principal)
        self._started = False

    async def begin(self, connect: Connect) -> None:
        """Wait until there is something to send; raises the LedgerError that refuses it."""
        try:
            self._hub.connect(self._connection, connect)
        except UnreadableMessage as problem:
            raise _invalid(problem) from None
        await self._connection.ready()
        closed = self._connection.session.closed
        if closed is not None:
            raise _REFUSALS[closed.code](closed.reason)

    def leave(self) -> None:
        """It is over."""
        self._hub.leave(self._connection)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what the connection has to say until one of the two sides ends it."""
        self._to_client = send
        watching = asyncio.create_task(self._watch(receive))
        try:
            await self._connection.run()
        finally:
            watching.cancel()
            self.leave()
        # For one who takes nothing the hub does not wait, but the server under us does.
        await self._write(b"", more=False)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send each; the server under us waits while its buffer is full."""
        await self._write(b"".join(map(_event, frames)))

    async def close(self, why: Close) -> None:
        """Tell why."""
        await self._write(b"event: close\ndata: %b\n\n" % msgspec.json.encode(why))

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        if not self._started:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await self._to_client({"type": "http.response.start", **start})
            self._started = True
        await self._to_client({"type": "http.response.body", "body": body, "more_body": more})

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._connection.peer_left()


def _connect(
    streams: str | None, mode: str | None, resume: str | None, filter: Mapping[str, str] | None
) -> Connect:
    message: dict[str, Any] = {"filter": dict(filter or {})}
    if streams is not None:
        message["streams"] = streams.split(",")
    if mode is not None:
        message["mode"] = mode
    try:
        if resume is not None:
            message["resume"] = _place(resume)
        return read_connect(message)
    except UnreadableMessage as problem:
        raise _invalid(problem) from None


def _place(event_id: str) -> dict[str, Any]:
    """The `resume` that goes on behind the event of that id."""
    match = _ID.fullmatch(event_id)
    if match is None:
        raise UnreadableMessage("`resume` and Last-Event-ID are epoch:position")
    return {"epoch": match[1], "position": int(match[2])}


def _invalid(problem: UnreadableMessage) -> InvalidRequest:
    return InvalidRequest(f"query: {str(problem).replace('`$.', '`')}")


def _event(frame: Frame) -> bytes:
    """The event that `frame` is; JSON as we write it has no line breaks."""
    lines = b"event: %b\n" % frame.type.encode()
    if frame.cursor is not None:
        lines += b"id: %b:%d\n" % (frame.cursor.epoch.encode(), frame.cursor.position)
    if frame.type == type_of(ServerShutdown):
        # A browser's EventSource comes back by itself, and knows only this.
        shutdown = msgspec.json.decode(frame.data, type=ServerShutdown)
        lines += b"retry: %d\n" % shutdown.reconnect_after_ms
    return lines + b"data: %b\n\n" % frame.data


def _takes_no_token(token: str) -> Principal:
    raise NotAuthenticated
