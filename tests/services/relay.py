"""
A network between a browser and a server under test, which fails on demand.

    async with Relay(running.port) as relay:
        await tab.page.goto(f"{relay.url}/static/admin.html")
        relay.cut()                      # every connection is reset; what is under way is lost
        relay.down = True                # and new ones are turned away
        relay.upgrades = False           # a WebSocket gets no further than a bad proxy would let it
        relay.alter = lambda data: …     # what the server says, on its way; of the same length

It runs in the test's event loop: nothing in the test may block that loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self


class Relay:
    """The relay: an async context manager; see the module's docstring."""

    def __init__(self, upstream_port: int) -> None:
        """upstream_port: where the server listens on 127.0.0.1."""
        self.down = False
        self.upgrades = True
        self.alter: Callable[[bytes], bytes] = bytes
        self._upstream_port = upstream_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._links: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT` of the relay itself."""
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Reset all connections, on both sides, at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._links)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._carry_both_ways(reader, writer)
        except OSError:
            pass  # cut, or there is no server now: either way the browser sees a reset
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _carry_both_ways(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first = await reader.read(65536)
        # Chromium opens a connection of its own for each WebSocket, so its upgrade comes first.
        if self.down or (not self.upgrades and b"\r\nUpgrade: websocket\r\n" in first):
            return
        upstream, onwards = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        self._writers.add(onwards)
        try:
            onwards.write(first)
            await asyncio.gather(
                _carry(reader, onwards, bytes),
                _carry(upstream, writer, lambda data: self.alter(data)),
            )
        finally:
            onwards.transport.abort()
            self._writers.discard(onwards)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, through: Callable[[bytes], bytes]
) -> None:
    while data := await reader.read(65536):
        writer.write(through(data))
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
