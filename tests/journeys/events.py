"""An independent reader of `/v1/stream`: HTTP and server-sent events taken apart by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from .client import Json, Screen, small_socket


class Event(NamedTuple):
    """One event; `id` is None where it had none."""

    type: str
    id: str | None
    data: str
    retry: int | None


class Answer:
    """An answer whose body is still coming."""

    def __init__(
        self, status: int, headers: Mapping[str, str], reader: asyncio.StreamReader, writer: Any
    ) -> None:
        self.status = status
        self.headers = headers
        self._reader = reader
        self._writer: asyncio.StreamWriter = writer

    async def problem(self) -> Json:
        """The PROBLEM that it is instead of a stream."""
        body = await self._reader.readexactly(int(self.headers["content-length"]))
        self.hang_up()
        problem: Json = json.loads(body)
        assert self.headers["content-type"] == "application/problem+json"
        assert problem["status"] == self.status
        return problem

    async def events(self) -> AsyncIterator[Event]:
        """Each event as it comes, until the answer is complete; IncompleteReadError if cut."""
        assert (self.status, self.headers["content-type"]) == (200, "text/event-stream")
        rest = ""
        while chunk := await self._chunk():
            *blocks, rest = (rest + chunk.decode()).split("\n\n")
            for block in blocks:
                yield _event(block)
        assert rest == "", "the answer ends in the middle of an event"

    async def _chunk(self) -> bytes:
        size = int((await self._reader.readuntil(b"\r\n")), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    def hang_up(self) -> None:
        """Go away without a word."""
        self._writer.transport.abort()


def _event(block: str) -> Event:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(": ")
        assert name not in fields, f"{name} twice"
        fields[name] = value
    assert set(fields) <= {"event", "id", "data", "retry"}, block
    retry = fields.get("retry")
    return Event(
        fields["event"], fields.get("id"), fields["data"], None if retry is None else int(retry)
    )


async def ask(
    server_url: str,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    version: str = "1.1",
    receive_buffer: int | None = None,
    within: float = 20.0,
) -> Answer:
    """Ask for `/v1/stream`, trying again while nobody listens, until the deadline."""
    address = urlsplit(server_url)
    lines = [f"{method} /v1/stream?{urlencode(query or {})} HTTP/{version}"]
    lines += [
        f"{name}: {value}" for name, value in {"Host": address.netloc, **(headers or {})}.items()
    ]
    deadline = asyncio.get_running_loop().time() + within
    while True:
        try:
            if receive_buffer:
                sock = small_socket(server_url, receive_buffer)
                reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
            else:
                reader, writer = await asyncio.open_connection(
                    address.hostname, address.port, ssl=address.scheme == "https" or None
                )
            break
        except OSError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.02)
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(within):
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    named = (field.split(": ", 1) for field in fields)
    return Answer(int(status.split()[1]), {k.lower(): v for k, v in named}, reader, writer)


class StreamScreen(Screen):
    """
    A Screen over server-sent events: each event has an id exactly where it moves the cursor.

    by_header: it comes back with Last-Event-ID, and not with `resume`.
    """

    by_header = False
    retry: int | None = None
    reconnect: bool | None = None

    async def _connect(self, hello: Json, within: float) -> None:
        query = {"streams": ",".join(hello["streams"])}
        headers = {"Authorization": f"Bearer {hello['token']}"}
        if "mode" in hello:
            query["mode"] = hello["mode"]
        query |= {f"filter.{name}": value for name, value in hello.get("filter", {}).items()}
        if "resume" in hello:
            place = f"{hello['resume']['epoch']}:{hello['resume']['position']}"
            if self.by_header:
                headers["Last-Event-ID"] = place
            else:
                query["resume"] = place
        self._answer = await ask(
            self.server_url,
            query,
            headers,
            receive_buffer=self._receive_buffer,
            within=within,
        )
        self._reader = asyncio.create_task(self._follow())

    async def leave(self) -> None:
        """Hang up; what was seen is kept."""
        if self._reader is not None:
            self._answer.hang_up()
            await self._reader
        self._reader = None

    def vanish(self) -> None:
        """Go away without a word."""
        self._answer.hang_up()

    async def _follow(self) -> None:
        try:
            async for event in self._answer.events():
                await self.reading.wait()
                self.retry = event.retry or self.retry
                if event.type == "close":
                    self._close(json.loads(event.data))
                else:
                    self._take_event(event)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as fault:
            self._fault = fault
        finally:
            self._answer.hang_up()
            self._news.set()

    def _take_event(self, event: Event) -> None:
        assert self.close_code is None, "an event after the close"
        before = (self.epoch, self.cursor)
        message = self._take(event.data)
        assert event.type == message["type"]
        now = (self.epoch, self.cursor)
        if event.id is None:
            assert now == before or self._inits_due, f"{event.type} moved the cursor without an id"
        else:
            assert event.id == f"{self.epoch}:{self.cursor}"

    def _close(self, close: Json) -> None:
        assert set(close) == {"code", "reason", "reconnect"}
        self.close_code, self.reconnect = close["code"], close["reconnect"]
