"""The client in a program of its own, against a real server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx

from ..conftest import StartServer
from .node import Follower

MAIN = "main/alice/USDT"


async def deposit(http: httpx.AsyncClient, count: int, amount: str = "1") -> int:
    """`count` deposits for alice, each its own transaction; the last one's position."""
    item = {"operation": "deposit", "user_id": "alice", "asset": "USDT", "amount": amount}
    body = {"atomic": False, "items": [item] * count}
    results = (await http.post("/v1/batches", json=body)).raise_for_status().json()["results"]
    position: int = max(result["position"] for result in results)
    return position


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
                Follower(running.base_url, running.token("alice")),
                Follower(running.base_url, running.token("alice"), proxied=True),
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
        await running.kill9()
        await running.restart()
        await behind.screen(await deposit(http, 31))
        behind.tell("upgrades")
        behind.tell("online")
        await behind.connected("websocket")
        position = await deposit(http, 25)

        history = await _positions(http, after=first)
        assert len(history) == 177
        balances = (await http.get("/v1/users/alice/balances")).json()["balances"]
        for follower in followers:
            screen = await follower.screen(position)
            assert screen["own"] == history
            shown = {account["account"]: account for account in screen["accounts"]}
            proof = shown[MAIN].pop("proof")
            assert list(shown.values()) == balances
            assert (proof["state"], proof["entries"]) == ("verified", 177)
            assert "mismatch" not in [name for name, _ in follower.events]
            assert await follower.close() == 0
        assert screen["all"] == history


async def _positions(http: httpx.AsyncClient, *, after: int) -> list[int]:
    """Of alice's history above `after`, oldest first."""
    answer = await http.get("/v1/users/alice/history", params={"limit": 1000})
    items = answer.raise_for_status().json()["items"]
    return sorted(item["position"] for item in items if item["position"] > after)
