"""
`kill -9` between an option's opening and its settlement: each ends once, by the recorded price.

Whatever is killed, and however often, afterwards
  - each option that was taken was opened once and ended once, in the journal, on its owner's
    screen and on the monitor;
  - it ended by the price that the ledger keeps as the last at or before its expiry, or was
    refunded where that is too old;
  - its owner has what that brings, nothing is left in @escrow, and `verify` agrees.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial

import httpx
import pytest

from ..conftest import StartServer, StartWorker
from ..services.proxy import CommitFault, PostgresProxy
from ..services.redis import RedisServer
from ..services.server import RunningServer
from ..services.worker import RunningWorker
from .client import Caller, Json, Screen, accepted, minor, refused, shown
from .conftest import FAST, Outside
from .trading import (
    DURATIONS,
    QUOTE_SCALE,
    Market,
    Recorded,
    brought,
    check_ledger,
    check_screens,
    check_story,
    ended,
    new_market,
    opened,
    put_market,
    result,
    seconds,
)

Go = Callable[[RunningServer], Awaitable[Outside]]

USERS = 4
FUNDS = "1000"
# Seconds between a user's options, so that the reading of it all fits beside.
PACE = 0.25

ROUNDS = pytest.mark.parametrize("rounds", [3, pytest.param(40, marks=pytest.mark.long)])


class Installation:
    """
    Everything that runs on one database, to be killed and started again.

    On SQLite the development server, which settles by itself; on PostgreSQL a server, a Redis and
    `workers` workers.
    """

    def __init__(
        self, start_server: StartServer, start_worker: StartWorker, go_outside: Go
    ) -> None:
        self._start_server = start_server
        self._start_worker = start_worker
        self._go_outside = go_outside
        self.workers: list[RunningWorker] = []
        self.wanted = 0
        self.url = ""
        self.outside: Outside
        self._env: dict[str, str] = {}

    async def develop(self, url: str, **env: str) -> None:
        """Start as the development server on SQLite."""
        self.url = url
        running = await self._start_server(database_url=url, secret=None, env=FAST | env)
        self.outside = await self._go_outside(running)

    async def deploy(self, url: str, redis: RedisServer, workers: int) -> None:
        """Start on PostgreSQL."""
        self.url, self.wanted = url, workers
        self._env = {**FAST, "REDIS_URL": redis.url}
        running = await self._start_server(database_url=url, env=self._env)
        self.outside = await self._go_outside(running)
        await self.start_workers()

    async def another(self) -> Outside:
        """One more server on the same database."""
        return await self._go_outside(
            await self._start_server(database_url=self.url, env=self._env)
        )

    async def start_workers(self) -> None:
        """As many as are wanted."""
        while len(self.workers) < self.wanted:
            self.workers.append(await self._start_worker(self.url, **self._env))

    async def kill_workers(self) -> None:
        """All of them, at once."""
        dying, self.workers = self.workers, []
        for worker in dying:
            worker.send_signal(signal.SIGKILL)
        for worker in dying:
            assert await worker.wait() == -signal.SIGKILL

    async def kill(self) -> None:
        """Everything, at once."""
        self.outside.server.send_signal(signal.SIGKILL)
        await self.kill_workers()
        await self.outside.server.wait_exit()

    async def start(self) -> None:
        """The server again, with tokens that it takes."""
        await self.outside.server.restart()
        self.outside = Outside(self.outside.server, self.outside.http)


@pytest.fixture
def installation(server: StartServer, worker: StartWorker, go_outside: Go) -> Installation:
    """Not started yet."""
    return Installation(server, worker, go_outside)


@pytest.fixture(params=["sqlite", "postgresql"])
async def running(request: pytest.FixtureRequest, installation: Installation) -> Installation:
    """Started: in development mode on SQLite; on PostgreSQL with two workers."""
    if request.param == "sqlite":
        await installation.develop(request.getfixturevalue("sqlite_url"))
    else:
        url: str = request.getfixturevalue("postgres_url")
        await installation.deploy(url, request.getfixturevalue("redis_server"), workers=2)
    return installation


class Bets:
    """Users who open options on `market`, whose price moves, until told to stop."""

    def __init__(
        self, places: Callable[[], list[Outside]], market: Market, *, simulated: bool = False
    ) -> None:
        """places: the servers, as they are now. simulated: the price moves by itself."""
        self._simulated = simulated
        self.places = places
        self.market = market
        self.users = [market.outside.new_user() for _ in range(USERS)]
        self.taken: dict[str, list[str]] = {user: [] for user in self.users}
        self._stopping = False
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for user in self.users:
            accepted(await self.market.outside.admin.deposit(user, FUNDS))
        self._tasks = [asyncio.create_task(self._bet(user)) for user in self.users]
        if not self._simulated:
            await self.market.push("100.00")
            self._tasks.append(asyncio.create_task(self._move_prices()))

    @property
    def count(self) -> int:
        return sum(map(len, self.taken.values()))

    async def more(self, count: int, within: float = 60) -> None:
        """Wait until so many more options were taken."""
        wanted = self.count + count
        async with asyncio.timeout(within):
            while self.count < wanted:
                for task in self._tasks:
                    if task.done():
                        task.result()
                self._news.clear()
                await self._news.wait()

    async def stop(self) -> None:
        self._stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def _bet(self, user: str) -> None:
        dice = random.Random(user)
        for number in itertools.count():
            if self._stopping:
                return
            body: Json = {
                "pair": self.market.name,
                "direction": dice.choice(["up", "down"]),
                "stake": f"{dice.randrange(1, 10)}.{dice.randrange(10**6):06}",
                "duration_s": dice.choice([1, 2]),
                "client_order_id": f"{number}",
            }
            answer = await self._until_known(user, body, f"bet-{number}", dice)
            self.taken[user].append(opened(answer)["transaction_id"])
            self._news.set()
            await asyncio.sleep(PACE)

    async def _until_known(
        self, user: str, body: Json, key: str, dice: random.Random
    ) -> httpx.Response:
        """The answer, asked for again with the same key while whoever could give it is away."""
        while True:
            place = dice.choice(self.places())
            with suppress(httpx.TransportError):
                answer = await place.caller(user).post("/v1/options", body, key)
                if answer.status_code not in (401, 503):
                    return answer
            await asyncio.sleep(0.05)

    async def _move_prices(self) -> None:
        dice = random.Random(0)
        price = 10_000
        while not self._stopping:
            price = max(1, price + dice.randrange(-2, 3))
            with suppress(httpx.TransportError):
                path = f"/v1/prices/{self.market.name}"
                answer = await dice.choice(self.places()).root.put(path, {"price": shown(price, 2)})
                assert answer.status_code in (200, 401, 503), answer.text
            await asyncio.sleep(0.1)


class Watched:
    """The screens of all users and a monitor, which come back whenever their server has died."""

    def __init__(self, places: Callable[[], list[Outside]], users: list[str]) -> None:
        self.places = places
        first = places()
        self.screens = {u: first[n % len(first)].screen(u) for n, u in enumerate(users)}
        self.monitor = first[-1].monitor()

    @property
    def all(self) -> list[Screen]:
        return [*self.screens.values(), self.monitor]

    async def come_back(self) -> None:
        """Those whose connection is gone, with a token of today."""
        for screen in self.all:
            assert screen._reader is not None
            if not screen._reader.done():
                continue
            (place,) = [p for p in self.places() if p.server.base_url == screen.server_url]
            role = "admin" if screen is self.monitor else "user"
            screen.token = place.token(screen.user_id, role)
            await screen.come_back()
            assert screen.resumed is not None


async def _check(
    outside: Outside, bets: Bets, watched: Watched, read: Callable[[], Recorded]
) -> None:
    """What this module promises; read: the prices as they are recorded."""
    age = bets.market.pair["settlement_age_s"]
    for user, taken in bets.taken.items():
        await ended(watched.screens[user], *taken)
    recorded = read()
    for user, taken in bets.taken.items():
        screen = watched.screens[user]
        trades = [screen.trades[trade] for trade in taken]
        history = [u async for u in outside.auditor.listed(f"/v1/users/{user}/history", limit=1000)]
        await watched.monitor.until_position(screen.updates[-1]["position"])
        funds = minor(f"{FUNDS}.000000", QUOTE_SCALE)
        for trade in trades:
            assert result(trade) == recorded.result(trade, age)
            for updates in (screen.updates, history, watched.monitor.monitored):
                check_story(updates, trade)
            listed = (await outside.auditor.get(f"/v1/options/{trade['id']}")).json()
            assert listed == trade
            funds += brought(trade) - minor(trade["stake"], QUOTE_SCALE)
        told = {u["trade"]["id"] for u in history if "trade" in u}
        assert told == set(taken), "an option that nobody was told of"
        assert screen.balances[f"main/{user}/USDT"]["balance"] == shown(funds, QUOTE_SCALE)
    await check_screens(outside, *watched.screens.values())
    rows = (await outside.auditor.get("/v1/admin/trial-balance")).json()["rows"]
    escrow = [row for row in rows if row["owner_kind"] == "@escrow"]
    assert all(minor(row["balance"], QUOTE_SCALE) == 0 for row in escrow), escrow
    await check_ledger(outside)


def _recorded(url: str, request: pytest.FixtureRequest) -> Recorded:
    sqlite = url.startswith("sqlite")
    return Recorded.read(url, None if sqlite else request.getfixturevalue("postgres_server"))


@ROUNDS
@pytest.mark.timeout(400)
async def test_the_development_server_is_killed_again_and_again(
    installation: Installation, sqlite_url: str, request: pytest.FixtureRequest, rounds: int
) -> None:
    """With the simulated prices that it has by itself."""
    await installation.develop(sqlite_url, TALLYWIRE_PRICES="simulated")
    bets = Bets(
        lambda: [installation.outside],
        await put_market(installation.outside, "BTC-USDT", durations=DURATIONS),
        simulated=True,
    )
    await _killed_again_and_again(installation, bets, request, rounds, [installation.kill])
    sources = {
        trade["price_source"] async for trade in installation.outside.auditor.listed("/v1/options")
    }
    assert sources == {"simulated"}


async def _killed_again_and_again(
    installation: Installation,
    bets: Bets,
    request: pytest.FixtureRequest,
    rounds: int,
    strikes: list[Callable[[], Awaitable[None]]],
) -> None:
    """Strike after strike amid options, each followed by a start of what is missing."""
    dice = random.Random(rounds)
    watched = Watched(bets.places, bets.users)
    async with AsyncExitStack() as stack:
        for screen in watched.all:
            await stack.enter_async_context(screen)
        await bets.start()
        for strike in itertools.islice(itertools.cycle(strikes), rounds):
            await bets.more(dice.randrange(4, 10))
            await strike()
            if installation.outside.server.exit_code is not None:
                await installation.start()
            await watched.come_back()
            await installation.start_workers()
        await bets.more(5)
        await bets.stop()
        await watched.come_back()
        read = partial(_recorded, installation.url, request)
        await _check(installation.outside, bets, watched, read)


@ROUNDS
@pytest.mark.timeout(400)
async def test_servers_and_workers_are_killed_while_redis_comes_and_goes(
    installation: Installation,
    postgres_url: str,
    redis_server: RedisServer,
    request: pytest.FixtureRequest,
    rounds: int,
) -> None:
    await installation.deploy(postgres_url, redis_server, workers=3)
    other = await installation.another()
    dice = random.Random(1)

    async def two_workers() -> None:
        for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
            worker = installation.workers.pop(dice.randrange(len(installation.workers)))
            worker.send_signal(end)
            assert await worker.wait() == code

    async def other_server() -> None:
        await other.server.kill9()
        await other.server.restart()

    async def redis() -> None:
        await asyncio.to_thread(redis_server.kill9)
        await installation.kill_workers()
        await installation.start_workers()
        await asyncio.to_thread(redis_server.start)

    bets = Bets(lambda: [installation.outside, other], await new_market(installation.outside))
    await _killed_again_and_again(
        installation,
        bets,
        request,
        rounds + 2,
        [two_workers, redis, installation.kill, other_server, installation.kill_workers],
    )
    # A price that one server is told is on the screens of the other, with Redis and without.
    async with other.screen("watcher", streams=("prices",)) as watcher:
        for price in ("123.00", "124.00"):
            told = await bets.market.push(price)
            await watcher.until(
                lambda told=told: watcher.prices.get(bets.market.name) == told,  # type: ignore[misc]
                what=price,
            )
            await asyncio.to_thread(redis_server.kill9)


async def _until(moment: str) -> None:
    """Wait for a time at which nothing runs that could tell."""
    await asyncio.sleep(max(0.0, seconds(datetime.now(UTC).isoformat(), moment)) + 0.01)


async def test_what_was_due_while_everything_was_down(running: Installation) -> None:
    known = await new_market(running.outside)
    unknown = await new_market(running.outside, settlement_age_s=1)
    alice = await known.trader("alice")
    async with (
        running.outside.screen(alice.user_id) as screen,
        running.outside.monitor() as monitor,
    ):
        for market in (known, unknown):
            await market.push("100.00")
        refunded = opened(await unknown.option(alice, "up", "7", 2))["trade"]
        won = opened(await known.option(alice, "up", "10", 2))["trade"]
        await known.push("101.00")
        await screen.until(lambda: won["id"] in screen.trades)
        await monitor.until_position(screen.cursor or 0)
        await running.kill()
        assert await screen.until_closed() is None
        assert await monitor.until_closed() is None
        await _until(max(won["expires_at"], refunded["expires_at"]))

        await running.start()
        # Prices that say that they are from before the expiry come too late.
        for market in (known, unknown):
            market.outside = running.outside
            body = {"price": "90.00", "time": won["opens_at"]}
            answer = await running.outside.root.put(f"/v1/prices/{market.name}", body)
            assert answer.status_code == 200, answer.text
        await running.start_workers()
        screen.token = running.outside.token(alice.user_id)
        monitor.token = running.outside.token(monitor.user_id, "admin")
        await screen.come_back()
        await monitor.come_back()
        for trade in await ended(screen, won["id"], refunded["id"]):
            check_story(screen.updates, trade)
            await monitor.until_position(screen.updates[-1]["position"])
            check_story(monitor.monitored, trade)
        end = screen.trades[won["id"]]
        assert (end["outcome"], end["settle_price"]) == ("win", "101.00")
        end = screen.trades[refunded["id"]]
        assert (end["status"], end["outcome"], end["settle_price"]) == ("refunded", None, None)
        assert end["reason"] and "reason" not in {k for k, v in won.items() if v}
        assert screen.balances[f"main/{alice.user_id}/USDT"]["balance"] == "1008.500000"
        await check_screens(running.outside, screen)
        await check_ledger(running.outside)


async def test_three_workers_settle_what_is_due_at_once(
    installation: Installation, postgres_url: str, redis_server: RedisServer
) -> None:
    await installation.deploy(postgres_url, redis_server, workers=3)
    outside = installation.outside
    market = await new_market(outside)
    await market.push("100.00")
    traders = [await market.trader(f"user-{number}") for number in range(10)]
    async with AsyncExitStack() as stack:
        screens = [await stack.enter_async_context(outside.screen(t.user_id)) for t in traders]
        answers = await asyncio.gather(
            *(market.option(t, "up", "1", 2) for t in traders for _ in range(10))
        )
        ids = [opened(answer)["transaction_id"] for answer in answers]
        await market.push("100.50")
        for number, screen in enumerate(screens):
            for trade in await ended(screen, *ids[number * 10 : number * 10 + 10]):
                assert result(trade) == market.decided(trade)
                check_story(screen.updates, trade)
        await check_screens(outside, *screens)

        # Redis goes, and the market goes on: prices, updates, settlement.
        async with outside.screen("watcher", streams=("prices",)) as watcher:
            await asyncio.to_thread(redis_server.kill9)
            await market.push("100.75")
            await watcher.until(lambda: watcher.prices.get(market.name) == market.pushed[-1])
            body = opened(await market.option(traders[0], "down", "1"))
            await market.push("100.25")
            (trade,) = await ended(screens[0], body["transaction_id"])
            assert result(trade) == market.decided(trade)
            await watcher.until(lambda: watcher.prices.get(market.name) == market.pushed[-1])
        await check_ledger(outside)


@pytest.mark.long
@pytest.mark.parametrize("sharing", [1, 2])
async def test_half_a_minute_of_the_first_pair(
    installation: Installation,
    sqlite_url: str,
    request: pytest.FixtureRequest,
    sharing: int,
) -> None:
    """As it comes: simulated prices, 30 seconds, a server that dies once or twice meanwhile."""
    await installation.develop(sqlite_url, TALLYWIRE_PRICES="simulated")
    outside = installation.outside
    alice = outside.caller("alice")
    body = {"pair": "BTC-USDT", "stake": "100", "duration_s": 30}
    async with outside.screen("alice", streams=("balances", "prices")) as screen:
        await screen.until(lambda: "BTC-USDT" in screen.prices, what="a price")
        assert screen.prices["BTC-USDT"]["source"] == "simulated"
        ids = [
            opened(await alice.post("/v1/options", {**body, "direction": direction}))[
                "transaction_id"
            ]
            for direction in ("up", "down")
        ]
        await screen.until(lambda: set(ids) <= set(screen.trades))
        for _ in range(sharing):
            seen = screen.ticks["BTC-USDT"]
            await screen.until(lambda seen=seen: screen.ticks["BTC-USDT"] > seen + 2)  # type: ignore[misc]
            await installation.kill()
            assert await screen.until_closed() is None
            await installation.start()
            screen.token = installation.outside.token("alice")
            await screen.come_back()
        trades = await ended(screen, *ids, within=60)
        recorded = _recorded(sqlite_url, request)
        for trade in trades:
            assert result(trade) == recorded.result(trade, 60)
            assert trade["price_source"] == "simulated"
            check_story(screen.updates, trade)
        await check_screens(installation.outside, screen)
        await check_ledger(installation.outside)


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.long)])
async def test_a_commit_is_lost_in_each_way(
    installation: Installation,
    worker: StartWorker,
    postgres_url: str,
    postgres_proxy: PostgresProxy,
    redis_server: RedisServer,
    rounds: int,
) -> None:
    """Of an opening, then of a settlement; by one worker, then with another beside it."""
    await installation.deploy(postgres_proxy.url(postgres_url), redis_server, workers=1)
    outside = installation.outside
    market = await new_market(outside)
    alice = await market.trader("alice")
    told: list[Json] = []
    async with outside.screen(alice.user_id) as screen, outside.monitor() as monitor:
        await market.push("100.00")
        for number, fault in enumerate([*CommitFault] * rounds):
            struck = postgres_proxy.at_next_commit(fault, naming=b"option_opened")
            asked = [_until_opened(market, alice, f"{number}-{each}") for each in range(5)]
            told += await asyncio.gather(*asked)
            assert struck.is_set()
        for number, fault in enumerate([*CommitFault] * rounds):
            if number == len(CommitFault):
                await worker(postgres_url, **FAST, REDIS_URL=redis_server.url)
            await market.push(f"{101 + number}.00")
            struck = postgres_proxy.at_next_commit(fault, naming=b"option_settled")
            answers = await asyncio.gather(*(market.option(alice, "up", "1") for _ in range(5)))
            told += [opened(answer) for answer in answers]
            await market.push(f"{101 + number}.50")
            if number < len(CommitFault):
                async with asyncio.timeout(30):
                    await struck.wait()
            await ended(screen, *(body["transaction_id"] for body in told))
        trades = await ended(screen, *(body["transaction_id"] for body in told))
        await monitor.until_position(screen.updates[-1]["position"])
        for trade in trades:
            assert result(trade) == market.decided(trade)
            for updates in (screen.updates, monitor.monitored):
                check_story(updates, trade)
        assert set(screen.trades) == {trade["id"] for trade in trades}, "one was opened twice"
        await check_screens(outside, screen)
        await check_ledger(outside)


async def _until_opened(market: Market, caller: Caller, key: str) -> Json:
    """An option, asked for again with its key where nobody knows whether it was opened."""
    async with asyncio.timeout(60):
        while (answer := await market.option(caller, "up", "1", key=key)).status_code == 503:
            refused(answer, 503, answer.json()["code"])
            await asyncio.sleep(0.05)
    return opened(answer)
