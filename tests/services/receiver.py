"""
A server of somebody else's that webhooks are posted to, on a free loopback port:

    async with Receiver() as receiver:
        receiver.answers += [Answer(500), Answer(503, retry_after="30")]   # then 200s
        receiver.url, receiver.received, await receiver.until(lambda: len(receiver.received) == 3)
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True)
class Received:
    """One request: its path, its headers by lower-case name, its body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The message's id."""
        return self.headers["webhook-id"]

    @property
    def message(self) -> dict[str, Any]:
        """The body's JSON."""
        decoded: dict[str, Any] = msgspec.json.decode(self.body)
        return decoded

    @property
    def range(self) -> tuple[int, int]:
        """`from` (excluded) and `to` of the message."""
        return self.message["from"], self.message["to"]

    @property
    def positions(self) -> list[int]:
        """The positions of its updates."""
        return [update["position"] for update in self.message["updates"]]


@dataclass
class Answer:
    """
    How to answer one request. after: not before this is set; endless: a body without an end;
    cut: the connection instead of an answer; surplus: what nobody asked for, right behind it.
    """

    status: int = 200
    retry_after: str | None = None
    location: str | None = None
    cookie: str | None = None
    after: asyncio.Event | None = None
    endless: bool = False
    cut: bool = False
    surplus: bytes = b""


@dataclass
class Receiver:
    """
    answers: those to the next requests, in order; then it answers 200. tls: its own certificate,
    where it has one. An async context.
    """

    answers: list[Answer] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    busy: int = 0
    tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Receiver:
        self._changed = asyncio.Condition()
        self._serving: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where to post to."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def until(self, true: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until `true` after some request; TimeoutError."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(true)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        # A cancelled task would have asyncio's own callback complain.
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._serving.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        answer = self.answers.pop(0) if self.answers else Answer()
        self.busy += 1
        try:
            async with self._changed:
                self.received.append(Received(head[0].split()[1], headers, body))
                self._changed.notify_all()
            if answer.after is not None:
                await answer.after.wait()
            if answer.cut:
                return False
            return await _answer(answer, writer)
        finally:
            self.busy -= 1


async def _answer(answer: Answer, writer: asyncio.StreamWriter) -> bool:
    lines = [f"HTTP/1.1 {answer.status} As Told"]
    if answer.retry_after is not None:
        lines.append(f"Retry-After: {answer.retry_after}")
    if answer.location is not None:
        lines.append(f"Location: {answer.location}")
    if answer.cookie is not None:
        lines.append(f"Set-Cookie: {answer.cookie}")
    lines.append("Connection: close" if answer.endless else "Content-Length: 0")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + answer.surplus)
    while answer.endless:
        writer.write(b"x" * 65_536)
        await writer.drain()
    await writer.drain()
    return True
