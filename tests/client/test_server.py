"""The client in a program of its own, against a real server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from operator import itemgetter

import httpx

from ..conftest import StartServer
from .node import Follower

MAIN, DEMO = "main/alice/USDT", "demo/alice/USDT"


async def deposit(http: httpx.AsyncClient, count: int, amount: str = "1") -> int:
    """`count` deposits for alice, each its own transaction; the last one's position."""
    item = {"operation": "deposit", "user_id": "alice", "asset": "USDT", "amount": amount}
    body = {"atomic": False, "items": [item] * count}
    results = (await http.post("/v1/batches", json=body)).raise_for_status().json()["results"]
    position: int = max(result["position"] for result in results)
    return position


async def lose(http: httpx.AsyncClient, alice: dict[str, str]) -> str:
    """Alice is to lose, and loses an option of play money at once; its id."""
    money = {"user_id": "alice", "book": "demo", "asset": "USDT", "amount": "10"}
    (await http.post("/v1/deposits", json=money)).raise_for_status()
    (await http.put("/v1/prices/BTC-USDT", json={"price": "64000"})).raise_for_status()
    controls = "/v1/admin/trading-controls/alice"
    (await http.put(controls, json={"mode": "lose"})).raise_for_status()
    stake = {"pair": "BTC-USDT", "book": "demo", "direction": "up", "stake": "10", "duration_s": 30}
    opened = await http.post("/v1/options", json=stake, headers=alice)
    option = str(opened.raise_for_status().json()["trade"]["id"])
    forced = await http.post(f"/v1/options/{option}/force", json={"outcome": "lose"})
    forced.raise_for_status()
    return option


async def test_the_screen_is_the_ledger_after_a_storm_with_cuts(server: StartServer) -> None:
    """Over a WebSocket, over SSE, beside a monitor; through cuts, a kill -9 and a new transport."""
    running = await server()
    root = running.headers("root", "superadmin")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=running.base_url, headers=root, timeout=20)
        )
        first = await deposit(http, 1)
        direct, behind, watching = [
            await stack.enter_async_context(follower)
            for follower in (
                Follower(running.base_url, running.token("alice"), "balances,prices"),
                Follower(running.base_url, running.token("alice"), "balances,prices", proxied=True),
                Follower(running.base_url, running.token("alice", "auditor"), "balances,monitor"),
            )
        ]
        followers = (direct, behind, watching)
        await asyncio.gather(
            direct.connected("websocket"),
            behind.connected("sse"),
            watching.connected("websocket"),
        )
        await direct.told("latency")

        for count in (40, 1, 60, 20):
            storm = asyncio.create_task(deposit(http, count))
            for follower in followers:
                follower.tell("interrupt")
            await storm
        lost = await lose(http, running.headers("alice"))
        await running.kill9()
        await running.restart()
        await behind.screen(await deposit(http, 31))
        behind.tell("upgrades")
        behind.tell("online")
        await behind.connected("websocket")
        position = await deposit(http, 25)

        history = await _positions(http, after=first)
        assert len(history) == 181
        balances = (await http.get("/v1/users/alice/balances")).json()["balances"]
        for follower in followers:
            screen = await follower.screen(position)
            assert screen["own"] == history
            proofs = {account["account"]: account.pop("proof") for account in screen["accounts"]}
            assert sorted(screen["accounts"], key=itemgetter("account")) == balances
            entries = {name: (proof["state"], proof["entries"]) for name, proof in proofs.items()}
            assert entries == {MAIN: ("verified", 177), DEMO: ("verified", 2)}
            assert (screen["trades"], screen["mode"]) == ({lost: "lose"}, "lose")
            assert "mismatch" not in [name for name, _ in follower.events]
            assert await follower.close() == 0
            expected = {} if follower is watching else {"BTC-USDT": "64000.00"}
            assert screen["prices"] == expected
        assert screen["all"] == history


async def _positions(http: httpx.AsyncClient, *, after: int) -> list[int]:
    """Of alice's history above `after`, oldest first."""
    answer = await http.get("/v1/users/alice/history", params={"limit": 1000})
    items = answer.raise_for_status().json()["items"]
    return sorted(item["position"] for item in items if item["position"] > after)
