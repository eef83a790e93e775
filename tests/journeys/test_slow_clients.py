"""A client that does not read costs the server nothing, and misses nothing once it reads again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ..conftest import StartServer
from ..services.server import RunningServer
from .client import Json, Screen, accepted
from .conftest import FAST, Outside

Go = Callable[[RunningServer], Awaitable[Outside]]

SLOW = 2
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


@pytest.mark.parametrize("mode", ["every", "latest"])
async def test_slow_clients_cost_no_memory_and_catch_up(
    server: StartServer, go_outside: Go, database_url: str, mode: str
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "1"))
    await _write(outside, alice, 1_500)
    async with AsyncExitStack() as stack:
        quick = await stack.enter_async_context(outside.screen(alice))
        slow: list[Screen] = []
        for _ in range(SLOW):
            screen = outside.screen(alice, mode=mode, receive_buffer=SMALL)
            slow.append(await stack.enter_async_context(screen))
        warm = await _write(outside, alice, 500)
        for screen in (quick, *slow):
            await screen.until_position(warm)

        for screen in slow:
            screen.reading.clear()
        before = _resident(running.pid)
        last = await _write(outside, alice, 2_500)
        await quick.until_shown(last)
        grown = _resident(running.pid) - before
        assert grown < FLAT, f"{grown / MIB:.1f} MiB for {SLOW} clients that do not read"
        assert all((screen.cursor or 0) < last for screen in slow)

        for screen in slow:
            screen.reading.set()
        await asyncio.gather(*(screen.until_position(last, within=60) for screen in slow))
        for screen in slow:
            assert screen.balances == quick.balances
            if mode == "every":
                assert screen.updates == quick.updates
            else:
                assert sum(len(message["balances"]) for message in screen.latest) < 2_500
        assert quick.balances == await outside.admin.balances(alice)


async def test_slow_monitors_hold_nobody_up(
    server: StartServer, go_outside: Go, database_url: str
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    alice = outside.new_user("alice")
    await _write(outside, alice, 1_500)
    async with AsyncExitStack() as stack:
        quick = await stack.enter_async_context(outside.monitor())
        slow = [
            await stack.enter_async_context(outside.monitor(receive_buffer=SMALL))
            for _ in range(SLOW)
        ]
        for monitor in slow:
            monitor.reading.clear()
        before = _resident(running.pid)
        last = await _write(outside, alice, 2_500)
        await quick.until_position(last)
        grown = _resident(running.pid) - before
        assert grown < FLAT, f"{grown / MIB:.1f} MiB for {SLOW} monitors that do not read"
        for monitor in slow:
            monitor.reading.set()
        await asyncio.gather(*(monitor.until_position(last, within=60) for monitor in slow))
        for monitor in slow:
            assert monitor.monitored == quick.monitored


async def test_a_client_that_vanishes_is_forgotten(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.monitor() as monitor, outside.screen(alice) as steady:
        gone = [outside.screen(alice) for _ in range(10)]
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
