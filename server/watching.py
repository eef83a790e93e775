"""A live view in the terminal: a client of the public WebSocket that follows it by number."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from .ledger.digest import GENESIS, entry_digest
from .ws import closes

_FINAL = {
    close.code: close.reason
    for close in vars(closes).values()
    if isinstance(close, closes.Close) and not close.reconnect
}
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 10.0


class CannotWatch(Exception):
    """The server refused for good; the message is one line for the operator."""


class DoesNotFollow(Exception):
    """An update does not follow what is shown: take everything anew."""


class View:
    """
    What a screen knows, without any I/O: messages go in, lines to show come out.

    It drops nothing silently: each change has to follow the one before by seq, balance and digest.
    """

    def __init__(self, *, monitor: bool = False, filters: Mapping[str, str] | None = None) -> None:
        """monitor: watch everyone (auditor and above); filters: the monitor's, by name."""
        self._monitor = monitor
        self._filters = dict(filters or {})
        self._epoch: str | None = None
        self._position = 0
        self._shown: dict[str, dict[str, Any]] = {}

    def connect_message(self, token: str) -> dict[str, Any]:
        """The first message of a connection, resuming where this view stands."""
        message: dict[str, Any] = {
            "type": "connect",
            "token": token,
            "streams": ["monitor" if self._monitor else "balances"],
        }
        if self._filters:
            message["filter"] = self._filters
        if self._epoch is not None:
            message["resume"] = {
                "epoch": self._epoch,
                "position": self._position,
                "heads": {
                    name: {"seq": balance["seq"], "digest": balance["digest"]}
                    for name, balance in self._shown.items()
                },
            }
        return message

    def forget(self) -> None:
        """Ask for everything anew at the next connection."""
        self._epoch, self._position, self._shown = None, 0, {}

    def receive(self, message: Mapping[str, Any]) -> list[str]:
        """
        Take one message; the result is what to show for it, a list of lines.

        Raises DoesNotFollow where it contradicts what is shown. Unknown types are passed over.
        """
        match message["type"]:
            case "user_balance_init":
                return self._balances(message)
            case "admin_monitor_init":
                self._move(message["epoch"], message["position"])
                return self._totals(message)
            case "resumed":
                return [
                    f"-- resumed at {message['from']}: {message['count']} missed, here they are"
                ]
            case "balance_update":
                if message["position"] <= self._position:
                    return []
                lines = self._update(message, follow=True)
                self._move(message["epoch"], message["position"])
                return lines
            case "admin_balance_monitor":
                updates = message["updates"]
                lines = [line for update in updates for line in self._update(update, follow=False)]
                self._move(message["epoch"], message["to"])
                return lines
            case "trading_control_update":
                if message["position"] <= self._position:
                    return []
                self._move(message["epoch"], message["position"])
                return [f"-- {_control_words(message)} from position {message['position']} on"]
            case "heartbeat":
                self._move(message["epoch"], message["position"])
                return []
            case "error":
                return [f"-- {_printable(message['message'])}"]
        return []

    def _move(self, epoch: str, position: int) -> None:
        self._epoch, self._position = epoch, position

    def _balances(self, message: Mapping[str, Any]) -> list[str]:
        if message["part"] == 1:
            self._shown = {}
        for balance in message["balances"]:
            self._shown[balance["account"]] = dict(balance)
        if message["part"] < message["parts"]:
            return []
        self._move(message["epoch"], message["position"])
        user = _printable(message["user_id"])
        head = f"-- {user} at position {message['position']} ({message['reason']})"
        return [head, *(_balance_line(self._shown[name]) for name in sorted(self._shown))]

    def _totals(self, message: Mapping[str, Any]) -> list[str]:
        connected = message["connected"]
        head = (
            f"-- everyone at position {message['position']}:"
            f" {connected['users']} users on {connected['connections']} connections"
        )
        totals = (
            f"   {total['book']} {total['asset']}  {total['balance']}  held {total['held']}"
            for total in message["totals"]
        )
        return [head, *totals]

    def _update(self, update: Mapping[str, Any], *, follow: bool) -> list[str]:
        moment = update["timestamp"][11:19]
        head = f"{update['position']:>8}  {moment}  {_printable(update['user_id'] or '-')}"
        kind = update["change_type"]
        text = _printable(update["description"])
        lines = []
        for change in update["changes"]:
            if follow:
                self._follow(change, update["transaction_id"])
            sign = "" if change["amount"].startswith("-") else "+"
            alert = "  LOW BALANCE" if "alert" in change else ""
            lines.append(
                f"{head}  {change['book']} {change['asset']}  {sign}{change['amount']}"
                f" = {change['balance']}  {kind}  {text}{alert}".rstrip()
            )
        if "control" in update:
            text = f"{_control_words(update['control'])}  {text}"
        lines = lines or [f"{head}  {kind}  {text}".rstrip()]
        if "trade" in update:
            lines.append(f"{'':>8}  {_trade_words(update['trade'])}")
        return lines

    def _follow(self, change: Mapping[str, Any], transaction_id: str) -> None:
        name = change["account"]
        before = self._shown.get(name)
        seq, previous = (before["seq"], before["digest"]) if before else (0, GENESIS)
        amount, held_change, balance, held = (
            _minor(change[field]) for field in ("amount", "held_change", "balance", "held")
        )
        digest = entry_digest(
            previous, name, change["seq"], amount, held_change, balance, held, transaction_id
        )
        if change["seq"] != seq + 1 or change["digest"] != digest:
            raise DoesNotFollow(f"{name}: entry {change['seq']} does not follow entry {seq}")
        self._shown[name] = dict(change)


def _minor(text: str) -> int:
    return int(text.replace(".", ""))


def _printable(text: str) -> str:
    """`text` without anything that a terminal would obey."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _control_words(control: Mapping[str, Any]) -> str:
    return f"options in {control['book']}: {control['mode']}"


def _trade_words(trade: Mapping[str, Any]) -> str:
    """A trade as it stands, in one line; a simulated price says so."""
    pair = trade["pair"]
    source = " (simulated)" if trade["price_source"] == "simulated" else ""
    if trade["kind"] == "spot":
        amounts = f"{trade['base_amount']} for {trade['quote_amount']}, fee {trade['fee']}"
        return f"{pair} {trade['side']} {amounts}, at {trade['price']}{source}"
    option = f"{pair} {trade['direction']} from {trade['open_price']}, stake {trade['stake']}"
    if trade["status"] == "open":
        return f"{option}, pays {trade['payout']}, until {trade['expires_at'][11:19]}{source}"
    forced = " (forced)" if trade["forced"] else ""
    if trade["settle_price"] is None:
        return f"{option}: {trade['status']}, {_printable(trade['reason'])}"
    return f"{option}: {trade['outcome']}{forced} at {trade['settle_price']}{source}"


def _balance_line(balance: Mapping[str, Any]) -> str:
    status = "" if balance["status"] == "active" else f"  {balance['status']}"
    held = f"  held {balance['held']}" if _minor(balance["held"]) else ""
    return f"   {balance['book']} {balance['asset']}  {balance['balance']}{held}{status}"


def delay_before(attempt: int, jitter: float) -> float:
    """
    Seconds to wait before connection attempt `attempt` (1, 2, …) after a loss.

    They double up to ten seconds; jitter: 0 to 1, takes off up to half, so that not all screens
    of a lost server come back at once.
    """
    longest = min(_LONGEST_DELAY, _FIRST_DELAY * float(2 ** min(attempt - 1, 10)))
    return longest * (1 - jitter / 2)


@dataclass
class _Ending:
    """How a connection went: its close code, the wait that the server asked for (s), any news."""

    code: int | None = None
    wait: float | None = None
    heard: bool = False


async def watch(
    url: str,
    view: View,
    token: Callable[[], Awaitable[str]],
    show: Callable[[Iterable[str]], None],
    *,
    jitter: Callable[[], float] = random.random,
) -> None:
    """
    Follow the WebSocket at `url` (ws://…/ws) until cancelled, through losses and restarts.

    token: a token, asked for again when it has expired; show: takes lines. Raises CannotWatch
    where the server refuses for good.
    """
    attempt = 0
    current = await token()
    while True:
        ending = _Ending()
        try:
            await _follow(url, view, current, show, ending)
        except DoesNotFollow as error:
            show([f"-- {error}; taking everything anew"])
            view.forget()
        except (OSError, TimeoutError, InvalidHandshake) as error:
            show([f"-- cannot reach {url}: {error}"])
        if ending.code in _FINAL:
            raise CannotWatch(_FINAL[ending.code])
        attempt = 1 if ending.heard else attempt + 1
        if ending.code == closes.NOT_AUTHENTICATED.code:
            fresh = await token()
            if fresh == current or attempt > 2:
                raise CannotWatch("the token is not valid, or no longer")
            current = fresh
        pause = delay_before(attempt, jitter()) if ending.wait is None else ending.wait
        if ending.code is not None:
            show([f"-- connection closed ({ending.code}); again in {pause:.1f} s"])
        await asyncio.sleep(pause)


async def _follow(
    url: str, view: View, token: str, show: Callable[[Iterable[str]], None], ending: _Ending
) -> None:
    async with connect(
        url,
        subprotocols=[Subprotocol("tallywire.v1")],
        compression=None,
        max_size=None,
        proxy=None,
    ) as connection:
        try:
            await connection.send(json.dumps(view.connect_message(token)))
            async for raw in connection:
                message = json.loads(raw)
                if message["type"] == "server_shutdown":
                    ending.wait = message["reconnect_after_ms"] / 1000
                    continue
                lines = view.receive(message)
                ending.heard = True
                if lines:
                    show(lines)
        except ConnectionClosed:
            pass
        ending.code = connection.close_code
