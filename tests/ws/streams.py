"""Screens on event streams: ASGI in memory instead of a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

from tallywire.ledger.errors import LedgerError
from tallywire.ws.sse import EventStream, open_stream

from .world import Json, Screen, authenticate

Message = MutableMapping[str, Any]


class StreamScreen(Screen):
    """
    A screen that reads `/v1/stream`: an event has an id exactly where it moves the cursor.

    started: the answer's headers, once they are there; refused: what came instead of an answer;
    retry: what the last event that had one said; ended: the answer is complete.
    """

    def _open(self) -> None:
        self.started: dict[str, str] | None = None
        self.refused: LedgerError | None = None
        self.retry: int | None = None
        self.ended = False
        self._gone = asyncio.Event()

    def leave(self) -> None:
        self._gone.set()
        self._taking.set()

    async def _run(self) -> None:
        resume = self.hello.get("resume")
        try:
            response = await open_stream(
                self.world.hub,
                authenticate(self.hello["token"]),
                streams=",".join(self.streams),
                mode=self.hello.get("mode"),
                resume=resume and f"{resume['epoch']}:{resume['position']}",
                filter=self.hello.get("filter"),
            )
        except LedgerError as refused:
            self.refused = refused
            return
        assert isinstance(response, EventStream)
        self.connection = response._connection
        await response({"type": "http"}, self._receive_asgi, self._send_asgi)

    async def _receive_asgi(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send_asgi(self, message: Message) -> None:
        await self._taking.wait()
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            assert self.started is None and message["status"] == 200
            self.started = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        assert message["type"] == "http.response.body" and self.started and not self.ended
        *events, rest = message["body"].decode().split("\n\n")
        assert rest == "", "an event in pieces"
        for event in events:
            self._take_event(dict(line.split(": ", 1) for line in event.split("\n")))
        self.ended = not message["more_body"]

    def _take_event(self, event: dict[str, str]) -> None:
        assert self.close_code is None, "an event after the close"
        data: Json = json.loads(event["data"])
        self.retry = int(event["retry"]) if "retry" in event else self.retry
        if event["event"] == "close":
            self.close_code = data["code"]
            return
        assert event["event"] == data["type"]
        before = self.cursor
        self._receive(data)
        if "id" in event:
            assert self.cursor is not None and event["id"] == "{}:{}".format(*self.cursor)
        else:
            assert self.cursor == before, f"{data['type']} moved the cursor without an id"
