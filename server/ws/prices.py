"""The stream `prices`: the newest of each pair, conflated for each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from ..ledger.errors import LedgerError
from ..ledger.objects import Price
from . import frames
from .connection import Connection
from .frames import Frame

# At most 4 a second for a pair (contract, section 5), also where the network squeezes them.
EVERY_SECONDS = 0.26
# So long the first to watch waits for what is the newest; then it is told what was.
LOOK_SECONDS = 0.5


class Board(Protocol):
    """The newest prices, as this process knows them."""

    def current(self) -> Sequence[Price]:
        """That of every pair which has one."""

    def subscribe(self, callback: Callable[[Sequence[Price]], None]) -> Callable[[], None]:
        """
        Have `callback` told of prices as they become the newest of their pairs, until the result
        is called.
        """

    async def look(self) -> None:
        """Learn now what is the newest; raises LedgerError where that cannot be read."""


class PriceStream:
    """
    Tells connections of the prices of `board`: first of all, then of those that have changed since.

    A connection is told when its last message is old enough and its socket is clear, and then what
    is newest: whatever was between is never queued. While no connection wants prices, nobody
    subscribes.
    """

    def __init__(self, board: Board | None) -> None:
        """board: None where there are no prices."""
        self._changes = 0
        self._newest: dict[str, tuple[int, Price]] = {}
        self._made: dict[int, Frame] = {}
        self._news = asyncio.Event()
        self._board = board
        self._unsubscribe: Callable[[], None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._watching = 0

    async def begin(self, connection: Connection) -> None:
        """Tell `connection`, which was sent its inits or `resumed`, if it wants prices."""
        if not connection.request.prices:
            return
        self._watching += 1
        try:
            await self._subscribe()
            told = 0
            if not connection.replay_to:
                await connection.room(len(self._since(told).data))
                connection.send(self._since(told))
                told = self._changes
        except BaseException:
            self._leave()
            raise
        connection.telling_prices = asyncio.create_task(self._go_on(connection, told))
        connection.telling_prices.add_done_callback(lambda _: self._leave())

    async def _subscribe(self) -> None:
        if self._board is None:
            return
        if self._unsubscribe is None:
            self._take(self._board.current())
            self._unsubscribe = self._board.subscribe(self._take)
            self._looking = asyncio.create_task(_look(self._board))
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=LOOK_SECONDS)

    def _leave(self) -> None:
        self._watching -= 1
        if not self._watching and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    async def _go_on(self, connection: Connection, told: int) -> None:
        """told: of how many changes of prices `connection` was told."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            while told == self._changes:
                await self._news.wait()
            await connection.clear()
            # What `resumed` announced comes first.
            if connection.session.examined >= connection.replay_to:
                connection.send(self._since(told))
                told = self._changes

    def _take(self, prices: Sequence[Price]) -> None:
        self._changes += 1
        self._newest.update((price.pair, (self._changes, price)) for price in prices)
        self._made.clear()
        self._news.set()
        self._news = asyncio.Event()

    def _since(self, told: int) -> Frame:
        """The message of what has changed since the first `told` changes."""
        frame = self._made.get(told)
        if frame is None:
            changed = [price for number, price in self._newest.values() if number > told]
            frame = self._made[told] = frames.prices(changed)
        return frame


async def _look(board: Board) -> None:
    # While the database is away, what was known before is told.
    with suppress(LedgerError):
        await board.look()
