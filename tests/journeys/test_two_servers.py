"""Two servers on one database: one order of positions, and every screen sees both."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import httpx
import pytest

from ..conftest import StartServer
from ..services.server import RunningServer
from .client import Json, Screen, accepted, refused, update_of
from .conftest import FAST, Outside, running_server

Go = Callable[[RunningServer], Awaitable[Outside]]


async def _write(outside: Outside, users: list[str], count: int) -> list[Json]:
    answers = await asyncio.gather(
        *(outside.admin.deposit(users[n % len(users)], "1") for n in range(count))
    )
    return [accepted(answer) for answer in answers]


async def _both_show_it(screens: list[Screen], outside: Outside, last: int) -> None:
    for screen in screens:
        balances = await outside.admin.balances(screen.user_id)
        await screen.until(
            lambda screen=screen, balances=balances: screen.balances == balances,  # type: ignore[misc]
            what="the ledger's balances",
        )
        assert screen.updates[-1]["position"] <= last


@pytest.fixture(scope="module")
def second_server(
    shared_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Another server on the shared one's database."""
    with running_server(tmp_path_factory.mktemp("second"), shared_database) as running:
        yield running


@pytest.fixture
async def two(second_server: RunningServer, go_outside: Go) -> Outside:
    """The outside of the second server."""
    return await go_outside(second_server)


@pytest.fixture
def one(outside: Outside) -> Outside:
    """The outside of the first server."""
    return outside


async def test_screens_of_either_server_see_the_changes_of_both(one: Outside, two: Outside) -> None:
    start = await one.admin.head()
    users = [one.new_user() for _ in range(4)]
    async with AsyncExitStack() as stack:
        screens = [
            await stack.enter_async_context(place.screen(user))
            for place in (one, two)
            for user in users
        ]
        monitors = [await stack.enter_async_context(place.monitor()) for place in (one, two)]
        written = await asyncio.gather(_write(one, users, 60), _write(two, users, 60))
        answers = [answer for each in written for answer in each]
        assert sorted(answer["position"] for answer in answers) == list(
            range(start + 1, start + 121)
        )
        for monitor in monitors:
            await monitor.until_position(start + 120)
        assert monitors[0].monitored == monitors[1].monitored
        await _both_show_it(screens, one, start + 120)
        for screen, twin in zip(screens[:4], screens[4:], strict=True):
            assert screen.updates == twin.updates

        # What one made known, the other knows: books, keys, and who was sent away.
        book = await one.new_book(accounts="open")
        accepted(await two.admin.deposit(users[0], "1", book=book))
        first = accepted(await one.admin.deposit(users[0], "7", key="across"))
        again = await two.admin.deposit(users[0], "7", key="across")
        assert accepted(again) == first
        assert again.headers["idempotent-replayed"] == "true"
        clash = await two.admin.deposit(users[0], "8", key="across")
        refused(clash, 422, "idempotency_key_reused")
        both = await asyncio.gather(
            *(place.admin.deposit(users[1], "3", key="race") for place in (one, two) * 8)
        )
        assert len({accepted(answer)["transaction_id"] for answer in both}) == 1

        # A screen moves to the other server and goes on where it was.
        await _both_show_it(screens, one, await one.admin.head())
        screens[0].server_url = screens[4].server_url
        await screens[0].leave()
        missed = accepted(await one.admin.deposit(users[0], "1"))
        await screens[0].come_back()
        await screens[0].until_shown(missed["position"])
        assert screens[0].resumed is not None
        assert screens[0].updates[-1] == update_of(missed["updates"][0])


async def test_who_is_sent_away_by_one_is_sent_away_by_both(one: Outside, two: Outside) -> None:
    alice = one.new_user("alice")
    caller = two.caller(alice)
    screen = two.screen(alice)
    await screen.open()
    assert (await one.root.post(f"/v1/admin/users/{alice}/disconnect", {})).status_code == 200
    assert await screen.until_closed() == 4010
    async with asyncio.timeout(10):
        while (await caller.get("/v1/users/me/balances")).status_code != 401:
            await asyncio.sleep(0.05)
    await screen.leave()


async def test_a_pause_holds_for_both(one: Outside, two: Outside) -> None:
    accepted(await two.admin.deposit("alice", "1"))
    assert (await one.root.post("/v1/admin/pause", {})).status_code == 200
    try:
        refused(await two.admin.deposit("alice", "1"), 503, "paused")
    finally:
        assert (await two.root.post("/v1/admin/resume", {})).status_code == 200
    accepted(await one.admin.deposit("alice", "1"))


async def test_a_frozen_process_does_not_hold_the_others_up(
    server: StartServer, go_outside: Go, postgres_url: str
) -> None:
    frozen = await server(database_url=postgres_url, env=FAST)
    one = await go_outside(frozen)
    two = await go_outside(await server(database_url=postgres_url, env=FAST))
    answers: list[httpx.Response] = []

    async def write(number: int) -> None:
        while True:
            try:
                answers.append(await one.admin.deposit("alice", "1", key=f"w-{len(answers)}"))
            except httpx.TransportError:
                return

    writers = [asyncio.create_task(write(number)) for number in range(8)]
    async with asyncio.timeout(10):
        while len(answers) < 50:
            await asyncio.sleep(0.01)
    frozen.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            accepted(await two.admin.deposit("alice", "1"))
    finally:
        await frozen.kill9()
        await asyncio.gather(*writers)
    done = [accepted(answer)["transaction_id"] for answer in answers if answer.status_code == 201]
    path = "/v1/users/alice/history"
    ledger = {item["transaction_id"] async for item in two.auditor.listed(path, limit=1000)}
    assert set(done) <= ledger
