"""Every message to a screen, encoded once and shared by all connections that it goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from ..ledger.clock import rfc3339

PART_BALANCES = 500
# A monitor's message is at most 64 KiB with its envelope.
GATHER_BYTES = 65_536 - 256
# Transactions of these types reach the user as another message than `balance_update`.
REPAIR = "repair"
TRADING_CONTROL = "trading_control"
SERVER_SHUTDOWN = "server_shutdown"
# What a CHANGE has beyond the BALANCE that it leaves.
_ONLY_CHANGE = frozenset(("amount", "held_change", "balance_before", "alert"))

_encode = msgspec.json.Encoder().encode


class Cursor(NamedTuple):
    """Up to where a connection was told everything: a position of the journal of an epoch."""

    epoch: str
    position: int


class Frame(Struct, frozen=True, gc=False):
    """One message: its type, its JSON, and the cursor that it moves the connection to, if any."""

    type: str
    data: bytes
    cursor: Cursor | None = None

    def unmoving(self) -> Frame:
        """The same message where it does not move the cursor."""
        return self if self.cursor is None else Frame(self.type, self.data)


def balance_init(
    cursor: Cursor,
    user_id: str,
    reason: str,
    balances: Sequence[bytes],
    server_time: datetime,
    *,
    replayed: bool = False,
    moves: bool = True,
) -> list[Frame]:
    """
    `user_balance_init` with the user's BALANCEs as of `cursor`, in parts of bounded size.

    moves: whether the last part moves the cursor (not where another init follows); replayed:
    marks the last part, so that one transaction counts as one replayed message.
    """
    parts = [
        balances[start : start + PART_BALANCES]
        for start in range(0, max(len(balances), 1), PART_BALANCES)
    ]
    frames = []
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        message: dict[str, Any] = {
            "type": "user_balance_init",
            "epoch": cursor.epoch,
            "position": cursor.position,
            "user_id": user_id,
            "reason": reason,
            "balances": [Raw(balance) for balance in part],
            "control": None,
            "part": number,
            "parts": len(parts),
            "server_time": rfc3339(server_time),
        }
        if replayed and last:
            message["replayed"] = True
        moved = cursor if moves and last else None
        frames.append(Frame("user_balance_init", _encode(message), moved))
    return frames


def monitor_init(
    cursor: Cursor,
    totals: Sequence[Mapping[str, Any]],
    connected: Mapping[str, int],
    recent: Sequence[bytes],
) -> Frame:
    """`admin_monitor_init`; recent: admin UPDATEs with epoch, newest first."""
    message = {
        "type": "admin_monitor_init",
        "epoch": cursor.epoch,
        "position": cursor.position,
        "totals": totals,
        "connected": connected,
        "recent": [Raw(update) for update in recent],
    }
    return Frame("admin_monitor_init", _encode(message), cursor)


def resumed(epoch: str, from_: int, to: int, count: int) -> Frame:
    """`resumed`: `count` replayed messages for (from_, to] follow. It moves no cursor."""
    message = {"type": "resumed", "epoch": epoch, "from": from_, "to": to, "count": count}
    return Frame("resumed", _encode(message))


def update(cursor: Cursor, change_type: str, body: bytes, *, replayed: bool = False) -> Frame:
    """
    What a user is sent for a transaction at `cursor`: `balance_update`, or
    `trading_control_update` for that type. body: the user's UPDATE without epoch.
    A repair has no such message; its user gets `balance_init`.
    """
    if change_type == TRADING_CONTROL:
        return _trading_control(cursor, body, replayed)
    head = b'{"type":"balance_update","epoch":"' + cursor.epoch.encode()
    head += b'","replayed":true,' if replayed else b'",'
    return Frame("balance_update", head + body[1:], cursor)


def balance_latest(cursor: Cursor, from_: int, changes: Mapping[str, Mapping[str, Any]]) -> Frame:
    """`balance_latest` for (from_, cursor]; changes: the last CHANGE of each account there."""
    message = {
        "type": "balance_latest",
        "epoch": cursor.epoch,
        "from": from_,
        "to": cursor.position,
        "balances": [
            {name: value for name, value in change.items() if name not in _ONLY_CHANGE}
            for _, change in sorted(changes.items())
        ],
    }
    return Frame("balance_latest", _encode(message), cursor)


def _trading_control(cursor: Cursor, body: bytes, replayed: bool) -> Frame:
    changed = msgspec.json.decode(body)
    message = {
        "type": "trading_control_update",
        "epoch": cursor.epoch,
        "position": cursor.position,
        "user_id": changed["user_id"],
        "book": changed["control"]["book"],
        "mode": changed["control"]["mode"],
        "timestamp": changed["timestamp"],
    }
    if replayed:
        message["replayed"] = True
    return Frame("trading_control_update", _encode(message), cursor)


def monitor(cursor: Cursor, from_: int, updates: Sequence[bytes]) -> Frame:
    """`admin_balance_monitor` for (from_, cursor]; updates: admin UPDATEs with epoch."""
    data = b'{"type":"admin_balance_monitor","epoch":"%b","from":%d,"to":%d,"updates":[%b]}' % (
        cursor.epoch.encode(),
        from_,
        cursor.position,
        b",".join(updates),
    )
    return Frame("admin_balance_monitor", data, cursor)


def heartbeat(cursor: Cursor, server_time: datetime) -> Frame:
    """`heartbeat`: the connection's cursor."""
    message = {
        "type": "heartbeat",
        "epoch": cursor.epoch,
        "position": cursor.position,
        "server_time": rfc3339(server_time),
    }
    return Frame("heartbeat", _encode(message), cursor)


def refreshed(expires_at: datetime) -> Frame:
    """`refreshed`: until when the new token lets the connection be."""
    return Frame("refreshed", _encode({"type": "refreshed", "expires_at": rfc3339(expires_at)}))


def pong(req_id: Any) -> Frame:
    """`pong`; req_id: that of the ping, None where it had none."""
    return Frame("pong", _encode(_with_req_id({"type": "pong"}, req_id)))


def error(code: str, message: str, req_id: Any = None) -> Frame:
    """`error`: a message that was refused, while the connection stays."""
    refused = {"type": "error", "code": code, "message": message}
    return Frame("error", _encode(_with_req_id(refused, req_id)))


def server_shutdown(reconnect_after_ms: int) -> Frame:
    """`server_shutdown`: the server goes; come back after that many milliseconds."""
    message = {"type": SERVER_SHUTDOWN, "reconnect_after_ms": reconnect_after_ms}
    return Frame(SERVER_SHUTDOWN, _encode(message))


def _with_req_id(message: dict[str, Any], req_id: Any) -> dict[str, Any]:
    if req_id is not None:
        message["req_id"] = req_id
    return message
