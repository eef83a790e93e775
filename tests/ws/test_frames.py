"""What goes out, to the byte; and that it is of its form, also where it is put together."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from tallywire.ledger.objects import Balance, Control, Price, Total
from tallywire.ledger.updates import with_epoch
from tallywire.ws import frames
from tallywire.ws.frames import Cursor, Frame
from tallywire.ws.messages import OUTGOING, type_of

from tests.sync.journal import Journal

from .strictly import FORMS, read_strictly

NOW = datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)
AT = Cursor("e", 7)

COMMITTED = Journal().commit("alice").transactions[0]
BODY = COMMITTED.user_bodies()[0][1]
SEEN_BY_ADMINS = with_epoch("e", COMMITTED.admin_bodies()[0])
CONTROLLED = Journal().commit(
    "alice", type="trading_control", control={"mode": "win", "book": "demo"}
)
CONTROL = CONTROLLED.transactions[0].user_bodies()[0][1]

BALANCE = (
    b'{"account":"main/alice/USDT","book":"main","asset":"USDT","scale":0,"side":"credit",'
    b'"balance":"1","held":"0","available":"1","floor":"0","suspend_below":null,'
    b'"alert_below":null,"status":"active","seq":1,"digest":"' + b"0" * 64 + b'",'
    b'"total_in":"1","total_out":"0"}'
)
LEFT = msgspec.json.decode(BALANCE, type=Balance)
PRICE = Price(pair="BTC-USDT", price="64000.00", source="pushed", time="2026-11-21T09:00:00Z")
WIN = Control(mode="win", book="demo")
TOTAL = Total(book="main", asset="USDT", balance="1", held="0")

SENT: list[tuple[Frame, bytes]] = [
    (
        frames.balance_init(AT, "alice", "connect", [BALANCE], None, NOW)[0],
        b'{"type":"user_balance_init","epoch":"e","position":7,"user_id":"alice",'
        b'"reason":"connect","balances":[' + BALANCE + b'],"control":null,"part":1,"parts":1,'
        b'"server_time":"2026-11-21T09:00:00.000000Z"}',
    ),
    (
        frames.balance_init(AT, "alice", "repair", [], WIN, NOW, replayed=True)[0],
        b'{"type":"user_balance_init","epoch":"e","position":7,"user_id":"alice",'
        b'"reason":"repair","balances":[],"control":{"mode":"win","book":"demo"},"part":1,"parts":1,'
        b'"server_time":"2026-11-21T09:00:00.000000Z","replayed":true}',
    ),
    (
        frames.monitor_init(AT, [TOTAL], {"users": 1, "connections": 2}, [SEEN_BY_ADMINS]),
        b'{"type":"admin_monitor_init","epoch":"e","position":7,"totals":[{"book":"main",'
        b'"asset":"USDT","balance":"1","held":"0"}],"connected":{"users":1,"connections":2},'
        b'"recent":[' + SEEN_BY_ADMINS + b"]}",
    ),
    (
        frames.resumed("e", 3, 7, 2),
        b'{"type":"resumed","epoch":"e","from":3,"to":7,"count":2}',
    ),
    (
        frames.update(AT, "deposit", BODY),
        b'{"type":"balance_update","epoch":"e",' + BODY[1:],
    ),
    (
        frames.update(AT, "deposit", BODY, replayed=True),
        b'{"type":"balance_update","epoch":"e","replayed":true,' + BODY[1:],
    ),
    (
        frames.update(AT, "trading_control", CONTROL),
        b'{"type":"trading_control_update","epoch":"e","position":7,"user_id":"alice",'
        b'"book":"demo","mode":"win","timestamp":"2026-11-21T09:00:00.000000Z"}',
    ),
    (
        frames.update(AT, "trading_control", CONTROL, replayed=True),
        b'{"type":"trading_control_update","epoch":"e","position":7,"user_id":"alice",'
        b'"book":"demo","mode":"win","timestamp":"2026-11-21T09:00:00.000000Z","replayed":true}',
    ),
    (
        frames.balance_latest(AT, 3, {LEFT.account: LEFT}),
        b'{"type":"balance_latest","epoch":"e","from":3,"to":7,"balances":[' + BALANCE + b"]}",
    ),
    (
        frames.monitor(AT, 3, [SEEN_BY_ADMINS, SEEN_BY_ADMINS]),
        b'{"type":"admin_balance_monitor","epoch":"e","from":3,"to":7,"updates":['
        + SEEN_BY_ADMINS
        + b","
        + SEEN_BY_ADMINS
        + b"]}",
    ),
    (
        frames.prices([PRICE]),
        b'{"type":"prices","prices":[{"pair":"BTC-USDT","price":"64000.00","source":"pushed",'
        b'"time":"2026-11-21T09:00:00Z"}]}',
    ),
    (
        frames.heartbeat(AT, NOW),
        b'{"type":"heartbeat","epoch":"e","position":7,'
        b'"server_time":"2026-11-21T09:00:00.000000Z"}',
    ),
    (
        frames.refreshed(NOW),
        b'{"type":"refreshed","expires_at":"2026-11-21T09:00:00.000000Z"}',
    ),
    (frames.pong(None), b'{"type":"pong"}'),
    (frames.pong(0), b'{"type":"pong","req_id":0}'),
    (
        frames.error("invalid_request", "what?", {"any": 1}),
        b'{"type":"error","code":"invalid_request","message":"what?","req_id":{"any":1}}',
    ),
    (
        frames.server_shutdown(500),
        b'{"type":"server_shutdown","reconnect_after_ms":500}',
    ),
]


@pytest.mark.parametrize(("frame", "data"), SENT, ids=[frame.type for frame, _ in SENT])
def test_a_message_to_the_byte(frame: Frame, data: bytes) -> None:
    assert frame.data == data
    assert type(read_strictly(data)) is FORMS[frame.type]


def test_every_form_is_sent() -> None:
    assert {frame.type for frame, _ in SENT} == {type_of(form) for form in OUTGOING}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(b'"seq":1', b'"seq":"1"'), (b'"seq":1', b'"seq":1,"more":1'), (b'"seq":1,', b"")],
)
def test_reading_strictly_notices_what_is_not_of_the_form(right: bytes, wrong: bytes) -> None:
    data = frames.update(AT, "deposit", BODY).data
    assert right in data
    with pytest.raises((AssertionError, msgspec.ValidationError)):
        read_strictly(data.replace(right, wrong))
