"""The terminal view follows by number and by digest, and shows nothing that a terminal obeys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from tallywire.ledger.digest import GENESIS, entry_digest
from tallywire.watching import CannotWatch, DoesNotFollow, View, delay_before, watch
from websockets.asyncio.server import ServerConnection, serve

ACCOUNT = "main/alice/USD"


def _change(previous: str, seq: int, amount: int, balance: int) -> dict[str, Any]:
    digest = entry_digest(previous, ACCOUNT, seq, amount, 0, balance, 0, f"t{seq}")
    return {
        "account": ACCOUNT,
        "book": "main",
        "asset": "USD",
        "status": "active",
        "seq": seq,
        "digest": digest,
        "amount": f"{amount / 100:.2f}",
        "held_change": "0.00",
        "balance": f"{balance / 100:.2f}",
        "held": "0.00",
    }


def _update(position: int, change: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {
        "type": "balance_update",
        "epoch": "e",
        "position": position,
        "transaction_id": f"t{change['seq']}",
        "user_id": "alice",
        "change_type": "deposit",
        "description": description,
        "timestamp": "2026-11-21T09:25:37.123456Z",
        "changes": [change],
    }


def _init(*balances: dict[str, Any], position: int = 5, part: int = 1, parts: int = 1) -> Any:
    return {
        "type": "user_balance_init",
        "epoch": "e",
        "position": position,
        "user_id": "alice",
        "reason": "connect",
        "balances": list(balances),
        "part": part,
        "parts": parts,
    }


def test_a_new_view_asks_for_everything() -> None:
    message = View().connect_message("jwt")
    assert message == {"type": "connect", "token": "jwt", "streams": ["balances"]}


def test_a_monitor_carries_its_filters() -> None:
    message = View(monitor=True, filters={"asset": "USD"}).connect_message("jwt")
    assert (message["streams"], message["filter"]) == (["monitor"], {"asset": "USD"})


def test_it_resumes_where_it_stands_with_the_heads_that_it_shows() -> None:
    view = View()
    first = _change(GENESIS, 1, 500, 500)
    second = _change(first["digest"], 2, -50, 450)
    view.receive(_init(first))
    assert view.receive(_update(9, second))
    resume = view.connect_message("jwt")["resume"]
    assert resume == {
        "epoch": "e",
        "position": 9,
        "heads": {ACCOUNT: {"seq": 2, "digest": second["digest"]}},
    }


def test_only_the_last_part_of_an_init_moves_the_cursor() -> None:
    view = View()
    assert view.receive(_init(_change(GENESIS, 1, 5, 5), part=1, parts=2)) == []
    assert "resume" not in view.connect_message("jwt")
    assert view.receive(_init(part=2, parts=2))
    assert view.connect_message("jwt")["resume"]["position"] == 5


def test_a_duplicate_is_dropped() -> None:
    view = View()
    first = _change(GENESIS, 1, 500, 500)
    view.receive(_init())
    assert len(view.receive(_update(9, first))) == 1
    assert view.receive(_update(9, first)) == []


@pytest.mark.parametrize("fault", [{"seq": 3}, {"balance": "4.60"}, {"digest": "0" * 64}])
def test_an_update_that_does_not_follow_is_refused(fault: dict[str, Any]) -> None:
    view = View()
    first = _change(GENESIS, 1, 500, 500)
    view.receive(_init(first))
    with pytest.raises(DoesNotFollow):
        view.receive(_update(9, _change(first["digest"], 2, -50, 450) | fault))


def test_a_description_cannot_move_the_terminals_cursor() -> None:
    view = View()
    view.receive(_init())
    lines = view.receive(_update(9, _change(GENESIS, 1, 1, 1), "\x1b[2Jgone\x07"))
    assert all(line.isprintable() for line in lines)
    assert "gone" in lines[0]


SPOT = {
    "kind": "spot",
    "pair": "BTC-USD",
    "status": "filled",
    "side": "buy",
    "price": "64000.00",
    "base_amount": "0.00100000",
    "quote_amount": "64.00",
    "fee": "0.07",
    "price_source": "simulated",
}
OPTION = {
    "kind": "option",
    "pair": "BTC-USD",
    "status": "open",
    "direction": "up",
    "stake": "10.00",
    "payout": "8.00",
    "expires_at": "2026-11-21T09:26:37.123456Z",
    "open_price": "64000.00",
    "settle_price": None,
    "outcome": None,
    "forced": False,
    "price_source": "pushed",
    "reason": None,
}
LOST = {"status": "settled", "settle_price": "63999.99", "outcome": "lose"}
REFUNDED = {"status": "refunded", "reason": "no price of that moment\x07"}


@pytest.mark.parametrize(
    ("trade", "words"),
    [
        (SPOT, "BTC-USD buy 0.00100000 for 64.00, fee 0.07, at 64000.00 (simulated)"),
        (OPTION, "BTC-USD up from 64000.00, stake 10.00, pays 8.00, until 09:26:37"),
        (OPTION | LOST, "BTC-USD up from 64000.00, stake 10.00: lose at 63999.99"),
        (
            OPTION | LOST | {"forced": True},
            "BTC-USD up from 64000.00, stake 10.00: lose (forced) at 63999.99",
        ),
        (
            OPTION | REFUNDED,
            "BTC-USD up from 64000.00, stake 10.00: refunded, no price of that moment\ufffd",
        ),
    ],
)
def test_a_trade_is_told_below_its_update(trade: dict[str, Any], words: str) -> None:
    view = View()
    view.receive(_init())
    update = _update(9, _change(GENESIS, 1, 1, 1)) | {"trade": trade}
    first, second = view.receive(update)
    assert "main USD" in first
    assert second.strip() == words
    lost = update | {"position": 10, "changes": [], "change_type": "option_settled"}
    assert [line.split()[-1] for line in view.receive(lost)] == [
        "option_settled",
        words.split()[-1],
    ]
    assert view.connect_message("jwt")["resume"]["position"] == 10


def test_a_trading_control_is_told_to_its_user_and_to_the_monitor() -> None:
    view = View()
    view.receive(_init())
    control = {"type": "trading_control_update", "epoch": "e", "position": 7, "mode": "win"}
    told = control | {"book": "demo", "user_id": "alice"}
    assert view.receive(told) == ["-- options in demo: win from position 7 on"]
    assert view.receive(told) == []
    update = _update(7, _change(GENESIS, 1, 1, 1)) | {
        "changes": [],
        "change_type": "trading_control",
    }
    update["control"] = {"mode": "win", "book": "demo"}
    message = {"type": "admin_balance_monitor", "epoch": "e", "from": 5, "to": 7}
    (line,) = View(monitor=True).receive(message | {"updates": [update]})
    assert line.endswith("alice  trading_control  options in demo: win")


def test_unknown_messages_are_passed_over() -> None:
    assert View().receive({"type": "news"}) == []


def test_delays_double_up_to_ten_seconds_and_jitter_halves_them() -> None:
    assert [delay_before(n, 0) for n in (1, 2, 3, 50)] == [0.25, 0.5, 1.0, 10.0]
    assert delay_before(50, 1) == 5.0


async def _watch_against(script: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Watch a server that plays `script`, until it is refused for good."""
    connects: list[dict[str, Any]] = []
    shown: list[str] = []

    async def play(connection: ServerConnection) -> None:
        connects.append(json.loads(await connection.recv()))
        messages, code = script[len(connects) - 1]
        for message in messages:
            await connection.send(json.dumps(message))
        await connection.close(code)

    def show(lines: Iterable[str]) -> None:
        shown.extend(lines)

    async def token() -> str:
        return f"token-{len(connects)}"

    async with serve(play, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(CannotWatch):
            await asyncio.wait_for(
                watch(f"ws://127.0.0.1:{port}/ws", View(), token, show, jitter=lambda: 1.0), 20
            )
    return connects, shown


async def test_it_comes_back_after_a_restart_and_resumes() -> None:
    shutdown = {"type": "server_shutdown", "reconnect_after_ms": 10}
    connects, shown = await _watch_against([([_init(), shutdown], 1012), ([], 4010)])
    assert "resume" not in connects[0]
    assert connects[1]["resume"]["position"] == 5
    assert any("1012" in line for line in shown)


async def test_it_takes_everything_anew_after_an_update_that_does_not_follow() -> None:
    wrong = _update(9, _change("f" * 64, 2, 1, 1))
    connects, _ = await _watch_against([([_init(), wrong], 1012), ([], 4003)])
    assert "resume" not in connects[1]


async def test_an_expired_token_is_replaced_once() -> None:
    connects, _ = await _watch_against([([_init()], 4001), ([], 4001), ([], 4001)])
    assert [each["token"] for each in connects[:2]] == ["token-0", "token-1"]
    assert len(connects) <= 3
