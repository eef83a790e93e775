"""
Simulated prices and settlement in real processes: shown, streamed, and going on at once where one
is killed.
"""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
from tallywire.ledger import open_ledger
from tallywire.prices.walk import next_price
from websockets.asyncio.client import connect

from tests.conftest import StartServer, StartWorker
from tests.ledger.raw import rows

PAIRS = ["BTC-USDT", "ETH-USDT"]


async def stamps(database_url: str, pair: str = "BTC-USDT") -> list[datetime]:
    """When the prices of `pair` were stamped; they are numbered without gaps."""
    found = await rows(
        database_url, f"SELECT number, stamped_at FROM prices WHERE pair = '{pair}' ORDER BY number"
    )
    assert [row["number"] for row in found] == list(range(1, len(found) + 1))
    return [datetime.fromisoformat(row["stamped_at"]) for row in found]


async def until_stamped(database_url: str, least: int) -> list[datetime]:
    """The stamps, once there are that many."""
    async with asyncio.timeout(20):
        while len(found := await stamps(database_url)) < least:
            await asyncio.sleep(0.1)
    return found


async def goes_by(database_url: str, seed: str) -> bool:
    """Whether every price of BTC-USDT is what that seed makes of the one before it."""
    found = await rows(
        database_url, "SELECT number, price FROM prices WHERE pair = 'BTC-USDT' ORDER BY number"
    )
    steps = [
        (after["number"], before["price"], after["price"]) for before, after in pairwise(found)
    ]
    return all(price == next_price(seed, "BTC-USDT", n, before) for n, before, price in steps)


async def told_of(ws_url: str, token: str, least: int) -> dict[str, list[dict[str, Any]]]:
    """What the stream of prices tells, until that many of each pair."""
    told: dict[str, list[dict[str, Any]]] = {pair: [] for pair in PAIRS}
    async with asyncio.timeout(20), connect(ws_url) as socket:
        await socket.send(json.dumps({"type": "connect", "token": token, "streams": ["prices"]}))
        while min(map(len, told.values())) < least:
            message = json.loads(await socket.recv())
            for price in message.get("prices", ()):
                told[price["pair"]].append(price)
    return told


async def test_a_development_server_simulates_and_goes_on_after_it_was_killed(
    server: StartServer, sqlite_url: str
) -> None:
    seed = {"TALLYWIRE_PRICE_SEED": "a seed of the tests"}
    running = await server(database_url=sqlite_url, secret=None, env=seed)
    token = await running.dev_token("alice")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=running.base_url, headers=headers) as client:
        listed = (await client.get("/v1/prices")).json()["items"]
    assert [price["pair"] for price in listed] == PAIRS
    for prices in (await told_of(running.ws_url, token, 3)).values():
        assert {price["source"] for price in prices} == {"simulated"}
        times = [price["time"] for price in prices]
        assert times == sorted(set(times)), "a price was told twice, or late"
    await running.kill9()
    before = await stamps(sqlite_url)
    await running.restart()
    after = await until_stamped(sqlite_url, len(before) + 2)
    assert min(b - a for a, b in pairwise(after)) >= timedelta(seconds=1)
    assert await goes_by(sqlite_url, "a seed of the tests")


async def test_of_two_workers_one_makes_each_step_and_either_goes_on_alone(
    worker: StartWorker, server: StartServer, postgres_url: str
) -> None:
    """And a server, which makes none, tells of those that they make."""
    first, second = await asyncio.gather(worker(postgres_url), worker(postgres_url))
    running = await server(database_url=postgres_url)
    before = await until_stamped(postgres_url, 3)
    async with open_ledger(postgres_url) as manager:
        await manager.update_balance("alice", "100", "deposit")
        durations = [{"duration_s": 1, "payout_rate": "0.8"}]
        await manager.administration.put_pair("BTC-USDT", {"durations": durations}, actor="root")
        opened = await manager.trading.open_option("alice", "BTC-USDT", "up", "10", 1)
    first.send_signal(signal.SIGKILL)
    await first.wait()
    found = await until_stamped(postgres_url, len(before) + 3)
    steps = [later - at for at, later in pairwise(found)]
    assert min(steps) >= timedelta(seconds=1)
    # Nobody's lease has to run out: that would take 15 s.
    assert max(steps) < timedelta(seconds=10)
    async with open_ledger(postgres_url) as manager, asyncio.timeout(20):
        while (trade := await manager.trading.read_option(opened.transaction_id)).status == "open":
            await asyncio.sleep(0.1)
        assert trade.status == "settled"
        price = trade.settle_price
    by_then = "SELECT price FROM prices WHERE pair = 'BTC-USDT' AND stamped_at <= '{}'"
    kept = await rows(postgres_url, f"{by_then.format(trade.expires_at)} ORDER BY number")
    assert price == kept[-1]["price"]
    told = await told_of(running.ws_url, running.token("alice"), 3)
    kept = await rows(postgres_url, "SELECT pair, stamped_at FROM prices")
    stamped = {(row["pair"], row["stamped_at"]) for row in kept}
    assert {(pair, price["time"]) for pair in told for price in told[pair]} <= stamped
    (clock,) = await rows(postgres_url, "SELECT epoch FROM clock")
    assert not await goes_by(postgres_url, clock["epoch"]), "every client could foretell them"
    second.send_signal(signal.SIGTERM)
    assert await second.wait() == 0
