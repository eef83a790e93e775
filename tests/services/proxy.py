"""
A TCP proxy between a server under test and PostgreSQL, which loses connections on demand.

It reads enough of the PostgreSQL protocol (version 3) to know COMMITs: those sent as a simple
query, as asyncpg and SQLAlchemy do, are counted; those of a transaction that wrote (its answers
had an INSERT, UPDATE or DELETE tag) can be met with a `CommitFault`.

    async with PostgresProxy(postgres_server.port) as proxy:
        running = await server(database_url=proxy.url(postgres_url))
        struck = proxy.at_next_commit(CommitFault.CUT_AFTER)
        struck = proxy.at_next_commit(CommitFault.CUT_AFTER, naming=b"deposit")
        answer = asyncio.create_task(client.post("/v1/deposits", ...))
        await struck.wait()                    # the COMMIT reached PostgreSQL, nobody knows
        ...
        proxy.cut()                            # every connection, at once
        proxy.refuse = True                    # new ones too, until it is False again
        proxy.pause(); ...; proxy.resume()     # bytes wait, both ways; nothing is lost
        held = proxy.hold_next_commit()        # it never arrives: the transaction stays open
        assert proxy.commits == 3

It runs in the test's event loop: nothing in the test may block that loop while a server waits.
"""

from __future__ import annotations

import asyncio
import enum
import re
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

_COMMIT = re.compile(rb"\s*(?:COMMIT|END)\b", re.IGNORECASE)
_WRITE_TAG = re.compile(rb"(?:INSERT|UPDATE|DELETE|COPY|MERGE)\b")
_SSL_REQUEST = 80877103
_GSS_REQUEST = 80877104


class CommitFault(enum.Enum):
    """What happens to the next COMMIT of a transaction that wrote."""

    CUT_BEFORE = "the COMMIT is lost and the connection with it: PostgreSQL rolls back"
    CUT_AFTER = "the COMMIT is handed on, then the connection is cut: PostgreSQL commits"
    CUT_ANSWER = "PostgreSQL has committed and said so; the answer is lost with the connection"
    SWALLOW_ANSWER = "as CUT_ANSWER, but the connection stays open and silent"


class PostgresProxy:
    """The proxy: an async context manager; see the module's docstring."""

    def __init__(self, upstream_port: int) -> None:
        """upstream_port: where PostgreSQL listens on 127.0.0.1."""
        self.commits = 0
        self.refuse = False
        self._upstream_port = upstream_port
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._hold: asyncio.Event | None = None
        self._fault: tuple[CommitFault, asyncio.Event] | None = None
        self._naming = b""
        self._listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The loopback port that the proxy listens on."""
        assert self._listener is not None, "the proxy is not running"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many connections go through the proxy now."""
        return len(self._links)

    def url(self, database_url: str) -> str:
        """`database_url` with the proxy in place of PostgreSQL's own address."""
        parts = urlsplit(database_url)
        account, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account}{at}127.0.0.1:{self.port}"))

    def at_next_commit(self, fault: CommitFault, *, naming: bytes = b"") -> asyncio.Event:
        """
        Arm `fault`, for one COMMIT; the event is set once it has struck.

        naming: only of a transaction in which these bytes were sent from now on.
        """
        struck = asyncio.Event()
        self._fault, self._naming = (fault, struck), naming
        return struck

    def hold_next_commit(self) -> asyncio.Event:
        """
        Have the next COMMIT of a transaction that wrote wait for ever, and with it its connection;
        the event is set once it is held.
        """
        self._hold = asyncio.Event()
        return self._hold

    def cut(self) -> None:
        """Reset all connections, on both sides, at once; what is under way is lost."""
        for link in list(self._links):
            link.abort()

    def pause(self) -> None:
        """Hold all bytes back, both ways, until `resume()`; connections stay open."""
        self._open.clear()

    def resume(self) -> None:
        """Let the bytes that waited go on."""
        self._open.set()

    async def __aenter__(self) -> PostgresProxy:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            # asyncio's stream server reports a cancelled handler as an error.
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            return
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            return
        link = _Link(self, (reader, writer), upstream)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def _gate(self) -> None:
        await self._open.wait()

    async def _hold_commit(self) -> None:
        if self._hold is not None:
            held, self._hold = self._hold, None
            held.set()
            await asyncio.Event().wait()

    def _take_fault(self) -> tuple[CommitFault, asyncio.Event] | None:
        fault, self._fault = self._fault, None
        return fault


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection through the proxy: whole messages are read, then handed on."""

    def __init__(self, proxy: PostgresProxy, client: _Streams, upstream: _Streams) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._from_upstream, self._to_upstream = upstream
        self._wrote = False
        self._named = False
        self._losing_answer: tuple[CommitFault, asyncio.Event] | None = None
        self._silent = False

    async def run(self) -> None:
        ways = {
            asyncio.create_task(self._queries()),
            asyncio.create_task(self._answers()),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            ended = await asyncio.gather(*ways, return_exceptions=True)
            self._to_client.transport.abort()
            # Not an abort: a reset would take back bytes that PostgreSQL has not read yet.
            self._to_upstream.close()
        for error in ended:
            if isinstance(error, Exception) and not isinstance(
                error, asyncio.IncompleteReadError | ConnectionError
            ):
                raise error

    def abort(self) -> None:
        self._to_client.transport.abort()
        self._to_upstream.transport.abort()

    async def _queries(self) -> None:
        await self._startup()
        while True:
            message = await _message(self._from_client)
            await self._proxy._gate()
            if self._proxy._naming and self._proxy._naming in message:
                self._named = True
            if message[:1] == b"Q" and _COMMIT.match(message, 5):
                self._proxy.commits += 1
                if self._wrote:
                    await self._proxy._hold_commit()
                named = self._named or not self._proxy._naming
                if self._wrote and named and (fault := self._proxy._take_fault()):
                    if fault[0] is CommitFault.CUT_BEFORE:
                        fault[1].set()
                        return
                    if fault[0] is CommitFault.CUT_AFTER:
                        await self._send(self._to_upstream, message)
                        fault[1].set()
                        return
                    self._losing_answer = fault
            await self._send(self._to_upstream, message)

    async def _startup(self) -> None:
        while True:
            head = await self._from_client.readexactly(8)
            rest = await self._from_client.readexactly(int.from_bytes(head[:4]) - 8)
            await self._send(self._to_upstream, head + rest)
            if int.from_bytes(head[4:]) not in (_SSL_REQUEST, _GSS_REQUEST):
                return

    async def _answers(self) -> None:
        first = await self._from_upstream.readexactly(1)
        while first in b"NG":
            # The answer to a request for encryption: one letter, here always "no".
            await self._send(self._to_client, first)
            first = await self._from_upstream.readexactly(1)
        message = await _message(self._from_upstream, first)
        while True:
            await self._proxy._gate()
            if message[:1] == b"C":
                tag = message[5:]
                if tag.startswith((b"COMMIT", b"ROLLBACK", b"BEGIN")):
                    self._wrote = self._named = False
                elif _WRITE_TAG.match(tag):
                    self._wrote = True
                if tag.startswith(b"COMMIT") and self._losing_answer is not None:
                    fault, struck = self._losing_answer
                    struck.set()
                    if fault is CommitFault.CUT_ANSWER:
                        return
                    self._silent = True
            if not self._silent:
                await self._send(self._to_client, message)
            message = await _message(self._from_upstream)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()


async def _message(reader: asyncio.StreamReader, kind: bytes = b"") -> bytes:
    head = kind + await reader.readexactly(5 - len(kind))
    return head + await reader.readexactly(int.from_bytes(head[1:]) - 4)
