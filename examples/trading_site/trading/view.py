"""What a screen knows, from the messages of Tallywire's WebSocket. Pure: no socket, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

Json = dict[str, Any]
Stream = Literal["balances", "monitor"]

_FIRST_DIGEST = "0" * 64


class DoesNotFollow(Exception):
    """A message does not follow what is known, so something is missing or wrong: begin anew."""


class View:
    """
    One user's balances, or with the stream `monitor` everybody's changes.

    Each change must follow the account's entry before it by seq, balance and digest; a monitor,
    which is not told of all balances first, checks an account from the first entry that it sees.

    balances: by account, as shown now. updates: all that were shown, in order. checked: how many
    entries were held against the one before them.
    """

    def __init__(self, stream: Stream = "balances") -> None:
        self.stream = stream
        self.balances: dict[str, Json] = {}
        self.updates: list[Json] = []
        self.checked = 0
        self._epoch: str | None = None
        self._position = 0

    @property
    def ready(self) -> bool:
        """Whether it has its beginning."""
        return self._epoch is not None

    @property
    def position(self) -> int:
        """Up to here everything has been shown, and from here a lost connection goes on."""
        return self._position

    def connect_message(self, token: str) -> Json:
        """The first message of a connection."""
        message: Json = {"type": "connect", "token": token, "streams": [self.stream]}
        if self.ready:
            message["resume"] = {"epoch": self._epoch, "position": self._position}
            if self.stream == "balances":
                message["resume"]["heads"] = {
                    account: {"seq": balance["seq"], "digest": balance["digest"]}
                    for account, balance in self.balances.items()
                }
        return message

    def forget(self) -> None:
        """Ask for everything anew at the next connection."""
        self._epoch, self._position, self.balances = None, 0, {}

    def receive(self, message: Mapping[str, Any]) -> list[Json]:
        """Take a message; the updates that it brought. Raises DoesNotFollow."""
        match message["type"]:
            case "user_balance_init":
                if message["part"] == 1:
                    self.balances = {}
                self.balances |= {each["account"]: each for each in message["balances"]}
                if message["part"] == message["parts"]:
                    self._epoch, self._position = message["epoch"], message["position"]
            case "admin_monitor_init":
                self.balances = {}
                self._epoch, self._position = message["epoch"], message["position"]
            case "balance_update":
                return self._show([dict(message)], message["epoch"], message["position"])
            case "admin_balance_monitor":
                if message["from"] != self._position:
                    raise DoesNotFollow(f"{message['from']} does not follow {self._position}")
                return self._show(message["updates"], message["epoch"], message["to"])
            case "heartbeat" | "trading_control_update":
                return self._show([], message["epoch"], message["position"])
        return []

    def _show(self, updates: list[Json], epoch: str, position: int) -> list[Json]:
        if epoch != self._epoch or position < self._position:
            raise DoesNotFollow(f"{position} of {epoch} after {self._position} of {self._epoch}")
        for update in updates:
            for change in update["changes"]:
                self._follow(change, update["transaction_id"])
        self.updates += updates
        self._position = position
        return updates

    def _follow(self, change: Json, transaction_id: str) -> None:
        account, seq = change["account"], change["seq"]
        known = self.balances.get(account)
        if known is not None or seq == 1 or self.stream == "balances":
            before, previous, balance = (
                (known["seq"], known["digest"], _minor(known["balance"]))
                if known is not None
                else (0, _FIRST_DIGEST, 0)
            )
            follows = (
                seq == before + 1
                and _minor(change["balance_before"]) == balance
                and _minor(change["balance"]) == balance + _minor(change["amount"])
                and change["digest"] == _digest(previous, change, transaction_id)
            )
            if not follows:
                raise DoesNotFollow(f"{account}: entry {seq} does not follow entry {before}")
            self.checked += 1
        self.balances[account] = change


def _digest(previous: str, change: Json, transaction_id: str) -> str:
    amounts = (_minor(change[name]) for name in ("amount", "held_change", "balance", "held"))
    fields = (previous, change["account"], change["seq"], *amounts, transaction_id)
    return hashlib.sha256("|".join(map(str, fields)).encode("ascii")).hexdigest()


def _minor(amount: str) -> int:
    return int(amount.replace(".", ""))
