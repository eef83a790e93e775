"""Too fast: users are slowed down, administrators are not, and money is never half moved."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable

from websockets.exceptions import ConnectionClosed

from ..conftest import StartServer
from ..services.server import RunningServer
from .client import accepted, dial, refused, websocket_url
from .conftest import Outside

Go = Callable[[RunningServer], Awaitable[Outside]]


async def test_a_user_has_so_many_changes_a_second(
    server: StartServer, go_outside: Go, database_url: str
) -> None:
    running = await server(database_url=database_url, env={"TALLYWIRE_USER_RATE": "5"})
    outside = await go_outside(running)
    accepted(await outside.admin.deposit("alice", "1000"))
    accepted(await outside.admin.deposit("bob", "1000"))
    alice, bob = outside.caller("alice"), outside.caller("bob")
    answers = await asyncio.gather(*(alice.withdraw("me", "1") for _ in range(40)))
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {201, 429} and counts[201] <= 15
    for answer in answers:
        if answer.status_code == 429:
            refused(answer, 429, "too_many_requests")
            assert int(answer.headers["retry-after"]) >= 1
            assert "ratelimit" in answer.headers
    balances = await outside.admin.balances("alice")
    paid = 1000 - counts[201]
    assert balances["main/alice/USDT"]["balance"] == f"{paid}.000000"

    accepted(await bob.withdraw("me", "1"))
    assert (await alice.get("/v1/users/me/balances")).status_code == 200
    answers = await asyncio.gather(*(outside.admin.deposit("alice", "1") for _ in range(100)))
    for answer in answers:
        accepted(answer)
    async with asyncio.timeout(10):
        while (await alice.withdraw("me", "1")).status_code == 429:
            await asyncio.sleep(0.1)


async def test_a_flood_of_messages_is_closed(outside: Outside) -> None:
    connection = await dial(websocket_url(outside.server.base_url))
    hello = {"type": "connect", "token": outside.server.token("alice"), "streams": ["balances"]}
    await connection.send(json.dumps(hello))
    code = None
    try:
        for _ in range(20_000):
            await connection.send('{"type":"ping"}')
        async with asyncio.timeout(10):
            while True:
                await connection.recv()
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else None
    finally:
        await connection.close()
    assert code == 4029
    async with outside.screen("alice") as screen:
        assert screen.init is not None
