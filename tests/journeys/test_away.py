"""A client that was away, and a server that died meanwhile: nothing is missed, nothing is twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ..conftest import StartServer
from ..services.server import RunningServer
from .client import ZEROS, Json, Screen, accepted, update_of
from .conftest import FAST, Outside

Go = Callable[[RunningServer], Awaitable[Outside]]


def _deposits(users: list[str], count: int) -> list[Json]:
    return [
        {"operation": "deposit", "user_id": users[n % len(users)], "asset": "USDT", "amount": "1"}
        for n in range(count)
    ]


async def _write(outside: Outside, users: list[str], count: int) -> list[Json]:
    """`count` deposits, a thousand a batch; the UPDATEs in the order of their positions."""
    updates: list[Json] = []
    while count:
        answer = await outside.admin.batch(_deposits(users, min(count, 1000)))
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert {result["status"] for result in results} == {201}
        updates += [update_of(update) for result in results for update in result["updates"]]
        count -= len(results)
    return sorted(updates, key=lambda update: int(update["position"]))


async def test_away_during_five_thousand_changes_and_a_crash(
    server: StartServer, go_outside: Go, database_url: str
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    accepted(await outside.admin.deposit(alice, "10"))
    at_alice, monitor = outside.screen(alice), outside.monitor()
    async with at_alice, monitor:
        first = accepted(await outside.admin.deposit(alice, "1"))
        await at_alice.until_position(first["position"])
        await monitor.until_position(first["position"])
        kept = at_alice.updates
        await at_alice.leave()
        await monitor.leave()

        missed = await _write(outside, [alice, bob, alice, alice, alice], 5_000)
        await running.kill9()
        await running.restart()

        await at_alice.come_back()
        assert at_alice.resumed is not None
        assert at_alice.resumed["from"] == first["position"]
        assert at_alice.resumed["to"] == first["position"] + 5_000
        assert at_alice.resumed["count"] == 4_000
        await at_alice.until_shown(missed[-1]["position"])
        assert at_alice.replayed == 4_000
        assert at_alice.updates == kept + [u for u in missed if u["user_id"] == alice]
        assert at_alice.balances == await outside.admin.balances(alice)

        await monitor.come_back()
        await monitor.until_position(missed[-1]["position"])
        assert [update_of(update) for update in monitor.monitored[1:]] == missed

        live = accepted(await outside.admin.deposit(alice, "2"))
        await at_alice.until_shown(live["position"])
        await monitor.until_position(live["position"])
        assert at_alice.replayed == 4_000
        assert at_alice.updates[-1] == update_of(live["updates"][0])
        assert at_alice.balances == await outside.admin.balances(alice)


async def test_more_than_ten_thousand_missed_is_a_reset(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.screen(alice) as longer, outside.screen(alice) as shorter:
        await longer.leave()
        first = accepted(await outside.admin.deposit(alice, "1"))
        await shorter.until_position(first["position"])
        await shorter.leave()
        await _write(outside, [alice], 10_000)
        await shorter.come_back()
        assert shorter.resumed is not None and shorter.resumed["count"] == 10_000
        await shorter.until(lambda: shorter.replayed == 10_000, what="the replay")
        await longer.come_back()
        _is_reset(longer)
        assert longer.balances == shorter.balances == await outside.admin.balances(alice)


async def test_a_resume_with_nothing_missed(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.screen(alice) as screen:
        accepted(await outside.admin.deposit(alice, "1"))
        await screen.until(lambda: len(screen.updates) == 1)
        await screen.leave()
        await screen.come_back()
        assert screen.resumed is not None
        assert screen.resumed["count"] == 0
        live = accepted(await outside.admin.deposit(alice, "1"))
        await screen.until_shown(live["position"])
        assert screen.replayed == 0


def _is_reset(screen: Screen) -> None:
    assert screen.resumed is None
    assert screen.init is not None and screen.init["reason"] == "reset"


async def _stopped(outside: Outside, alice: str) -> Screen:
    """A screen of alice that saw two deposits, then left."""
    screen = outside.screen(alice)
    async with screen:
        accepted(await outside.admin.deposit(alice, "1"))
        second = accepted(await outside.admin.deposit(alice, "1"))
        await screen.until_shown(second["position"])
    return screen


WRONG: dict[str, Callable[[Json, str], Any]] = {
    "another epoch": lambda point, name: {"epoch": "another"},
    "a position beyond the head": lambda point, name: {"position": point["position"] + 1000},
    "a digest that never was": lambda point, name: {
        "heads": {name: {"seq": 2, "digest": "f" * 64}}
    },
    "an older head": lambda point, name: {
        "heads": {name: {"seq": 1, "digest": point["heads"][name]["digest"]}}
    },
    "a head still to come": lambda point, name: {
        "heads": {name: {"seq": 3, "digest": point["heads"][name]["digest"]}}
    },
    "no head where there is one": lambda point, name: {
        "heads": {name: {"seq": 0, "digest": ZEROS}}
    },
    "an account that there is not": lambda point, name: {
        "heads": {**point["heads"], "main/nobody/USDT": point["heads"][name]}
    },
    "an account without a name": lambda point, name: {
        "heads": {**point["heads"], "nonsense": point["heads"][name]}
    },
    "the right head at an earlier position": lambda point, name: {
        "position": point["position"] - 1
    },
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_resume_that_does_not_fit_starts_again(outside: Outside, wrong: str) -> None:
    alice = outside.new_user("alice")
    screen = await _stopped(outside, alice)
    accepted(await outside.admin.deposit(alice, "5"))
    point = screen.resume_point
    await screen.come_back({**point, **WRONG[wrong](point, f"main/{alice}/USDT")})
    async with _opened(screen):
        _is_reset(screen)
        assert screen.balances == await outside.admin.balances(alice)
        live = accepted(await outside.admin.deposit(alice, "1"))
        await screen.until_shown(live["position"])
        assert screen.balances == await outside.admin.balances(alice)


async def test_another_users_head_does_not_fit(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    at_alice, at_bob = await _stopped(outside, alice), await _stopped(outside, bob)
    point = at_bob.resume_point
    point["heads"] |= at_alice.resume_point["heads"]
    await at_bob.come_back(point)
    async with _opened(at_bob):
        _is_reset(at_bob)
        assert at_bob.balances == await outside.admin.balances(bob)


@pytest.mark.parametrize("heads", ["none named", "an account still to come", "no field"])
async def test_a_resume_that_names_less_fits(outside: Outside, heads: str) -> None:
    alice = outside.new_user("alice")
    screen = await _stopped(outside, alice)
    missed = [
        accepted(await outside.admin.deposit(alice, "5")),
        accepted(await outside.admin.deposit(alice, "5", asset="USD")),
    ]
    point = screen.resume_point
    if heads == "none named":
        point["heads"] = {}
    elif heads == "no field":
        del point["heads"]
    else:
        point["heads"][f"main/{alice}/USD"] = {"seq": 0, "digest": ZEROS}
    await screen.come_back(point)
    async with _opened(screen):
        assert screen.resumed is not None and screen.resumed["count"] == 2
        await screen.until_shown(missed[-1]["position"])
        assert screen.balances == await outside.admin.balances(alice)


async def test_a_monitor_resumes_from_where_it_was_or_starts_again(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.monitor() as monitor:
        first = accepted(await outside.admin.deposit(alice, "1"))
        await monitor.until_position(first["position"])
        await monitor.leave()
        await _write(outside, [alice, outside.new_user()], 300)
        await monitor.come_back()
        await monitor.until_position(first["position"] + 300)
        assert len(monitor.monitored) == 301

        await monitor.leave()
        await monitor.come_back({**monitor.resume_point, "epoch": "another"})
        assert monitor.resumed is None
        assert [init["type"] for init in monitor.inits] == ["admin_monitor_init"] * 2


class _opened:
    """Leaves a screen that was opened by hand."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    async def __aenter__(self) -> Screen:
        return self.screen

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self.screen.leave()
