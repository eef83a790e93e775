"""What the WebSocket refuses, as tables: the right close code, and nothing has changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .client import Json, accepted, dial, websocket_url
from .conftest import Outside
from .test_refused_requests import nothing_changes


async def _socket(outside: Outside, headers: dict[str, str] | None = None) -> ClientConnection:
    return await dial(websocket_url(outside.server.base_url), headers=headers)


async def _closed(connection: ClientConnection, within: float = 10) -> tuple[int, list[Json]]:
    """The close code, and what was said before."""
    said = []
    try:
        while True:
            said.append(json.loads(await connection.recv()))
    except ConnectionClosed as closed:
        assert closed.rcvd is not None, "closed without a word"
        return closed.rcvd.code, said
    finally:
        await connection.close()


def _hello(outside: Outside, user: str, role: str = "user", **changes: Any) -> Json:
    token = outside.server.token(user, role)
    return {"type": "connect", "token": token, "streams": ["balances"], **changes}


FIRST: dict[str, tuple[str | bytes, int]] = {
    "a frame of 70,000 characters": ('{"type":"connect","token":"' + "x" * 70_000 + '"}', 1009),
    "a binary frame": (b'{"type":"connect"}', 4002),
    "not JSON": ("hello", 4002),
    "half an object": ('{"type":', 4002),
    "a list": ("[]", 4002),
    "a number": ("7", 4002),
    "null": ("null", 4002),
    "nothing": ("", 4002),
    "brackets": ("[" * 60_000, 4002),
    "another type first": ('{"type":"ping"}', 4002),
    "no type": ('{"token":"x"}', 4002),
    "a type that is a number": ('{"type":1}', 4002),
    "no token": ('{"type":"connect","streams":["balances"]}', 4001),
    "a wrong token": ('{"type":"connect","token":"nonsense","streams":["balances"]}', 4001),
}


@pytest.mark.parametrize("case", FIRST)
async def test_a_first_message_is_refused(outside: Outside, case: str) -> None:
    message, code = FIRST[case]
    async with nothing_changes(outside):
        connection = await _socket(outside)
        await connection.send(message)
        closed, said = await _closed(connection)
        assert closed == code
        assert all(message["type"] == "error" for message in said)


BAD_CONNECTS: dict[str, tuple[Json, int]] = {
    "a token that is a number": ({"token": 7}, 4002),
    "an unknown stream": ({"streams": ["balances", "secrets"]}, 4002),
    "streams is a text": ({"streams": "balances"}, 4002),
    "no streams": ({"streams": []}, 4002),
    "an unknown mode": ({"mode": "sometimes"}, 4002),
    "resume is a list": ({"resume": []}, 4002),
    "resume without a position": ({"resume": {"epoch": "x"}}, 4002),
    "resume with a text as its position": ({"resume": {"epoch": "x", "position": "1"}}, 4002),
    "resume below zero": ({"resume": {"epoch": "x", "position": -1}}, 4002),
    "heads is a list": ({"resume": {"epoch": "x", "position": 1, "heads": []}}, 4002),
    "a head is a text": ({"resume": {"epoch": "x", "position": 1, "heads": {"a": "b"}}}, 4002),
    "filter is a text": ({"streams": ["balances"], "filter": "all"}, 4002),
    "a user asks for the monitor": ({"streams": ["monitor"]}, 4003),
    "a user asks for both": ({"streams": ["balances", "monitor"]}, 4003),
}


@pytest.mark.parametrize("case", BAD_CONNECTS)
async def test_a_connect_is_refused(outside: Outside, case: str) -> None:
    changes, code = BAD_CONNECTS[case]
    connection = await _socket(outside)
    await connection.send(json.dumps(_hello(outside, "alice", **changes)))
    closed, said = await _closed(connection)
    assert closed == code
    assert all(message["type"] == "error" for message in said)


BAD_TOKENS: dict[str, dict[str, Any]] = {
    "expired": {"ttl": -60},
    "an unknown role": {"role": "god"},
    "a system account": {"user": "@world"},
}


@pytest.mark.parametrize("case", BAD_TOKENS)
async def test_a_token_is_refused_with_4001(outside: Outside, case: str) -> None:
    token = outside.server.token(**{"user": "alice", **BAD_TOKENS[case]})
    connection = await _socket(outside)
    await connection.send(json.dumps({"type": "connect", "token": token, "streams": ["balances"]}))
    closed, _ = await _closed(connection)
    assert closed == 4001


BAD_UPGRADES: dict[str, tuple[str, dict[str, str]]] = {
    "a token that is none": ("", {"Authorization": "Bearer nonsense"}),
    "another scheme": ("", {"Authorization": "Basic YTpi"}),
    "a ticket that is none": ("?ticket=nonsense", {}),
}


@pytest.mark.parametrize("case", BAD_UPGRADES)
async def test_a_bad_upgrade_is_refused_in_answer_to_connect(outside: Outside, case: str) -> None:
    query, headers = BAD_UPGRADES[case]
    address = websocket_url(outside.server.base_url) + query
    # Whoever does not begin with connect is told that, so the close was still to come.
    for message, code in (({"type": "ping"}, 4002), (_hello(outside, "alice"), 4001)):
        connection = await dial(address, headers=headers)
        await connection.send(json.dumps(message))
        assert await _closed(connection) == (code, [])


async def test_a_bad_monitor_filter_is_refused(outside: Outside) -> None:
    for filter in ({"colour": "red"}, {"min_amount": "much"}, {"min_amount": 5}):
        connection = await _socket(outside)
        hello = _hello(outside, "ada", "admin", streams=["monitor"], filter=filter)
        await connection.send(json.dumps(hello))
        closed, _ = await _closed(connection)
        assert closed == 4002, filter


LATER: dict[str, tuple[str | bytes, int]] = {
    "a second connect": ("connect", 4002),
    "a binary frame": (b"{}", 4002),
    "not JSON": ("hello", 4002),
    "a list": ("[]", 4002),
    "a frame of 70,000 characters": (json.dumps({"type": "ping", "x": "x" * 70_000}), 1009),
}


@pytest.mark.parametrize("case", LATER)
async def test_a_later_message_closes(outside: Outside, case: str) -> None:
    message, code = LATER[case]
    async with nothing_changes(outside):
        connection = await _socket(outside)
        await connection.send(json.dumps(_hello(outside, "alice")))
        assert json.loads(await connection.recv())["type"] == "user_balance_init"
        if message == "connect":
            message = json.dumps(_hello(outside, "alice"))
        await connection.send(message)
        closed, _ = await _closed(connection)
        assert closed == code


async def test_an_unknown_type_is_answered_and_the_connection_stays(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.screen(alice) as screen:
        for message in ({"type": "dance", "req_id": 5}, {"type": "balance_update"}, {"type": ""}):
            await screen.send(message)
        await screen.until(lambda: screen.messages["error"] == 3, what="three errors")
        first = next(message for message in screen.others if message["type"] == "error")
        assert first["req_id"] == 5 and first["code"] and first["message"]
        answer = accepted(await outside.admin.deposit(alice, "1"))
        await screen.until_shown(answer["position"])


async def test_a_twenty_first_connection_is_too_many(outside: Outside) -> None:
    alice = outside.new_user("alice")
    screens = [outside.screen(alice) for _ in range(20)]
    try:
        for screen in screens:
            await screen.open()
        connection = await _socket(outside)
        await connection.send(json.dumps(_hello(outside, alice)))
        closed, _ = await _closed(connection)
        assert closed == 4009
        async with outside.screen(outside.new_user("bob")):
            answer = accepted(await outside.admin.deposit(alice, "1"))
            for screen in screens:
                await screen.until_shown(answer["position"])
        await screens.pop().leave()
        replacement = outside.screen(alice)
        screens.append(replacement)
        await replacement.open()
    finally:
        for screen in screens:
            await screen.leave()
