"""Sessions: tokens that end, tickets, being sent away, heartbeats, and a server that goes down."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ..conftest import StartServer
from ..services.server import RunningServer
from .client import Json, Screen, accepted, dial, refused, update_of, websocket_url
from .conftest import FAST, Outside

Go = Callable[[RunningServer], Awaitable[Outside]]


async def _closed(connection: ClientConnection, within: float = 10) -> int:
    """The close code."""
    try:
        async with asyncio.timeout(within):
            while True:
                await connection.recv()
    except ConnectionClosed as closed:
        assert closed.rcvd is not None, "closed without a word"
        return closed.rcvd.code
    finally:
        await connection.close()


async def _said(connection: ClientConnection, kind: str) -> Json:
    """The next message of this type."""
    async with asyncio.timeout(10):
        while True:
            message: Json = json.loads(await connection.recv())
            if message["type"] == kind:
                return message


async def test_ping_is_answered(outside: Outside) -> None:
    async with outside.screen(outside.new_user()) as screen:
        await screen.send({"type": "ping", "req_id": 41})
        await screen.send({"type": "ping"})
        await screen.until(lambda: screen.messages["pong"] == 2)
        assert screen.others[-2:] == [{"type": "pong", "req_id": 41}, {"type": "pong"}]


async def test_a_token_that_ends_ends_its_session_unless_refreshed(outside: Outside) -> None:
    alice = outside.new_user("alice")
    short = outside.server.token(alice, ttl=3)
    lapsing, kept = outside.screen(alice), outside.screen(alice)
    lapsing.token = kept.token = short
    async with lapsing, kept:
        longer = outside.server.token(alice, ttl=600)
        await kept.send({"type": "refresh", "token": longer})
        await kept.until(lambda: kept.messages["refreshed"] == 1)
        (refreshed,) = (message for message in kept.others if message["type"] == "refreshed")
        assert refreshed["expires_at"].endswith("Z")
        assert await lapsing.until_closed(within=10) == 4001
        answer = accepted(await outside.admin.deposit(alice, "1"))
        await kept.until_shown(answer["position"])
        caller = outside.caller(alice)
        caller.token = short
        refused(await caller.get("/v1/users/me/balances"), 401, "not_authenticated")


@pytest.mark.parametrize("token", ["another user's", "nonsense", "expired"])
async def test_a_bad_refresh_never_prolongs_or_changes_a_session(
    outside: Outside, token: str
) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    given = {
        "another user's": outside.server.token(bob),
        "nonsense": "nonsense",
        "expired": outside.server.token(alice, ttl=-60),
    }[token]
    async with outside.screen(alice) as screen:
        await screen.send({"type": "refresh", "token": given})
        await screen.until(
            lambda: screen.messages["error"] == 1 or screen.close_code is not None,
            what="an error or the end",
        )
        assert screen.messages["refreshed"] == 0
        assert screen.close_code in (None, 4001)
        accepted(await outside.admin.deposit(bob, "1"))
        if screen.close_code is None:
            answer = accepted(await outside.admin.deposit(alice, "1"))
            await screen.until_shown(answer["position"])


async def test_the_token_may_come_with_the_upgrade(outside: Outside) -> None:
    alice = outside.new_user("alice")
    headers = {"Authorization": f"Bearer {outside.server.token(alice)}"}
    connection = await dial(
        websocket_url(outside.server.base_url), headers=headers, subprotocol=None
    )
    assert connection.subprotocol is None
    await connection.send('{"type":"connect","streams":["balances"]}')
    init = await _said(connection, "user_balance_init")
    assert init["user_id"] == alice
    await connection.close()


async def test_the_subprotocol_is_chosen_where_it_is_offered(outside: Outside) -> None:
    connection = await dial(websocket_url(outside.server.base_url))
    assert connection.subprotocol == "tallywire.v1"
    await connection.close()


async def _ticket(outside: Outside, user: str, token: str | None = None) -> str:
    caller = outside.caller(user)
    caller.token = token or caller.token
    answer = await caller.post("/v1/stream-tickets", {})
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_at"].endswith("Z")
    return str(answer.json()["ticket"])


async def test_a_ticket_connects_once_and_does_nothing_else(outside: Outside) -> None:
    alice = outside.new_user("alice")
    ticket = await _ticket(outside, alice)
    caller = outside.caller(alice)
    caller.token = ticket
    refused(await caller.get("/v1/users/me/balances"), 401, "not_authenticated")

    address = f"{websocket_url(outside.server.base_url)}?ticket={ticket}"
    hello = '{"type":"connect","streams":["balances"]}'
    first = await dial(address)
    await first.send(hello)
    assert (await _said(first, "user_balance_init"))["user_id"] == alice
    second = await dial(address)
    await second.send(hello)
    assert await _closed(second) == 4001
    await first.send('{"type":"ping"}')
    await _said(first, "pong")
    await first.close()


async def test_one_of_two_at_once_gets_the_ticket(outside: Outside) -> None:
    ticket = await _ticket(outside, outside.new_user("alice"))
    address = f"{websocket_url(outside.server.base_url)}?ticket={ticket}"

    async def enter() -> str:
        connection = await dial(address)
        try:
            await connection.send('{"type":"connect","streams":["balances"]}')
            return str(json.loads(await connection.recv())["type"])
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return str(closed.rcvd.code)
        finally:
            await connection.close()

    entered = await asyncio.gather(*(enter() for _ in range(8)))
    assert entered.count("user_balance_init") == 1, entered


async def test_a_tickets_session_ends_with_the_parent_token(outside: Outside) -> None:
    alice = outside.new_user("alice")
    ticket = await _ticket(outside, alice, outside.server.token(alice, ttl=3))
    connection = await dial(f"{websocket_url(outside.server.base_url)}?ticket={ticket}")
    await connection.send('{"type":"connect","streams":["balances"]}')
    await _said(connection, "user_balance_init")
    assert await _closed(connection) == 4001


async def test_who_is_disconnected_needs_a_new_token(
    server: StartServer, go_outside: Go, database_url: str
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    caller = outside.caller(alice)
    ticket = await _ticket(outside, alice)
    screens = [outside.screen(alice), outside.screen(alice)]
    async with screens[0], screens[1], outside.screen(bob) as at_bob:
        answer = await outside.root.post(f"/v1/admin/users/{alice}/disconnect", {})
        assert answer.status_code == 200, answer.text
        for screen in screens:
            assert await screen.until_closed() == 4010
        paid = accepted(await outside.admin.deposit(bob, "1"))
        await at_bob.until_shown(paid["position"])

    for _ in range(2):
        refused(await caller.get("/v1/users/me/balances"), 401, "not_authenticated")
        connection = await dial(websocket_url(running.base_url))
        await connection.send(
            json.dumps({"type": "connect", "token": caller.token, "streams": ["balances"]})
        )
        assert await _closed(connection) in (4001, 4010)
        connection = await dial(f"{websocket_url(running.base_url)}?ticket={ticket}")
        await connection.send('{"type":"connect","streams":["balances"]}')
        assert await _closed(connection) in (4001, 4010)
        await running.restart()

    async with asyncio.timeout(5):
        while (await outside.caller(alice).get("/v1/users/me/balances")).status_code == 401:
            await asyncio.sleep(0.1)
    async with outside.screen(alice) as again:
        assert again.init is not None


async def _says_nothing(outside: Outside) -> float:
    """For how many seconds the server bears that."""
    began = time.monotonic()
    connection = await dial(websocket_url(outside.server.base_url))
    assert await _closed(connection) == 4002
    return time.monotonic() - began


async def test_heartbeats_carry_the_cursor_and_silence_is_not_waited_for(
    outside: Outside,
) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    began = time.monotonic()
    silent = asyncio.create_task(_says_nothing(outside))
    async with (
        outside.screen(alice) as at_alice,
        outside.monitor() as monitor,
        outside.monitor(filter={"user_id": alice}) as filtered,
        outside.monitor(streams=("prices",)) as prices,
    ):
        assert prices.messages["heartbeat"] >= 1, "prices alone begin with one"
        for _ in range(5):
            others = accepted(await outside.admin.deposit(bob, "1"))
        await monitor.until_position(others["position"])
        for screen in (at_alice, monitor, filtered):
            await screen.until(
                lambda screen=screen: screen.messages["heartbeat"] >= 1,  # type: ignore[misc]
                within=20,
                what="a heartbeat",
            )
            assert screen.cursor == others["position"], "others' changes are examined too"
        assert 10 < time.monotonic() - began < 20
        assert 4 < await silent < 8, "no connect is waited for five seconds"
        await at_alice.leave()
        own = accepted(await outside.admin.deposit(alice, "1"))
        await at_alice.come_back()
        await at_alice.until_shown(own["position"])
        assert at_alice.resumed is not None
        assert at_alice.resumed["from"] == others["position"]
        assert at_alice.resumed["count"] == 1


async def test_pause_refuses_changes_and_reads_go_on(outside: Outside) -> None:
    alice = outside.new_user("alice")
    first = accepted(await outside.admin.deposit(alice, "1", key=alice))
    async with outside.screen(alice) as screen:
        assert (await outside.root.post("/v1/admin/pause", {})).status_code == 200
        try:
            refused(await outside.admin.deposit(alice, "1"), 503, "paused")
            item = {"operation": "deposit", "user_id": alice, "asset": "USDT", "amount": "1"}
            refused(await outside.admin.batch([item], atomic=True), 503, "paused")
            again = await outside.admin.deposit(alice, "1", key=alice)
            assert again.status_code in (201, 503)
            assert await outside.admin.balances(alice) == screen.balances
            assert await outside.admin.head() == first["position"]
        finally:
            assert (await outside.root.post("/v1/admin/resume", {})).status_code == 200
        after = accepted(await outside.admin.deposit(alice, "1"))
        assert after["position"] == first["position"] + 1
        await screen.until_shown(after["position"])


async def test_a_server_that_drains_misses_nothing(
    server: StartServer, go_outside: Go, database_url: str
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    users = [outside.new_user() for _ in range(6)]
    screens = [outside.screen(user) for user in users]
    monitor = outside.monitor()
    answers: list[Json] = []

    async def write(user: str) -> None:
        """Until the server is gone: what was answered with 201 has happened."""
        while True:
            try:
                answer = await outside.admin.deposit(user, "1")
            except Exception:
                return
            if answer.status_code != 201:
                assert answer.status_code == 503, answer.text
                return
            answers.append(accepted(answer))

    for screen in (*screens, monitor):
        await screen.open()
    writers = [asyncio.create_task(write(user)) for user in users]
    await monitor.until(lambda: len(monitor.monitored) > 100, what="a hundred changes")
    assert await running.terminate() == 0
    async with asyncio.timeout(10):
        await asyncio.gather(*writers)
    for screen in (*screens, monitor):
        assert await screen.until_closed() == 1012
        (shutdown,) = (m for m in screen.others if m["type"] == "server_shutdown")
        assert shutdown["reconnect_after_ms"] >= 0

    await running.restart()
    await asyncio.gather(*(screen.come_back() for screen in (*screens, monitor)))
    head = await outside.admin.head()
    assert head == len(answers)
    await monitor.until_position(head)
    seen = [update_of(update) for update in monitor.monitored]
    assert [update["position"] for update in seen] == list(range(1, head + 1))
    for user, screen in zip(users, screens, strict=True):
        last = [update for update in seen if update["user_id"] == user]
        await screen.until_shown(last[-1]["position"])
        assert screen.updates == last
        assert screen.balances == await outside.admin.balances(user)
    for screen in (*screens, monitor):
        await screen.leave()


async def test_an_unnamed_reader_sees_only_its_own(outside: Outside) -> None:
    """Users that share a server share no message: each screen's owner is checked by the client."""
    users = [outside.new_user() for _ in range(10)]
    screens: list[Screen] = [outside.screen(user) for user in users]
    for screen in screens:
        await screen.open()
    items = [
        {"operation": "deposit", "user_id": users[n % 10], "asset": "USDT", "amount": "1"}
        for n in range(200)
    ]
    last = (await outside.admin.batch(items)).json()["results"][-1]["position"]
    for number, screen in enumerate(screens):
        await screen.until_shown(last - 9 + number)
        assert len(screen.updates) == 20
        await screen.leave()
