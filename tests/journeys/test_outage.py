"""The database is away for a while: who is connected stays, who comes is asked to come later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from websockets.exceptions import ConnectionClosed

from ..conftest import StartServer
from ..services.proxy import PostgresProxy
from ..services.server import RunningServer
from .client import accepted, dial, refused, update_of, websocket_url
from .conftest import FAST, Outside

Go = Callable[[RunningServer], Awaitable[Outside]]


async def test_screens_outlive_an_outage(
    server: StartServer, go_outside: Go, postgres_url: str, postgres_proxy: PostgresProxy
) -> None:
    running = await server(database_url=postgres_proxy.url(postgres_url), env=FAST)
    outside = await go_outside(running)
    before = accepted(await outside.admin.deposit("alice", "1"))
    async with outside.screen("alice") as screen, outside.monitor() as monitor:
        postgres_proxy.refuse = True
        postgres_proxy.cut()
        async with asyncio.timeout(20):
            while (await outside.http.get("/readyz")).status_code != 503:
                await asyncio.sleep(0.05)

        newcomer = await dial(websocket_url(running.base_url))
        hello = {"type": "connect", "token": screen.token, "streams": ["balances"]}
        await newcomer.send(json.dumps(hello))
        try:
            async with asyncio.timeout(30):
                while True:
                    await newcomer.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == 1013
        finally:
            await newcomer.close()

        waiting = asyncio.create_task(outside.admin.deposit("alice", "2", key="waits"))
        reading = await outside.admin.get("/v1/users/alice/balances")
        assert reading.status_code == 503
        assert "retry-after" in reading.headers

        postgres_proxy.refuse = False
        answer = await waiting
        if answer.status_code != 201:
            refused(answer, 503, answer.json()["code"])
            answer = await outside.admin.deposit("alice", "2", key="waits")
        paid = accepted(answer)
        assert paid["position"] == before["position"] + 1
        await screen.until_shown(paid["position"])
        await monitor.until_position(paid["position"])
        assert screen.updates == [update_of(update) for update in paid["updates"]]
        assert screen.balances == await outside.admin.balances("alice")
    async with outside.screen("alice") as again:
        assert again.balances == await outside.admin.balances("alice")


async def test_a_silent_database_is_not_waited_for_for_ever(
    server: StartServer, go_outside: Go, postgres_url: str, postgres_proxy: PostgresProxy
) -> None:
    """Bytes stop, connections stay open: a network that swallows packets."""
    running = await server(database_url=postgres_proxy.url(postgres_url), env=FAST)
    outside = await go_outside(running)
    accepted(await outside.admin.deposit("alice", "1"))
    postgres_proxy.pause()
    waiting = [
        asyncio.create_task(outside.admin.deposit("alice", "1", key=f"k-{number}"))
        for number in range(10)
    ]
    async with asyncio.timeout(45):
        answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {503}
    assert (await outside.http.get("/healthz")).status_code == 200
    postgres_proxy.resume()
    async with asyncio.timeout(45):
        for number in range(10):
            while (
                answer := await outside.admin.deposit("alice", "1", key=f"k-{number}")
            ).status_code == 503:
                await asyncio.sleep(0.1)
            accepted(answer)
    balances = await outside.admin.balances("alice")
    assert balances["main/alice/USDT"]["balance"] == "11.000000"
