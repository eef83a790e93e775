"""
Connections cut around COMMIT, a database gone, processes killed: every caller is told the truth.

The rules that each journey is held to, whatever was broken while the load ran:
  - a 201's transaction is in the ledger, once (COMMITTED_SURVIVES_FAULT, IDEMPOTENT_REPLAY);
  - what was refused is not in it, and was paid by nobody (REJECTION_ATOMICITY);
  - what nobody knows (`outcome_unknown`, a lost connection) is settled by the same key;
  - screens that stayed, or came back, show the ledger (SCREEN=LEDGER), and `verify` agrees.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from ..conftest import RunTallywire, StartServer
from ..services.postgres import PostgresServer
from ..services.proxy import CommitFault, PostgresProxy
from ..services.server import RunningServer
from .client import Json, Screen, accepted, check_problem, minor, shown
from .conftest import FAST, Outside

WORKERS = 32
USERS = 8
# How often each fault strikes.
ROUNDS = pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=pytest.mark.long)])

Go = Callable[[RunningServer], Awaitable[Outside]]

_UNSETTLED = {"lost", "outcome_unknown"}


class Load:
    """Workers that change balances until told to stop, and remember what they were told."""

    def __init__(self, outside: Outside, *others: Outside) -> None:
        """others: further servers on the same database; callers ask one after another."""
        self.outside = outside
        self._servers = itertools.cycle((outside, *others))
        self.users = [f"user-{number}" for number in range(USERS)]
        self.asked: dict[str, Json] = {}
        self.told: dict[str, list[str]] = defaultdict(list)
        self.accepted: dict[str, str] = {}
        self._stopping = False
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for user in self.users:
            accepted(await self.outside.admin.deposit(user, "50", key=f"seed-{user}"))
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(WORKERS)]

    async def more(self, count: int = 60, *, within: float = 60) -> None:
        """Wait until `count` more changes were accepted."""
        wanted = len(self.accepted) + count
        async with asyncio.timeout(within):
            while len(self.accepted) < wanted:
                for task in self._tasks:
                    if task.done():
                        task.result()
                self._news.clear()
                await self._news.wait()

    async def stop(self) -> None:
        self._stopping = True
        async with asyncio.timeout(90):
            await asyncio.gather(*self._tasks)

    async def _work(self, number: int) -> None:
        dice = random.Random(number)
        count = 0
        while not self._stopping:
            count += 1
            # Half of the callers give up where nothing is known, and never ask again.
            key = f"{'patient' if number % 2 else 'hasty'}-{number}-{count}"
            one, other = dice.sample(self.users, 2)
            amount = f"{dice.randrange(1, 30)}.{dice.randrange(10**6):06}"
            self.asked[key] = [
                {"path": "/v1/deposits", "body": {"user_id": one}},
                {"path": "/v1/withdrawals", "body": {"user_id": one}},
                {"path": "/v1/transfers", "body": {"from_user": one, "to_user": other}},
            ][dice.randrange(3)]
            self.asked[key]["body"] |= {"asset": "USDT", "amount": amount}
            while True:
                told = await self._ask(key)
                self.told[key].append(told)
                self._news.set()
                if told == "accepted" or (told not in _UNSETTLED and told != "overloaded"):
                    break
                await asyncio.sleep(0.05)
                if key.startswith("hasty"):
                    break

    async def _ask(self, key: str) -> str:
        asked = self.asked[key]
        try:
            answer = await next(self._servers).admin.post(asked["path"], asked["body"], key)
        except httpx.TransportError:
            return "lost"
        if answer.status_code == 201:
            body = accepted(answer)
            if len(self.told[key]) == 0:
                assert "idempotent-replayed" not in answer.headers
            self.accepted[key] = body["transaction_id"]
            return "accepted"
        problem: Json = answer.json()
        assert answer.status_code in (422, 503), problem
        check_problem(problem, answer.status_code, problem["code"])
        assert problem["code"] in ("insufficient_funds", "overloaded", "outcome_unknown"), problem
        return str(problem["code"])

    async def check(self) -> None:
        """Hold every answer against the ledger itself."""
        listed = [item async for item in self.outside.auditor.listed("/v1/admin/transactions")]
        positions = [item["position"] for item in listed]
        assert positions == list(range(len(listed), 0, -1)), "positions are not 1..N"
        keys = Counter(item["idempotency_key"] for item in listed)
        assert set(keys.values()) == {1}, "a key is in the ledger twice"
        by_key = {item["idempotency_key"]: item["transaction_id"] for item in listed}

        for key, told in self.told.items():
            assert len(set(told) & {"accepted", "insufficient_funds"}) <= 1
            if told[-1] == "accepted":
                assert by_key.get(key) == self.accepted[key], f"{key} was accepted and is lost"
            elif told[-1] not in _UNSETTLED and not set(told) & _UNSETTLED:
                assert key not in by_key, f"{key} was refused with {told} and is in the ledger"
            elif key.startswith("patient"):
                assert told[-1] not in _UNSETTLED, f"{key} was never settled: {told}"
        strangers = {key for key in by_key if key not in self.told and not key.startswith("seed")}
        assert not strangers
        await self._check_sums(listed)

        for key in [key for key, told in self.told.items() if told[-1] == "outcome_unknown"]:
            settled = await self._ask(key)
            assert settled in ("accepted", "insufficient_funds")
            assert key not in by_key or self.accepted[key] == by_key[key]

    async def _check_sums(self, listed: list[Json]) -> None:
        sums: Counter[str] = Counter()
        for item in listed:
            amounts = [minor(posting["amount"], 6) for posting in item["postings"]]
            assert sum(amounts) == 0, item
            for posting, amount in zip(item["postings"], amounts, strict=True):
                sums[posting["account"]] += amount
        for user in self.users:
            balance = (await self.outside.admin.balances(user))[f"main/{user}/USDT"]
            assert balance["balance"] == shown(sums[f"main/{user}/USDT"], 6)
            assert not balance["balance"].startswith("-")


async def _verified(tallywire: RunTallywire, database_url: str) -> None:
    done = await asyncio.to_thread(tallywire, "verify", database_url=database_url)
    assert done.returncode == 0, done.stdout + done.stderr


async def _screens(outside: Outside, users: list[str], stack: AsyncExitStack) -> list[Screen]:
    screens = [outside.screen(user) for user in users]
    return [await stack.enter_async_context(screen) for screen in screens]


async def _show_the_ledger(outside: Outside, screens: list[Screen]) -> None:
    for screen in screens:
        balances = await outside.admin.balances(screen.user_id)
        await screen.until(
            lambda screen=screen, balances=balances: screen.balances == balances,  # type: ignore[misc]
            what="the ledger's balances",
        )


@ROUNDS
@pytest.mark.parametrize("fault", CommitFault, ids=lambda fault: fault.name.lower())
async def test_a_connection_lost_around_commit(
    server: StartServer,
    go_outside: Go,
    postgres_url: str,
    postgres_proxy: PostgresProxy,
    tallywire: RunTallywire,
    fault: CommitFault,
    rounds: int,
) -> None:
    running = await server(database_url=postgres_proxy.url(postgres_url), env=FAST)
    outside = await go_outside(running)
    load = Load(outside)
    await load.start()
    async with AsyncExitStack() as stack:
        screens = await _screens(outside, load.users, stack)
        for _ in range(rounds):
            struck = postgres_proxy.at_next_commit(fault)
            async with asyncio.timeout(20):
                await struck.wait()
            await load.more()
        await load.stop()
        await load.check()
        await _show_the_ledger(outside, screens)
    await _verified(tallywire, postgres_url)


@ROUNDS
async def test_every_connection_cut_and_the_database_away(
    server: StartServer,
    go_outside: Go,
    postgres_url: str,
    postgres_proxy: PostgresProxy,
    tallywire: RunTallywire,
    rounds: int,
) -> None:
    running = await server(database_url=postgres_proxy.url(postgres_url), env=FAST)
    outside = await go_outside(running)
    load = Load(outside)
    await load.start()
    async with AsyncExitStack() as stack:
        screens = await _screens(outside, load.users, stack)
        for _ in range(rounds):
            await load.more()
            postgres_proxy.cut()
            await load.more()

            postgres_proxy.refuse = True
            postgres_proxy.cut()
            async with asyncio.timeout(20):
                while (await outside.http.get("/readyz")).status_code != 503:
                    await asyncio.sleep(0.05)
            assert (await outside.http.get("/healthz")).status_code == 200
            postgres_proxy.refuse = False
            await load.more()
            assert (await outside.http.get("/readyz")).json()["status"] == "ready"

        await load.stop()
        await load.check()
        await _show_the_ledger(outside, screens)
    await _verified(tallywire, postgres_url)


@ROUNDS
async def test_a_commit_lost_by_one_server_while_another_writes(
    server: StartServer,
    go_outside: Go,
    postgres_url: str,
    postgres_proxy: PostgresProxy,
    tallywire: RunTallywire,
    rounds: int,
) -> None:
    behind_proxy = await server(database_url=postgres_proxy.url(postgres_url), env=FAST)
    one = await go_outside(behind_proxy)
    two = await go_outside(await server(database_url=postgres_url, env=FAST))
    load = Load(one, two)
    await load.start()
    async with AsyncExitStack() as stack:
        screens = await _screens(one, load.users[:4], stack)
        screens += await _screens(two, load.users[4:], stack)
        faults = (CommitFault.CUT_AFTER, CommitFault.CUT_ANSWER, CommitFault.CUT_BEFORE)
        for fault in faults * rounds:
            struck = postgres_proxy.at_next_commit(fault)
            async with asyncio.timeout(20):
                await struck.wait()
            await load.more()
        await load.stop()
        await load.check()
        await _show_the_ledger(two, screens)
    await _verified(tallywire, postgres_url)


@ROUNDS
async def test_the_server_is_killed_in_the_middle_of_the_load(
    server: StartServer, go_outside: Go, database_url: str, tallywire: RunTallywire, rounds: int
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    load = Load(outside)
    await load.start()
    async with AsyncExitStack() as stack:
        screens = await _screens(outside, load.users, stack)
        for _ in range(rounds):
            await load.more()
            await running.kill9()
            for screen in screens:
                assert await screen.until_closed() is None
            await running.restart()
            for screen in screens:
                await screen.come_back()
                assert screen.resumed is not None
        await load.more()
        await load.stop()
        await load.check()
        await _show_the_ledger(outside, screens)
    await running.terminate()
    await _verified(tallywire, database_url)


@ROUNDS
async def test_postgresql_is_killed_in_the_middle_of_the_load(
    server: StartServer,
    go_outside: Go,
    durable_postgres: PostgresServer,
    tallywire: RunTallywire,
    rounds: int,
) -> None:
    url = durable_postgres.url(durable_postgres.create_database())
    assert (await asyncio.to_thread(tallywire, "upgrade", database_url=url)).returncode == 0
    outside = await go_outside(await server(database_url=url, env=FAST))
    load = Load(outside)
    await load.start()
    async with AsyncExitStack() as stack:
        screens = await _screens(outside, load.users, stack)
        for _ in range(rounds):
            await load.more()
            await asyncio.to_thread(durable_postgres.kill9)
            await asyncio.to_thread(durable_postgres.start)
        await load.more()
        await load.stop()
        await load.check()
        await _show_the_ledger(outside, screens)
    await _verified(tallywire, url)
