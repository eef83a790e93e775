"""A client that does not read costs the server nothing, and misses nothing once it reads again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ..conftest import StartServer
from ..services.server import RunningServer
from .client import Json, accepted
from .conftest import FAST, Outside

Go = Callable[[RunningServer], Awaitable[Outside]]

SMALL = 65_536
MIB = 2**20
# 2,500 updates of six kilobytes are 15 MiB, of which the sockets take 4 at most; what may wait
# for a client in the server is 256 KiB.
FLAT = 6 * MIB


def _resident(pid: int) -> int:
    """The process's resident memory in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


async def _write(outside: Outside, user: str, count: int) -> int:
    """`count` changes of about six kilobytes each; the last position."""
    item: Json = {
        "operation": "deposit",
        "user_id": user,
        "asset": "USDT",
        "amount": "1",
        "description": "☃" * 500,
        "metadata": {"note": "n" * 4000},
    }
    last = 0
    for _ in range(count // 250):
        answer = await outside.admin.batch([item] * 250)
        assert answer.status_code == 200, answer.text
        last = answer.json()["results"][-1]["position"]
    return last


@pytest.mark.parametrize(
    "database_url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True
)
async def test_slow_clients_cost_no_memory_and_catch_up(
    server: StartServer, go_outside: Go, database_url: str
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    accepted(await outside.admin.deposit("ada", "1"))
    await _write(outside, "ada", 1_500)
    async with AsyncExitStack() as stack:
        screen, monitor = outside.screen("ada"), outside.monitor()
        every = outside.screen("ada", receive_buffer=SMALL)
        latest = outside.screen("ada", mode="latest", receive_buffer=SMALL)
        watching = outside.monitor(receive_buffer=SMALL)
        both = outside.monitor(streams=("balances", "monitor"), receive_buffer=SMALL)
        events = outside.stream("ada", receive_buffer=SMALL)
        quick, slow = (screen, monitor), (every, latest, watching, both, events)
        for each in (*quick, *slow):
            await stack.enter_async_context(each)
        warm = await _write(outside, "ada", 250)
        for each in (*quick, *slow):
            await each.until_position(warm)

        for each in slow:
            each.reading.clear()
        before = _resident(running.pid)
        last = await _write(outside, "ada", 2_500)
        for each in quick:
            await each.until_position(last)
        grown = _resident(running.pid) - before
        assert grown < FLAT, f"{grown / MIB:.1f} MiB for {len(slow)} clients that do not read"
        assert all((each.cursor or 0) < last for each in slow)

        for each in slow:
            each.reading.set()
        await asyncio.gather(*(each.until_position(last, within=60) for each in slow))
        assert every.updates == both.updates == events.updates == screen.updates
        assert watching.monitored == both.monitored == monitor.monitored
        assert sum(len(message["balances"]) for message in latest.latest) < 2_500
        balances = await outside.admin.balances("ada")
        assert all(each.balances == balances for each in (screen, every, latest, both, events))


async def test_a_client_that_vanishes_is_forgotten(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.monitor() as monitor, outside.screen(alice) as steady:
        gone = [kind(alice) for kind in (outside.screen, outside.stream) for _ in range(5)]
        for screen in gone:
            await screen.open()
            screen.vanish()
        last = await _write(outside, alice, 500)
        await steady.until_shown(last)
        await monitor.until_position(last)
        # Their places are free again: a user may have twenty connections.
        back = [outside.screen(alice) for _ in range(19)]
        async with AsyncExitStack() as stack:
            for screen in back:
                await stack.enter_async_context(screen)
