"""`/v1/stream`: what a WebSocket brings comes as server-sent events, is resumed, and ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import ClientConnection

from ..conftest import StartServer
from ..services.server import RunningServer
from .client import Json, accepted, check_problem, dial, update_of, websocket_url
from .conftest import FAST, Outside
from .events import Answer, StreamScreen, ask

Go = Callable[[RunningServer], Awaitable[Outside]]

BOTH = ("balances", "monitor")


async def _move(outside: Outside, user: str, count: int = 1) -> Json:
    """`count` deposits; the last one's answer."""
    return [accepted(await outside.admin.deposit(user, "1")) for _ in range(count)][-1]


async def _problem(answer: Answer, status: int, code: str) -> Json:
    problem = await answer.problem()
    check_problem(problem, status, code)
    return problem


def _bearer(outside: Outside, user: str, role: str = "user") -> dict[str, str]:
    return {"Authorization": f"Bearer {outside.server.token(user, role)}"}


async def _status(outside: Outside, user: str) -> int:
    answer = await ask(outside.server.base_url, {}, _bearer(outside, user))
    answer.hang_up()
    return answer.status


async def _ticket(outside: Outside, user: str) -> str:
    answer = await outside.caller(user).post("/v1/stream-tickets", {})
    return str(answer.json()["ticket"])


async def _texts(connection: ClientConnection, count: int) -> list[str]:
    async with asyncio.timeout(20):
        return [str(await connection.recv()) for _ in range(count)]


async def _data(answer: Answer, count: int) -> list[str]:
    told = []
    async with asyncio.timeout(20):
        async for event in answer.events():
            told.append(event.data)
            if len(told) == count:
                break
    answer.hang_up()
    return told


@pytest.mark.parametrize("filter", [{}, {"user_id": "nobody", "min_amount": "5"}])
async def test_it_brings_the_same_bytes_as_a_websocket(
    outside: Outside, filter: Mapping[str, str]
) -> None:
    token = outside.server.token("ada", "admin")
    resume = {"epoch": "", "position": await outside.admin.head()}
    resume["epoch"] = (await outside.admin.get("/v1/users/ada/balances")).json()["epoch"]
    for _ in range(3):
        accepted(await outside.admin.deposit("ada", "1", description="line\nfeed ☃\r\u2028"))
    hello = {"type": "connect", "token": token, "streams": BOTH, "resume": resume, "filter": filter}
    connection = await dial(websocket_url(outside.server.base_url))
    await connection.send(json.dumps(hello))
    query = {"streams": "balances,monitor", "resume": f"{resume['epoch']}:{resume['position']}"}
    query |= {f"filter.{name}": value for name, value in filter.items()}
    answer = await ask(outside.server.base_url, query, {"Authorization": f"Bearer {token}"})
    # `resumed`, what is replayed, and what the monitor sees of it.
    count = 4 if filter else 5
    assert await _data(answer, count) == await _texts(connection, count)
    await connection.close()


@pytest.mark.parametrize("by_header", [False, True], ids=["resume", "Last-Event-ID"])
async def test_it_goes_on_behind_its_last_event(outside: Outside, by_header: bool) -> None:
    alice = outside.new_user("alice")
    async with outside.stream(alice) as every, outside.stream(alice, mode="latest") as latest:
        every.by_header = latest.by_header = by_header
        first = await _move(outside, alice, 3)
        await every.until_shown(first["position"])
        await latest.until_position(first["position"])
        for screen in (every, latest):
            screen.vanish()
            await screen.leave()
        second = await _move(outside, alice, 3)
        await every.come_back()
        await latest.come_back()
        await every.until_shown(second["position"])
        await latest.until_position(second["position"])
        assert every.resumed is not None and every.resumed["count"] == 3
        assert len(every.updates) == 6
        assert every.balances == latest.balances == await outside.admin.balances(alice)


async def test_the_header_wins_over_the_address_and_an_unknown_epoch_begins_anew(
    outside: Outside,
) -> None:
    alice = outside.new_user("alice")
    async with outside.stream(alice) as screen:
        place = screen.resume_point
        newer = await _move(outside, alice, 2)
        await screen.until_shown(newer["position"])
    headers = _bearer(outside, alice)
    query = {"resume": f"{place['epoch']}:{newer['position']}"}
    header = {"Last-Event-ID": f"{place['epoch']}:{place['position']}"}
    (resumed,) = await _data(await ask(outside.server.base_url, query, headers | header), 1)
    assert json.loads(resumed)["count"] == 2
    header = {"Last-Event-ID": f"another:{place['position']}"}
    (init,) = await _data(await ask(outside.server.base_url, query, headers | header), 1)
    assert json.loads(init)["reason"] == "reset"


async def test_a_monitor_and_ones_own_in_one_stream(outside: Outside) -> None:
    bob = outside.new_user("bob")
    async with (
        outside.stream("ada", "admin", streams=BOTH) as both,
        outside.stream("ada", "admin", streams=("prices",)) as prices,
        outside.monitor() as monitor,
    ):
        assert prices.messages["heartbeat"] == 1
        await _move(outside, bob)
        await _move(outside, "ada")
        last = await _move(outside, bob)
        for screen in (both, monitor):
            await screen.until_position(last["position"])
        assert both.monitored[-3:] == monitor.monitored[-3:]
        assert len(both.updates) == 1


async def test_a_ticket_opens_one_stream(outside: Outside) -> None:
    alice = outside.new_user("alice")
    query = {"ticket": await _ticket(outside, alice)}
    answers = await asyncio.gather(*(ask(outside.server.base_url, query) for _ in range(6)))
    (opened,) = (answer for answer in answers if answer.status == 200)
    (init,) = await _data(opened, 1)
    assert json.loads(init)["user_id"] == alice
    for answer in answers:
        if answer is not opened:
            await _problem(answer, 401, "not_authenticated")


REFUSED: dict[str, tuple[dict[str, str], str | None, int, str, str]] = {
    "no token": ({}, None, 401, "not_authenticated", "token"),
    "a ticket that is none": ({"ticket": "x"}, "user", 401, "not_authenticated", "ticket"),
    "an unknown stream": ({"streams": "secrets"}, "user", 400, "invalid_request", "`streams"),
    "no stream": ({"streams": ""}, "user", 400, "invalid_request", "`streams"),
    "an unknown mode": ({"mode": "most"}, "user", 400, "invalid_request", "`mode`"),
    "half an id": ({"resume": "epoch"}, "user", 400, "invalid_request", "epoch:position"),
    "below zero": ({"resume": "epoch:-1"}, "user", 400, "invalid_request", "epoch:position"),
    "beyond all": ({"resume": f"e:{2**63}"}, "user", 400, "invalid_request", "out of range"),
    "an unknown filter": ({"filter.colour": "red"}, "admin", 400, "invalid_request", "colour"),
    "a user's monitor": ({"streams": "monitor"}, "user", 403, "not_allowed", "role"),
}


async def test_what_is_refused_is_a_problem(outside: Outside) -> None:
    for case, (query, role, status, code, words) in REFUSED.items():
        headers = {} if role is None else _bearer(outside, "alice", role)
        problem = await _problem(await ask(outside.server.base_url, query, headers), status, code)
        assert words in problem["detail"], case
    for method in ("HEAD", "POST", "OPTIONS"):
        answer = await ask(outside.server.base_url, {}, _bearer(outside, "alice"), method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
        answer.hang_up()


async def test_a_proxy_that_asks_in_http_1_0_gets_it_too(outside: Outside) -> None:
    headers = _bearer(outside, "alice")
    answer = await ask(outside.server.base_url, {}, headers, version="1.0")
    assert answer.headers["connection"] == "close"
    (init,) = await _data(answer, 1)
    assert json.loads(init)["type"] == "user_balance_init"


async def test_screens_of_both_kinds_are_counted_together(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with AsyncExitStack() as stack:
        screens = [
            await stack.enter_async_context(kind(alice))
            for kind in (outside.stream, outside.screen)
            for _ in range(10)
        ]
        answer = await ask(outside.server.base_url, {}, _bearer(outside, alice))
        await _problem(answer, 429, "too_many_requests")
        screens[0].vanish()
        async with asyncio.timeout(10):
            while await _status(outside, alice) != 200:
                await asyncio.sleep(0.02)


async def test_it_ends_with_its_token_or_as_it_is_revoked(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    lapsing, sent_away = outside.stream(alice), outside.stream(bob)
    lapsing.token = outside.server.token(alice, ttl=3)
    # A token of a later second than the revocation would be good again.
    revoked = _bearer(outside, bob)
    async with lapsing, sent_away:
        answer = await outside.root.post(f"/v1/admin/users/{bob}/disconnect", {})
        assert answer.status_code == 200, answer.text
        assert await sent_away.until_closed() == 4010
        answered = await ask(outside.server.base_url, {}, revoked)
        await _problem(answered, 401, "not_authenticated")
        assert await lapsing.until_closed() == 4001
        assert (lapsing.reconnect, sent_away.reconnect) == (True, False)


async def test_it_survives_a_kill_and_is_sent_home_by_a_drain(
    server: StartServer, go_outside: Go
) -> None:
    running = await server(env=FAST)
    outside = await go_outside(running)
    screens: list[StreamScreen] = [outside.stream("alice"), outside.stream("bob")]
    monitor = outside.stream("ada", "admin", streams=("monitor",))
    monitor.by_header = True
    for screen in (*screens, monitor):
        await screen.open()
    await _move(outside, "alice", 5)
    seen = await _move(outside, "bob")
    await monitor.until_position(seen["position"])
    await running.kill9()
    for screen in (*screens, monitor):
        assert await screen.until_closed() is None
    await running.restart()
    for screen in (*screens, monitor):
        await screen.come_back()
        assert screen.resumed is not None
    last = await _move(outside, "alice")
    await monitor.until_position(last["position"])
    await screens[0].until_shown(last["position"])
    assert [update["position"] for update in monitor.monitored] == list(range(1, 8))
    assert screens[0].updates[-1] == update_of(last["updates"][0])

    assert await running.terminate() == 0
    for screen in (*screens, monitor):
        assert await screen.until_closed() == 1012
        (shutdown,) = (m for m in screen.others if m["type"] == "server_shutdown")
        assert screen.retry == shutdown["reconnect_after_ms"]
        assert screen.reconnect
