"""
Several processes on one PostgreSQL and one Redis: whatever happens to Redis or to one of them,
every screen shows every change, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import re
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ..conftest import RunTallywire, StartServer
from ..services.proxy import PostgresProxy
from ..services.redis import RedisServer
from ..services.server import RunningServer
from .client import Json, Screen, accepted, refused, update_of
from .conftest import FAST, Outside

# How many write at once, to how many users.
LOADS = pytest.mark.parametrize(
    ("writers", "users"), [(16, 12), pytest.param(64, 40, marks=pytest.mark.long)]
)
# A writer's pause between changes, so that the reading of it all fits beside: seconds.
PACE = 0.6
# Seconds with Redis away, and after it came back: thrice what is promised (2 and 5), since here
# writers, servers and other tests share the machine.
SHOWN_WITHIN = 6.0
BY_BUS_WITHIN = 15.0

Go = Callable[[RunningServer], Awaitable[Outside]]


class Load:
    """Writers on every process that go on until told to stop."""

    def __init__(self, places: list[Outside], users: list[str], writers: int) -> None:
        self._places = itertools.cycle(places)
        self._writers = writers
        self._users = users
        self._stopping = False
        self.done: dict[int, Json] = {}
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [
            asyncio.create_task(self._write(next(self._places), random.Random(number), number))
            for number in range(self._writers)
        ]
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            for task in self._tasks:
                task.cancel()
        self._stopping = True
        await asyncio.gather(*self._tasks, return_exceptions=error is not None)

    async def more(self, count: int, within: float = 30) -> None:
        """Wait until `count` more changes were accepted."""
        wanted = len(self.done) + count
        async with asyncio.timeout(within):
            while len(self.done) < wanted:
                self._news.clear()
                await self._news.wait()

    async def _write(self, place: Outside, dice: random.Random, number: int) -> None:
        for count in itertools.count():
            if self._stopping:
                return
            one, other = dice.sample(self._users, 2)
            key = f"{number}-{count}"
            answer = await self._once(place, dice.random() < 0.5, one, other, key)
            if answer.status_code == 201:
                body = accepted(answer)
                self.done[body["position"]] = body
                self._news.set()
            else:
                refused(answer, 422, "insufficient_funds")
            await asyncio.sleep(PACE)

    async def _once(
        self, place: Outside, deposit: bool, one: str, other: str, key: str
    ) -> httpx.Response:
        """The answer, asked for again with the same key while the process is away."""
        while True:
            try:
                if deposit:
                    answer = await place.admin.deposit(one, "3", key=key)
                else:
                    answer = await place.admin.transfer(one, other, "1.5", key=key)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.05)


class Watched:
    """The screens of all users, half of them on each process, and a monitor."""

    def __init__(self, places: list[Outside], users: list[str]) -> None:
        self.screens = {
            user: places[number % len(places)].screen(user) for number, user in enumerate(users)
        }
        self.monitor = places[-1].monitor()

    async def check(self, outside: Outside, load: Load, start: int) -> None:
        """Every screen shows every change of its user, and what it shows is the ledger."""
        last = max(load.done)
        assert sorted(load.done) == list(range(start + 1, last + 1))
        await self.monitor.until_position(last)
        by_user: dict[str, list[Json]] = defaultdict(list)
        for update in self.monitor.monitored:
            by_user[update["user_id"]].append(update_of(update))
        assert {update["position"] for update in self.monitor.monitored} == set(load.done)
        for user, screen in self.screens.items():
            if by_user[user]:
                await screen.until_shown(by_user[user][-1]["position"])
            assert screen.updates == by_user[user]
            assert screen.balances == await outside.admin.balances(user)


@asynccontextmanager
async def _watched(places: list[Outside], users: list[str]) -> AsyncIterator[Watched]:
    watched = Watched(places, users)
    async with AsyncExitStack() as stack:
        for screen in (*watched.screens.values(), watched.monitor):
            await stack.enter_async_context(screen)
        yield watched


async def _metric(outside: Outside, sample: str) -> float:
    text = (await outside.http.get("/metrics")).text
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def _by_bus(outside: Outside) -> float:
    return await _metric(outside, 'tallywire_feed_source_total{source="bus"}')


async def _ready(outside: Outside, status: str, within: float) -> float:
    """Wait for that status of /readyz; the seconds that it took."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while True:
            answer = await outside.http.get("/readyz")
            assert answer.status_code == 200
            if answer.json()["status"] == status:
                break
            await asyncio.sleep(0.1)
    assert answer.json()["checks"]["bus"] == ("up" if status == "ready" else "down")
    return time.monotonic() - began


async def _connections(place: Outside) -> dict[str, int]:
    """How many connections each user has, as that process tells it."""
    answer = (await place.auditor.get("/v1/admin/connections")).json()
    on = {item["user_id"]: item["connections"] for item in answer["items"]}
    assert (answer["users"], answer["connections"]) == (len(on), sum(on.values()))
    return on


async def _delay(place: Outside, screen: Screen) -> float:
    """Seconds from an answer of `place` until the change is on `screen`, of another process."""
    answer = accepted(await place.admin.deposit(screen.user_id, "1"))
    began = time.monotonic()
    await screen.until_shown(answer["position"], within=SHOWN_WITHIN)
    return time.monotonic() - began


@pytest.fixture
async def pair(
    server: StartServer, go_outside: Go, postgres_url: str, redis_server: RedisServer
) -> list[Outside]:
    """Two processes on one database and one Redis."""
    env = {**FAST, "REDIS_URL": redis_server.url}
    return [await go_outside(await server(database_url=postgres_url, env=env)) for _ in range(2)]


class Faults:
    """What may happen to Redis: each strikes, and is over when its block ends."""

    def __init__(self, redis: RedisServer, places: list[Outside]) -> None:
        self.redis = redis
        self._places = places

    @asynccontextmanager
    async def killed(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self.redis.kill9)
        yield
        await asyncio.to_thread(self.redis.start)

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        self.redis.pause()
        yield
        self.redis.resume()

    async def restarted(self) -> None:
        await asyncio.to_thread(self.redis.stop)
        await asyncio.to_thread(self.redis.start)

    async def cut(self) -> None:
        """CLIENT KILL of the subscriptions of both processes."""
        async with self._subscribed_anew():
            assert await asyncio.to_thread(self.redis.kill_clients, "tallywire-subscriber") == 2

    async def overrun(self, users: list[str], load: Load) -> None:
        """A batch that is larger than what may wait for a subscriber."""
        limit = ("CONFIG", "SET", "client-output-buffer-limit")
        async with self._subscribed_anew():
            await asyncio.to_thread(self.redis.command, *limit, "pubsub 100kb 0 0")
            items = [
                {
                    "operation": "deposit",
                    "user_id": user,
                    "asset": "USDT",
                    "amount": "1",
                    "description": "x" * 500,
                }
                for user in itertools.islice(itertools.cycle(users), 600)
            ]
            answer = await self._places[0].admin.batch(items, atomic=True)
            assert answer.status_code == 200
            load.done.update((body["position"], body) for body in answer.json()["results"])
        await asyncio.to_thread(self.redis.command, *limit, "pubsub 32mb 8mb 60")

    @asynccontextmanager
    async def _subscribed_anew(self) -> AsyncIterator[None]:
        before = await self._subscribers()
        yield
        async with asyncio.timeout(BY_BUS_WITHIN):
            while len(now := await self._subscribers()) < 2 or now & before:
                await asyncio.sleep(0.1)

    async def _subscribers(self) -> set[str]:
        clients = await asyncio.to_thread(self.redis.clients, "tallywire-subscriber")
        return {client["id"] for client in clients}


@LOADS
@pytest.mark.timeout(240)
async def test_every_screen_is_complete_whatever_happens_to_redis(
    pair: list[Outside],
    redis_server: RedisServer,
    tallywire: RunTallywire,
    postgres_url: str,
    writers: int,
    users: int,
) -> None:
    one, two = pair
    names = [f"user-{number}" for number in range(users)]
    faults = Faults(redis_server, pair)
    start = await one.admin.head()

    async def by_bus_again() -> None:
        began = time.monotonic()
        for place in pair:
            await _ready(place, "ready", BY_BUS_WITHIN)
        for place in pair:
            before = await _by_bus(place)
            async with asyncio.timeout(BY_BUS_WITHIN - (time.monotonic() - began)):
                while await _by_bus(place) < before + 10:
                    await asyncio.sleep(0.2)

    async with _watched(pair, names) as watched, two.screen("probe") as probe:
        async with Load(pair, names, writers) as load:

            async def probed(*, again: int = 1) -> None:
                for _ in range(again):
                    answer = accepted(await one.admin.deposit("probe", "1"))
                    load.done[answer["position"]] = answer
                    await probe.until_shown(answer["position"], within=SHOWN_WITHIN)

            await load.more(2 * writers)
            for fault in (faults.killed, faults.frozen):
                async with fault():
                    # Before the loss is noticed, and after it.
                    await probed()
                    for place in pair:
                        await _ready(place, "degraded", SHOWN_WITHIN)
                    await probed(again=3)
                    await load.more(2 * writers)
                await by_bus_again()
            for strike in (faults.restarted, faults.cut):
                await strike()
                await by_bus_again()
            await faults.overrun(names, load)
            await by_bus_again()
            await load.more(2 * writers)
        await watched.check(one, load, start)
    done = await asyncio.to_thread(tallywire, "verify", database_url=postgres_url)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_one_message_a_batch(pair: list[Outside], redis_server: RedisServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", redis_server.port)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    before = [await _metric(place, "tallywire_commits_total") for place in pair]
    for _ in range(5):
        answers = await asyncio.gather(
            *(place.admin.deposit("alice", "1") for place in pair for _ in range(20))
        )
        for answer in answers:
            accepted(answer)
    after = [await _metric(place, "tallywire_commits_total") for place in pair]
    commits = sum(after) - sum(before)
    assert 0 < commits < 200

    published = 0
    async with asyncio.timeout(10):
        while published < commits:
            published += b'"PUBLISH" "tallywire:journal"' in await reader.readline()
    # A message that comes after this one was published after all of theirs.
    await asyncio.to_thread(redis_server.command, "PING")
    while b'"PING"' not in (line := await reader.readline()):
        assert b"tallywire:journal" not in line
    writer.close()
    await writer.wait_closed()


async def test_by_the_bus_a_change_is_on_the_other_process_at_once(pair: list[Outside]) -> None:
    one, two = pair
    async with two.screen("alice") as screen:
        await _delay(one, screen)
        delays = sorted([await _delay(one, screen) for _ in range(50)])
    assert await _by_bus(two) >= 40
    # Polling alone would take half a second in the middle.
    assert delays[25] < 0.1, delays


@pytest.mark.parametrize("outage", ["kill9", "pause"])
async def test_a_quiet_screen_is_up_to_date_soon_without_redis(
    pair: list[Outside], redis_server: RedisServer, outage: str
) -> None:
    one, two = pair
    async with one.stream("alice") as stream, two.screen("alice") as screen:
        await _delay(one, screen)
        for place in pair:
            assert await _connections(place) == {"alice": 2}
        await asyncio.to_thread(getattr(redis_server, outage))
        assert await _delay(one, screen) < SHOWN_WITHIN
        for place in pair:
            await _ready(place, "degraded", SHOWN_WITHIN)
        delays = [await _delay(one, screen) for _ in range(5)]
        # Nothing tells it: it asks the journal five times a second.
        assert sum(delays) / len(delays) < 0.5, delays
        await stream.until_position(screen.cursor or 0)
        for place in pair:
            assert await _connections(place) == {"alice": 1}, "what it has itself"


async def test_sent_away_from_every_process_at_once(
    server: StartServer,
    go_outside: Go,
    postgres_url: str,
    postgres_proxy: PostgresProxy,
    redis_server: RedisServer,
) -> None:
    env = {**FAST, "REDIS_URL": redis_server.url}
    one = await go_outside(await server(database_url=postgres_url, env=env))
    url = postgres_proxy.url(postgres_url)
    two = await go_outside(await server(database_url=url, env=env))
    caller, bob = two.caller("alice"), two.screen("bob")
    screen = two.screen("alice")
    await screen.open()
    async with bob:
        # It cannot read of it: it has to be told.
        postgres_proxy.pause()
        assert (await one.root.post("/v1/admin/users/alice/disconnect", {})).status_code == 200
        assert await screen.until_closed(within=1.0) == 4010
        refused(await caller.get("/v1/users/me/balances"), 401, "not_authenticated")
        postgres_proxy.resume()
        answer = accepted(await one.admin.deposit("bob", "1"))
        await bob.until_shown(answer["position"])
    await screen.leave()


async def test_a_users_connections_are_limited_over_all_processes(
    server: StartServer, go_outside: Go, postgres_url: str, redis_server: RedisServer
) -> None:
    env = {**FAST, "REDIS_URL": redis_server.url, "TALLYWIRE_USER_CONNECTIONS": "2"}
    one, two = [
        await go_outside(await server(database_url=postgres_url, env=env)) for _ in range(2)
    ]
    first, second = one.screen("alice"), two.screen("alice")
    async with first, two.screen("bob"):
        async with second:
            for place in (one, two):
                third = place.screen("alice")
                with pytest.raises(AssertionError):
                    await third.open()
                assert await third.until_closed() == 4009
                await third.leave()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(AssertionError):
                    async with one.screen("alice"):
                        break
        # Without Redis each process keeps to the limit by itself.
        await asyncio.to_thread(redis_server.kill9)
        for place in (one, two):
            await _ready(place, "degraded", SHOWN_WITHIN)
        async with one.screen("alice"), two.screen("alice"), two.screen("alice"):
            extra = two.screen("alice")
            with pytest.raises(AssertionError):
                await extra.open()
            assert await extra.until_closed() == 4009
            await extra.leave()


async def test_a_writer_frozen_with_the_clock_holds_the_other_up_for_its_timeout_at_most(
    server: StartServer,
    go_outside: Go,
    postgres_url: str,
    postgres_proxy: PostgresProxy,
    redis_server: RedisServer,
) -> None:
    env = {**FAST, "REDIS_URL": redis_server.url}
    frozen = await server(database_url=postgres_proxy.url(postgres_url), env=env)
    one = await go_outside(frozen)
    two = await go_outside(await server(database_url=postgres_url, env=env))
    accepted(await one.admin.deposit("alice", "1", key="first"))
    held = postgres_proxy.hold_next_commit()
    waiting = asyncio.create_task(one.admin.deposit("alice", "1", key="held"))
    async with asyncio.timeout(10):
        await held.wait()
    frozen.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    answer = accepted(await two.admin.deposit("bob", "1"))
    stalled = time.monotonic() - began
    # The database ends the frozen session after 5 s (idle_in_transaction_session_timeout).
    assert 2 < stalled < 8, stalled
    assert answer["position"] == 2
    frozen.send_signal(signal.SIGCONT)
    settled = accepted(await waiting)
    assert settled["position"] == 3
    again = await two.admin.deposit("alice", "1", key="held")
    assert accepted(again)["transaction_id"] == settled["transaction_id"]


async def _come_back(screen: Screen) -> int:
    """Follow `server_shutdown` as a client should; the milliseconds that it was told to wait."""
    assert await screen.until_closed() == 1012
    told = next(m for m in reversed(screen.others) if m["type"] == "server_shutdown")
    await asyncio.sleep(told["reconnect_after_ms"] / 1000)
    await screen.come_back(within=30)
    assert screen.resumed is not None
    return int(told["reconnect_after_ms"])


@LOADS
@pytest.mark.timeout(240)
async def test_a_rolling_restart_under_load_loses_nothing(
    pair: list[Outside], tallywire: RunTallywire, postgres_url: str, writers: int, users: int
) -> None:
    names = [f"user-{number}" for number in range(users)]
    start = await pair[0].admin.head()
    async with _watched(pair, names) as watched:
        async with Load(pair, names, writers) as load:
            await load.more(2 * writers)
            for place in pair:
                here = [
                    s for s in watched.screens.values() if s.server_url == place.server.base_url
                ]
                here += [watched.monitor] if place is pair[-1] else []
                coming = [asyncio.create_task(_come_back(screen)) for screen in here]
                assert await place.server.terminate() == 0
                await place.server.restart()
                waits = sorted(await asyncio.gather(*coming))
                assert len(set(waits)) > len(waits) / 2, "they are all told to come back at once"
                assert waits[-1] - waits[0] > 2000
                await load.more(2 * writers)
        await watched.check(pair[0], load, start)
    done = await asyncio.to_thread(tallywire, "verify", database_url=postgres_url)
    assert done.returncode == 0, done.stdout + done.stderr


def _workers(running: RunningServer) -> list[int]:
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


async def test_workers_share_a_port_and_one_that_dies_is_replaced(
    server: StartServer, go_outside: Go, postgres_url: str, redis_server: RedisServer
) -> None:
    env = {**FAST, "REDIS_URL": redis_server.url}
    running = await server(database_url=postgres_url, env=env, arguments=["--workers", "2"])
    outside = await go_outside(running)
    users = [f"user-{number}" for number in range(16)]
    workers = _workers(running)
    assert len(workers) == 2
    async with AsyncExitStack() as stack:
        screens = [await stack.enter_async_context(outside.screen(user)) for user in users]
        for user in users:
            accepted(await outside.admin.deposit(user, "1"))
        for screen in screens:
            await screen.until(lambda screen=screen: len(screen.updates) == 1)  # type: ignore[misc]

        os.kill(workers[0], signal.SIGKILL)
        async with asyncio.timeout(20):
            while len(now := _workers(running)) < 2 or workers[0] in now:
                await asyncio.sleep(0.02)
        for user in users:
            accepted(await _patient_deposit(outside, user))
        for screen in screens:
            if screen._reader is not None and screen._reader.done():
                await screen.come_back()
                assert screen.resumed is not None
            await screen.until(lambda screen=screen: len(screen.updates) == 2)  # type: ignore[misc]
        assert await running.terminate() == 0
        for screen in screens:
            assert await screen.until_closed() == 1012
        assert not any(Path(f"/proc/{pid}").exists() for pid in now)


async def _patient_deposit(outside: Outside, user: str) -> httpx.Response:
    """A deposit, asked for again with its key where the process that took it died."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            return await outside.admin.deposit(user, "1", key=f"patient-{user}")
