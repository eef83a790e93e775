"""What a screen of the trading site takes from the WebSocket, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trading.screens import Screen
from trading.view import DoesNotFollow, View
from websockets.asyncio.server import ServerConnection, serve

_BEGIN = {
    "type": "user_balance_init",
    "epoch": "e",
    "position": 7,
    "balances": [],
    "part": 1,
    "parts": 1,
}
# Entry 1 of the account, from the contract's formula.
_DIGEST = "716d88dcb26e62f9f8e0a97b56aca95c730a277d155071834af3f81abd79098c"
_CHANGE = {
    "account": "main/ann/COIN",
    "seq": 1,
    "amount": "5",
    "held_change": "0",
    "balance_before": "0",
    "balance": "5",
    "held": "0",
    "digest": _DIGEST,
}
_UPDATE = {"type": "balance_update", "epoch": "e", "position": 9, "transaction_id": "t"}


async def test_a_screen_begins_anew_where_something_does_not_follow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hellos: list[dict[str, Any]] = []

    async def tell(socket: ServerConnection) -> None:
        hellos.append(json.loads(await socket.recv()))
        good = {**_UPDATE, "changes": [_CHANGE]}
        wrong = {**_UPDATE, "changes": [{**_CHANGE, "digest": "f" * 64}]}
        for message in (_BEGIN, good if len(hellos) > 1 else wrong):
            await socket.send(json.dumps(message))
        await socket.wait_closed()

    async def token() -> str:
        return f"token-{len(hellos)}"

    async with serve(tell, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Screen(url, View(), token) as screen:
            await screen.until(9)
            assert screen.view.balances["main/ann/COIN"]["balance"] == "5"
    assert [hello.get("resume") for hello in hellos] == [None, None]
    assert [hello["token"] for hello in hellos] == ["token-0", "token-1"]
    assert "entry 1 does not follow entry 0: taking everything anew" in caplog.text


def test_a_view_takes_what_follows() -> None:
    view = View()
    view.receive(_BEGIN)
    update = {**_UPDATE, "changes": [_CHANGE]}
    assert view.receive(update) == [update]
    assert (view.checked, view.position) == (1, 9)
    assert view.connect_message("token")["resume"] == {
        "epoch": "e",
        "position": 9,
        "heads": {"main/ann/COIN": {"seq": 1, "digest": _DIGEST}},
    }


@pytest.mark.parametrize(
    "forged",
    [
        {"seq": 2},
        {"digest": "0" * 64},
        {"amount": "6"},
        {"balance": "6"},
        {"balance_before": "1"},
        {"held": "1"},
    ],
    ids=str,
)
def test_a_view_does_not_take_what_does_not_follow(forged: dict[str, Any]) -> None:
    view = View()
    view.receive(_BEGIN)
    with pytest.raises(DoesNotFollow):
        view.receive({**_UPDATE, "changes": [{**_CHANGE, **forged}]})
    assert (view.updates, view.position) == ([], 7)


@pytest.mark.parametrize("wrong", [{"from": 8}, {"from": 6}, {"epoch": "f"}, {"to": 6}], ids=str)
def test_a_monitor_notices_a_hole(wrong: dict[str, Any]) -> None:
    message = {"type": "admin_balance_monitor", "epoch": "e", "from": 7, "to": 9, "updates": []}
    view = View("monitor")
    view.receive({"type": "admin_monitor_init", "epoch": "e", "position": 7})
    with pytest.raises(DoesNotFollow):
        view.receive({**message, **wrong})
    assert view.receive(message) == []
    assert view.position == 9
