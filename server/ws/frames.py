"""Every message to a screen, encoded once and shared by all connections that it goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from ..ledger.clock import rfc3339
from ..ledger.objects import Balance, Control, Price, Total
from ..ledger.transaction_types import TRADING_CONTROL
from .messages import (
    AdminBalanceMonitor,
    AdminMonitorInit,
    BalanceLatest,
    BalanceUpdate,
    Connected,
    Error,
    Heartbeat,
    Message,
    Pong,
    Prices,
    Reason,
    Refreshed,
    Resumed,
    ServerShutdown,
    TradingControlUpdate,
    UserBalanceInit,
    type_of,
)

PART_BALANCES = 500
# A monitor's message is at most 64 KiB with its envelope.
GATHER_BYTES = 65_536 - 256
# Transactions of these types reach the user as another message than `balance_update`.
REPAIR = "repair"

# These two are not encoded but put together around what was encoded at the commit.
_UPDATE = type_of(BalanceUpdate)
_UPDATE_HEAD = b'{"type":"%b","epoch":"' % _UPDATE.encode()
_MONITOR = type_of(AdminBalanceMonitor)

_encode = msgspec.json.Encoder().encode


class _Controlled(Struct, frozen=True):
    """What is read of an UPDATE that changed how trades are decided."""

    user_id: str
    control: Control
    timestamp: str


_decode_control = msgspec.json.Decoder(_Controlled).decode


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
    reason: Reason,
    balances: Sequence[bytes],
    control: Control | None,
    server_time: datetime,
    *,
    replayed: bool = False,
    moves: bool = True,
) -> list[Frame]:
    """
    `user_balance_init` with the user's BALANCEs as of `cursor`, in parts of bounded size.

    control: the user's trading control as of `cursor`, None where none was set by then; moves:
    whether the last part moves the cursor (not where another init follows); replayed: marks the
    last part, so that one transaction counts as one replayed message.
    """
    parts = [
        balances[start : start + PART_BALANCES]
        for start in range(0, max(len(balances), 1), PART_BALANCES)
    ]
    frames = []
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        message = UserBalanceInit(
            epoch=cursor.epoch,
            position=cursor.position,
            user_id=user_id,
            reason=reason,
            balances=_encoded(part),
            control=control,
            part=number,
            parts=len(parts),
            server_time=rfc3339(server_time),
            replayed=replayed and last,
        )
        frames.append(_frame(message, cursor if moves and last else None))
    return frames


def monitor_init(
    cursor: Cursor,
    totals: Sequence[Total],
    connected: Mapping[str, int],
    recent: Sequence[bytes],
) -> Frame:
    """`admin_monitor_init`; recent: admin UPDATEs with epoch, newest first."""
    message = AdminMonitorInit(
        epoch=cursor.epoch,
        position=cursor.position,
        totals=list(totals),
        connected=Connected(**connected),
        recent=_encoded(recent),
    )
    return _frame(message, cursor)


def resumed(epoch: str, from_: int, to: int, count: int) -> Frame:
    """`resumed`: `count` replayed messages for (from_, to] follow. It moves no cursor."""
    return _frame(Resumed(epoch=epoch, from_=from_, to=to, count=count))


def update(cursor: Cursor, change_type: str, body: bytes, *, replayed: bool = False) -> Frame:
    """
    What a user is sent for a transaction at `cursor`: `balance_update`, or
    `trading_control_update` for that type. body: the user's UPDATE without epoch.
    A repair has no such message; its user gets `balance_init`.
    """
    if change_type == TRADING_CONTROL.name:
        return _trading_control(cursor, body, replayed)
    head = _UPDATE_HEAD + cursor.epoch.encode()
    head += b'","replayed":true,' if replayed else b'",'
    return Frame(_UPDATE, head + body[1:], cursor)


def balance_latest(cursor: Cursor, from_: int, balances: Mapping[str, Balance]) -> Frame:
    """`balance_latest` for (from_, cursor]; balances: of each account that changed there."""
    message = BalanceLatest(
        epoch=cursor.epoch,
        from_=from_,
        to=cursor.position,
        balances=[balance for _, balance in sorted(balances.items())],
    )
    return _frame(message, cursor)


def _trading_control(cursor: Cursor, body: bytes, replayed: bool) -> Frame:
    changed = _decode_control(body)
    message = TradingControlUpdate(
        epoch=cursor.epoch,
        position=cursor.position,
        user_id=changed.user_id,
        book=changed.control.book,
        mode=changed.control.mode,
        timestamp=changed.timestamp,
        replayed=replayed,
    )
    return _frame(message, cursor)


def monitor(cursor: Cursor, from_: int, updates: Sequence[bytes]) -> Frame:
    """`admin_balance_monitor` for (from_, cursor]; updates: admin UPDATEs with epoch."""
    data = b'{"type":"%b","epoch":"%b","from":%d,"to":%d,"updates":[%b]}' % (
        _MONITOR.encode(),
        cursor.epoch.encode(),
        from_,
        cursor.position,
        b",".join(updates),
    )
    return Frame(_MONITOR, data, cursor)


def prices(newest: Sequence[Price]) -> Frame:
    """`prices`: of some pairs the newest one. It moves no cursor."""
    return _frame(Prices(prices=list(newest)))


def heartbeat(cursor: Cursor, server_time: datetime) -> Frame:
    """`heartbeat`: the connection's cursor."""
    message = Heartbeat(
        epoch=cursor.epoch, position=cursor.position, server_time=rfc3339(server_time)
    )
    return _frame(message, cursor)


def refreshed(expires_at: datetime) -> Frame:
    """`refreshed`: until when the new token lets the connection be."""
    return _frame(Refreshed(expires_at=rfc3339(expires_at)))


def pong(req_id: Any) -> Frame:
    """`pong`; req_id: that of the ping, None where it had none."""
    return _frame(Pong(req_id=req_id))


def error(code: str, message: str, req_id: Any = None) -> Frame:
    """`error`: a message that was refused, while the connection stays."""
    return _frame(Error(code=code, message=message, req_id=req_id))


def server_shutdown(reconnect_after_ms: int) -> Frame:
    """`server_shutdown`: the server goes; come back after that many milliseconds."""
    return _frame(ServerShutdown(reconnect_after_ms=reconnect_after_ms))


def _frame(message: Message, cursor: Cursor | None = None) -> Frame:
    return Frame(type_of(type(message)), _encode(message), cursor)


def _encoded(objects: Sequence[bytes]) -> Any:
    """Stands in a message for the objects that are JSON already."""
    return [Raw(each) for each in objects]
