"""A hub on a journal in memory, and screens in memory that check what they are sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tallywire.auth import Principal
from tallywire.ledger.clock import rfc3339
from tallywire.ledger.errors import NotAuthenticated
from tallywire.ledger.objects import Price
from tallywire.ledger.updates import Batch
from tallywire.sync.bus_memory import MemoryBus
from tallywire.sync.feed import Feed
from tallywire.ws.closes import Close
from tallywire.ws.connection import Bounds, Connection
from tallywire.ws.frames import Frame
from tallywire.ws.hub import Elsewhere, Hub

from tests.sync.journal import Journal
from tests.virtual_time import START, LoopClock
from tests.ws.strictly import read_strictly

Json = dict[str, Any]


def authenticate(token: str) -> Principal:
    """Tokens are ``role:user``, or ``role:user:seconds`` of validity."""
    role, _, rest = token.partition(":")
    user_id, _, seconds = rest.partition(":")
    if role == "nonsense":
        raise NotAuthenticated
    now = int(START.timestamp())
    return Principal(user_id, role, now, now + int(seconds or 36_000))


class Screen:
    """
    A client that keeps the contract's cursor and asserts its promises at every message.

    `paused`: the socket takes nothing while it is set.
    """

    def __init__(self, world: World, token: str, connect: Json) -> None:
        self.world = world
        self.hello: Json = {"type": "connect", "token": token, **connect}
        self.streams = self.hello.get("streams", ["balances"])
        self.messages: list[Json] = []
        self.cursor: tuple[str, int] | None = None
        resume = connect.get("resume")
        if resume is not None:
            self.cursor = (resume["epoch"], resume["position"])
        self.balances: dict[str, str] = {}
        self.own: list[int] = []
        self.controls: list[int] = []
        self.monitored: list[tuple[int, str]] = []
        self.close_code: int | None = None
        self._taking = asyncio.Event()
        self._taking.set()
        self.connection: Connection
        self._open()
        self.running = asyncio.create_task(self._run())

    def _open(self) -> None:
        self.connection = self.world.hub.open(self, authenticate)
        self.world.hub.receive_text(self.connection, json.dumps(self.hello))

    def pause(self) -> None:
        self._taking.clear()

    def go_on(self) -> None:
        self._taking.set()

    def leave(self) -> None:
        self.connection.peer_left()

    def say(self, **message: Any) -> None:
        self.world.hub.receive_text(self.connection, json.dumps(message))

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages]

    def of(self, kind: str) -> list[Json]:
        return [message for message in self.messages if message["type"] == kind]

    # The transport that the hub writes to.

    async def send(self, frames: Sequence[Frame]) -> None:
        await self._taking.wait()
        for frame in frames:
            read_strictly(frame.data)
            self._receive(json.loads(frame.data))

    async def close(self, why: Close) -> None:
        self.close_code = why.code

    async def _run(self) -> None:
        try:
            await self.connection.run()
        finally:
            self.world.hub.leave(self.connection)

    def _receive(self, message: Json) -> None:
        self.messages.append(message)
        take = getattr(self, f"_take_{message['type']}", None)
        if take is not None:
            take(message)

    def _take_user_balance_init(self, message: Json) -> None:
        if message["part"] == 1:
            self.balances = {}
        for balance in message["balances"]:
            self.balances[balance["account"]] = balance["balance"]
        own_only = "monitor" not in self.streams
        if message["part"] == message["parts"] and own_only:
            self.cursor = (message["epoch"], message["position"])

    def _take_admin_monitor_init(self, message: Json) -> None:
        self.cursor = (message["epoch"], message["position"])

    def _take_balance_update(self, message: Json) -> None:
        self._check_above(message)
        assert not self.own or message["position"] > self.own[-1], "twice or out of order"
        self.own.append(message["position"])
        for change in message["changes"]:
            known = self.balances.get(change["account"], "0")
            assert change["balance_before"] == known, f"a hole before {message['position']}"
            self.balances[change["account"]] = change["balance"]
        if "monitor" not in self.streams:
            self.cursor = (message["epoch"], message["position"])

    def _take_trading_control_update(self, message: Json) -> None:
        self._check_above(message)
        self.controls.append(message["position"])
        if "monitor" not in self.streams:
            self.cursor = (message["epoch"], message["position"])

    def _check_above(self, message: Json) -> None:
        assert self.cursor is not None, "an update before the inits"
        assert message["epoch"] == self.cursor[0]
        assert message["position"] > self.cursor[1], "not above the cursor"

    def _take_balance_latest(self, message: Json) -> None:
        assert self.cursor is not None
        assert (message["epoch"], message["from"]) == self.cursor
        for balance in message["balances"]:
            self.balances[balance["account"]] = balance["balance"]
        if "monitor" not in self.streams:
            self.cursor = (message["epoch"], message["to"])

    def _take_admin_balance_monitor(self, message: Json) -> None:
        assert (message["epoch"], message["from"]) == self.cursor, "the ranges do not join"
        for update in message["updates"]:
            place = (update["position"], update["user_id"])
            assert message["from"] < update["position"] <= message["to"]
            assert not self.monitored or place[0] >= self.monitored[-1][0]
            assert place not in self.monitored[-1_000:]
            self.monitored.append(place)
            if self._is_own(place[1]) and update["change_type"] != "repair":
                told = self.controls if "control" in update else self.own
                assert place[0] in told, "the monitor came before the user's own"
        self.cursor = (message["epoch"], message["to"])

    def _is_own(self, user_id: str) -> bool:
        every = "balances" in self.streams and self.hello.get("mode") != "latest"
        return every and self.hello["token"].split(":")[1] == user_id

    def _take_prices(self, message: Json) -> None:
        assert self.cursor is not None, "prices before the inits"
        pairs = [price["pair"] for price in message["prices"]]
        assert len(pairs) == len(set(pairs)), "a price that is not the newest"

    def _take_heartbeat(self, message: Json) -> None:
        assert self.cursor is None or message["position"] >= self.cursor[1]
        self.cursor = (message["epoch"], message["position"])


class PriceBoard:
    """
    Prices that a test names: `move` has whoever subscribed told of them; those that are `unseen`
    are found by a look, which takes `look_seconds`.
    """

    def __init__(self) -> None:
        self.prices: dict[str, Price] = {}
        self.unseen: dict[str, Price] = {}
        self.look_seconds = 0.0
        self._callbacks: list[Callable[[Sequence[Price]], None]] = []

    def current(self) -> Sequence[Price]:
        return list(self.prices.values())

    def subscribe(self, callback: Callable[[Sequence[Price]], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def look(self) -> None:
        await asyncio.sleep(self.look_seconds)
        self._tell(self.unseen)

    @property
    def watched(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._callbacks)

    def move(self, **prices: str) -> None:
        """New prices by pair."""
        self._tell({pair: price_of(pair, price) for pair, price in prices.items()})

    def _tell(self, moved: dict[str, Price]) -> None:
        self.prices.update(moved)
        for callback in self._callbacks:
            callback(list(moved.values()))


def price_of(pair: str, price: str) -> Price:
    return Price(pair=pair, price=price, source="simulated", time=rfc3339(START))


class World:
    """Everything from the journal to the screens, which are of the class `kind`."""

    kind: type[Screen] = Screen

    def __init__(self, journal: Journal, feed: Feed, board: PriceBoard, hub: Hub) -> None:
        self.journal = journal
        self.feed = feed
        self.board = board
        self.hub = hub
        self.screens: list[Screen] = []

    def screen(self, token: str = "user:alice", **connect: Any) -> Screen:  # noqa: S107
        """A screen that says `connect` at once."""
        screen = self.kind(self, token, connect)
        self.screens.append(screen)
        return screen

    async def joined(self, token: str = "user:alice", **connect: Any) -> Screen:  # noqa: S107
        """A screen that is live."""
        screen = self.screen(token, **connect)
        await settle()
        assert screen.connection.live
        return screen

    def commit(self, *users: str, **given: Any) -> Batch:
        """A commit that the feed hears of at once."""
        batch = self.journal.commit(*users, **given)
        self.feed.offer(batch, "local")
        return batch

    def commit_many(self, count: int, *users: str, **given: Any) -> Batch:
        """Several transactions in one commit."""
        batch = self.journal.commit_many(count, *users, **given)
        self.feed.offer(batch, "local")
        return batch


async def settle() -> None:
    """Let everything happen that happens within a second."""
    await asyncio.sleep(1.0)


@asynccontextmanager
async def running_world(
    *,
    journal: Journal | None = None,
    bounds: Bounds | None = None,
    user_connections: int = 20,
    elsewhere: Elsewhere | None = None,
) -> AsyncIterator[World]:
    """A world whose feed runs; at the end every screen leaves and must have met no fault."""
    journal = journal or Journal()
    feed = Feed(journal, MemoryBus())
    board = PriceBoard()
    hub = Hub(
        journal,
        feed,
        LoopClock(),
        board=board,
        bounds=bounds,
        user_connections=user_connections,
        elsewhere=elsewhere,
    )
    await feed.start()
    world = World(journal, feed, board, hub)
    yield world
    for screen in world.screens:
        screen.leave()
        await screen.running
    assert hub.connected() == {"users": 0, "connections": 0}
    # A task that is cancelled ends in the loop's next round.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not board.watched
    assert hub._unsent.bytes == 0
    assert (hub._live._watching, hub._live._groups, hub._live._others) == ({}, {}, {})
    await feed.close()
