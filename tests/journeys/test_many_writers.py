"""Many writers at once: one order for everybody, no hole, nothing twice, and commits are shared."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from ..conftest import StartServer
from ..services.proxy import PostgresProxy
from ..services.server import RunningServer
from .client import Json, Screen, accepted, minor, refused, update_of
from .conftest import FAST, Outside

WRITERS = 64
USERS = 40

Go = Callable[[RunningServer], Awaitable[Outside]]


async def _write(
    outside: Outside, users: list[str], dice: random.Random, rounds: int
) -> list[httpx.Response]:
    answers = []
    for _ in range(rounds):
        one, other = dice.sample(users, 2)
        amount = f"{dice.randrange(1, 40)}.{dice.randrange(10**6):06}"
        match dice.randrange(4):
            case 0:
                answers.append(await outside.admin.deposit(one, amount))
            case 1:
                answers.append(await outside.admin.withdraw(one, amount))
            case 2:
                answers.append(await outside.caller(one).transfer("me", other, amount))
            case 3:
                answers.append(await outside.admin.transfer(one, other, amount))
    return answers


async def _journey(outside: Outside, rounds: int) -> tuple[int, int]:
    """The whole of it; the result is how many changes were accepted and how many refused."""
    users = [f"user-{number}" for number in range(USERS)]
    seed = [
        {"operation": "deposit", "user_id": user, "asset": "USDT", "amount": "100"}
        for user in users
    ]
    assert (await outside.admin.batch(seed, atomic=True)).status_code == 200
    start = await outside.admin.head()
    async with AsyncExitStack() as stack:
        monitor = await stack.enter_async_context(outside.monitor())
        screens: dict[str, Screen] = {}
        for user in users:
            screens[user] = await stack.enter_async_context(outside.screen(user))

        written = await asyncio.gather(
            *(_write(outside, users, random.Random(seed), rounds) for seed in range(WRITERS))
        )
        answers = [answer for answers in written for answer in answers]
        done = [accepted(answer) for answer in answers if answer.status_code == 201]
        for answer in answers:
            if answer.status_code != 201:
                refused(answer, 422, "insufficient_funds")
        positions = sorted(body["position"] for body in done)
        assert positions == list(range(start + 1, start + len(done) + 1))

        last = positions[-1]
        await monitor.until_position(last)
        by_user: dict[str, list[Json]] = defaultdict(list)
        for update in monitor.monitored:
            by_user[update["user_id"]].append(update_of(update))
        assert {update["position"] for update in monitor.monitored} == set(positions)
        answered = {
            (update["position"], update["user_id"]): update_of(update)
            for body in done
            for update in body["updates"]
        }
        for place, update in answered.items():
            assert update in by_user[place[1]]
        for user, screen in screens.items():
            if by_user[user]:
                await screen.until_shown(by_user[user][-1]["position"])
            assert screen.updates == by_user[user]
            assert screen.balances == await outside.admin.balances(user)
        await _check_sums(outside, screens)
    return len(done), len(answers) - len(done)


async def _check_sums(outside: Outside, screens: dict[str, Screen]) -> None:
    held = sum(minor(s.balances[f"main/{u}/USDT"]["balance"], 6) for u, s in screens.items())
    trial = (await outside.auditor.get("/v1/admin/trial-balance")).json()
    rows = {
        row["owner_kind"]: minor(row["balance"], 6)
        for row in trial["rows"]
        if (row["book"], row["asset"]) == ("main", "USDT")
    }
    assert rows["user"] == held
    assert sum(rows.values()) == 0
    assert trial["sums"]["main/USDT"] == "0.000000"


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=pytest.mark.long)])
async def test_sixty_four_writers_over_forty_users(
    server: StartServer, go_outside: Go, database_url: str, rounds: int
) -> None:
    outside = await go_outside(await server(database_url=database_url, env=FAST))
    accepted_changes, refused_changes = await _journey(outside, rounds)
    assert accepted_changes > WRITERS * rounds / 2
    assert refused_changes > 0


async def test_waiting_changes_share_a_commit(
    server: StartServer, go_outside: Go, postgres_url: str, postgres_proxy: PostgresProxy
) -> None:
    running = await server(database_url=postgres_proxy.url(postgres_url), env=FAST)
    outside = await go_outside(running)
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "1"))
    commits = postgres_proxy.commits
    waves, width = 4, 64
    for _ in range(waves):
        answers = await asyncio.gather(*(outside.admin.deposit(alice, "1") for _ in range(width)))
        for answer in answers:
            accepted(answer)
    shared = postgres_proxy.commits - commits
    assert shared < waves * width / 2, f"{shared} COMMITs for {waves * width} changes"
    balances = await outside.admin.balances(alice)
    assert balances[f"main/{alice}/USDT"]["seq"] == waves * width + 1


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_batch_is_few_commits_and_atomic_is_one(
    server: StartServer,
    go_outside: Go,
    postgres_url: str,
    postgres_proxy: PostgresProxy,
    atomic: bool,
) -> None:
    running = await server(database_url=postgres_proxy.url(postgres_url), env=FAST)
    outside = await go_outside(running)
    alice = outside.new_user("alice")
    items = [{"operation": "deposit", "user_id": alice, "asset": "USDT", "amount": "1"}] * 1000
    accepted(await outside.admin.deposit(alice, "1"))
    struck = await outside.admin.head()
    commits = postgres_proxy.commits
    answer = await outside.admin.batch(items, atomic=atomic)
    shared = postgres_proxy.commits - commits
    assert answer.status_code == 200
    positions = [result["position"] for result in answer.json()["results"]]
    assert positions == list(range(struck + 1, struck + 1001))
    # The feed may read the head meanwhile, and not every driver ends a read without COMMIT.
    assert shared <= (4 if atomic else 12), f"{shared} COMMITs for 1,000 items"
