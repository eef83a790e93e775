"""The protocol of one connection, without a socket."""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tallywire.ws.protocol as protocol
from tallywire.auth import Principal
from tallywire.ledger.errors import NotAuthenticated
from tallywire.ws import closes
from tallywire.ws.frames import Cursor, Frame
from tallywire.ws.protocol import REFUSED_WITHIN, Limits, Session

START = datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)
EXPIRY = int(START.timestamp()) + 3_600


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


def principal(user_id: str = "alice", role: str = "user", expires_at: int = EXPIRY) -> Principal:
    return Principal(user_id, role, int(START.timestamp()), expires_at)


TOKENS = {
    "alice": principal(),
    "alice, longer": principal(expires_at=EXPIRY + 3_600),
    "bob": principal("bob"),
    "auditor": principal("eve", "auditor"),
    "auditor, now user": principal("eve", "user"),
    "forever": principal(expires_at=10**15),
}


def authenticate(token: str) -> Principal:
    if token not in TOKENS:
        raise NotAuthenticated("the token is not one of ours")
    return TOKENS[token]


class Peer:
    """A client of a session, at seconds `now`; the wall clock goes along."""

    def __init__(self, **given: Any) -> None:
        self.clock = Clock()
        self.now = 0.0
        self.session = Session(self.clock, authenticate, 0.0, **given)

    def after(self, seconds: float) -> Peer:
        self.now += seconds
        self.clock.seconds += seconds
        self.session.tick(self.now)
        return self

    def says(self, message: object) -> list[dict[str, Any]]:
        text = message if isinstance(message, str) else json.dumps(message)
        self.session.receive_text(text, self.now)
        return self.hears()

    def connects(self, who: str | None = "alice", **given: Any) -> Peer:
        message: dict[str, Any] = {"type": "connect", **given}
        if who is not None:
            message["token"] = who
        self.says(message)
        return self

    def hears(self) -> list[dict[str, Any]]:
        return [json.loads(frame.data) for frame in self.session.data_to_send(10**9)]

    @property
    def code(self) -> int | None:
        return None if self.session.closed is None else self.session.closed.code

    @property
    def reason(self) -> str:
        assert self.session.closed is not None
        return self.session.closed.reason


def test_connect_is_accepted_once() -> None:
    peer = Peer().connects()
    (event,) = peer.session.events_received()
    assert event.request.streams == {"balances"}
    assert event.request.mode == "every"
    assert peer.session.principal == TOKENS["alice"]
    assert peer.code is None
    assert peer.session.events_received() == []


def test_connect_says_all_that_it_may() -> None:
    peer = Peer().connects(
        "auditor",
        streams=["prices", "monitor", "balances"],
        mode="latest",
        resume={
            "epoch": "e",
            "position": 7,
            "heads": {"main/eve/USDT": {"seq": 2, "digest": "d"}, "main/eve/USD": {"seq": 0}},
        },
        filter={"asset": "USDT", "book": None},
        req_id=1,
        later={"unknown": True},
    )
    (event,) = peer.session.events_received()
    request = event.request
    assert request.streams == {"prices", "monitor", "balances"}
    assert request.latest and request.monitor
    assert request.filter.asset == "USDT"
    assert request.resume is not None
    assert request.resume.position == 7
    assert request.resume.entries() == {
        "main/eve/USDT": (2, "d"),
        "main/eve/USD": (0, "0" * 64),
    }


def test_without_connect_in_time_it_closes() -> None:
    peer = Peer()
    assert peer.session.deadline(0.0) == 5.0
    assert peer.after(4.9).code is None
    assert peer.after(0.2).code == 4002


def test_a_connect_in_time_lifts_that_deadline() -> None:
    peer = Peer().after(4.9).connects()
    assert peer.after(1.0).code is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "connect"}, 4001),
        ({"type": "connect", "token": "nonsense"}, 4001),
        ({"type": "connect", "token": 7}, 4002),
        ({"type": "ping"}, 4002),
        ({"type": "refresh", "token": "alice"}, 4002),
        ({"no": "type"}, 4002),
        ({"type": "connect", "token": "alice", "streams": ["weather"]}, 4002),
        ({"type": "connect", "token": "alice", "streams": []}, 4002),
        ({"type": "connect", "token": "alice", "streams": "balances"}, 4002),
        ({"type": "connect", "token": "alice", "mode": "some"}, 4002),
        ({"type": "connect", "token": "alice", "filter": {"colour": "red"}}, 4002),
        ({"type": "connect", "token": "alice", "filter": {"min_amount": "much"}}, 4002),
        ({"type": "connect", "token": "alice", "filter": {"min_amount": 5}}, 4002),
        ({"type": "connect", "token": "alice", "resume": {"epoch": "e"}}, 4002),
        ({"type": "connect", "token": "alice", "resume": {"epoch": "e", "position": -1}}, 4002),
        ({"type": "connect", "token": "alice", "resume": {"epoch": "e", "position": 2**63}}, 4002),
        ({"type": "connect", "token": "alice", "resume": {"epoch": "e", "position": 1.5}}, 4002),
        ({"type": "connect", "token": "alice", "resume": {"epoch": "e", "position": True}}, 4002),
        ({"type": "connect", "token": "alice", "streams": ["monitor"]}, 4003),
        ({"type": "connect", "token": "alice", "streams": ["balances", "monitor"]}, 4003),
        ("", 4002),
        ("{", 4002),
        ("[]", 4002),
        ('"connect"', 4002),
        ("[" * 60_000, 4002),
        ('{"type":"connect","token":"\\ud800"}', 4002),
        ('{"type":"connect","position":1e999}', 4002),
        ("x" * 65_537, 1009),
        ("ü" * 32_769, 1009),
    ],
)
def test_a_first_message_that_is_none(message: object, code: int) -> None:
    peer = Peer()
    assert peer.says(message) == []
    assert peer.code == code
    assert peer.session.events_received() == []
    assert len(peer.reason.encode()) <= closes.LONGEST_REASON


def test_an_upgrade_that_proved_who_it_is_needs_no_token() -> None:
    peer = Peer(principal=principal("bob")).connects(None)
    assert peer.code is None
    assert peer.session.principal is not None
    assert peer.session.principal.user_id == "bob"


def test_an_upgrade_with_a_bad_token_is_refused_at_connect() -> None:
    peer = Peer(refused=closes.NOT_AUTHENTICATED)
    assert peer.code is None
    peer.connects("alice")
    assert peer.code == 4001
    assert peer.session.events_received() == []


def test_an_upgrade_with_a_bad_token_is_refused_without_connect_too() -> None:
    peer = Peer(refused=closes.NOT_AUTHENTICATED)
    assert peer.session.deadline(0.0) == REFUSED_WITHIN
    assert peer.after(REFUSED_WITHIN).code == 4001


def test_an_upgrade_whose_token_ran_out_before_connect() -> None:
    peer = Peer(principal=principal(expires_at=int(START.timestamp()) + 2))
    assert peer.session.deadline(0.0) == 2.0
    assert peer.after(2.0).code == 4001


def test_a_second_connect_closes() -> None:
    assert Peer().connects().connects().code == 4002


def test_a_binary_message_closes() -> None:
    peer = Peer().connects()
    peer.session.receive_binary()
    assert peer.code == 4002


@pytest.mark.parametrize("text", ["{", "[1]", "null", "[" * 60_000])
def test_later_messages_must_be_json_objects_too(text: str) -> None:
    peer = Peer().connects()
    assert peer.says(text) == []
    assert peer.code == 4002


def test_ping_is_answered_with_its_id() -> None:
    peer = Peer().connects()
    assert peer.says({"type": "ping"}) == [{"type": "pong"}]
    assert peer.says({"type": "ping", "req_id": "a-7"}) == [{"type": "pong", "req_id": "a-7"}]
    assert peer.says({"type": "ping", "req_id": 0}) == [{"type": "pong", "req_id": 0}]


@pytest.mark.parametrize("kind", ["dance", None, 7, ["ping"], "x" * 5_000])
def test_an_unknown_type_is_an_error_and_no_more(kind: object) -> None:
    peer = Peer().connects()
    (answer,) = peer.says({"type": kind, "req_id": 3})
    assert answer["type"] == "error"
    assert answer["code"] == "invalid_request"
    assert answer["req_id"] == 3
    assert len(answer["message"]) < 200
    assert peer.code is None
    assert peer.says({"type": "ping"}) == [{"type": "pong"}]


def test_too_many_messages_at_once_close() -> None:
    peer = Peer(limits=Limits(burst=5, rate=1.0)).connects()
    for _ in range(4):
        assert peer.says({"type": "ping"}) == [{"type": "pong"}]
    assert peer.says({"type": "ping"}) == []
    assert peer.code == 4029


def test_an_even_pace_is_never_too_fast() -> None:
    peer = Peer(limits=Limits(burst=5, rate=1.0)).connects()
    for _ in range(50):
        peer.after(1.01)
        assert {"type": "pong"} in peer.says({"type": "ping"})
    assert peer.code is None


def test_refresh_prolongs_the_session() -> None:
    peer = Peer().connects()
    (answer,) = peer.says({"type": "refresh", "token": "alice, longer"})
    assert answer == {"type": "refreshed", "expires_at": "2026-11-21T11:00:00.000000Z"}
    assert peer.after(3_700).code is None
    assert peer.after(3_700).code == 4001


def test_refresh_with_a_token_beyond_all_dates() -> None:
    peer = Peer().connects()
    (answer,) = peer.says({"type": "refresh", "token": "forever"})
    assert answer["expires_at"] == "9999-12-31T23:59:59.000000Z"


@pytest.mark.parametrize(
    ("first", "streams", "second", "code"),
    [
        ("alice", ["balances"], "nonsense", 4001),
        ("alice", ["balances"], None, 4001),
        ("alice", ["balances"], 7, 4001),
        ("alice", ["balances"], "bob", 4001),
        ("auditor", ["monitor"], "auditor, now user", 4003),
    ],
)
def test_a_refresh_that_closes(first: str, streams: list[str], second: object, code: int) -> None:
    peer = Peer().connects(first, streams=streams)
    assert peer.says({"type": "refresh", "token": second}) == []
    assert peer.code == code


def test_a_lower_role_is_enough_for_ones_own_balances() -> None:
    peer = Peer().connects("auditor", streams=["balances"])
    assert peer.says({"type": "refresh", "token": "auditor, now user"})[0]["type"] == "refreshed"


def test_the_session_ends_with_its_token() -> None:
    peer = Peer().connects()
    assert peer.after(3_599.9).code is None
    assert peer.session.deadline(peer.now) == pytest.approx(3_600.0)
    assert peer.after(0.1).code == 4001


def test_heartbeats_come_every_15_seconds_and_carry_what_was_examined() -> None:
    peer = Peer().connects()
    peer.session.begin(Cursor("e", 5))
    assert peer.session.deadline(0.0) == 15.0
    assert peer.after(14.9).hears() == []
    (first,) = peer.after(0.1).hears()
    assert first == {
        "type": "heartbeat",
        "epoch": "e",
        "position": 5,
        "server_time": "2026-11-21T09:00:15.000000Z",
    }
    peer.session.examine(9)
    assert peer.session.cursor == ("e", 5)
    (second,) = peer.after(15.0).hears()
    assert second["position"] == 9
    assert peer.session.cursor == ("e", 9)


def test_what_was_examined_never_goes_back() -> None:
    peer = Peer().connects()
    peer.session.begin(Cursor("e", 5))
    peer.session.examine(3)
    (beat,) = peer.after(15.0).hears()
    assert beat["position"] == 5


def test_no_heartbeat_before_the_client_has_a_cursor() -> None:
    peer = Peer().connects()
    assert peer.after(15.0).hears() == []
    peer.session.send(Frame("update", b"{}", Cursor("e", 1)))
    peer.hears()
    assert [m["position"] for m in peer.after(15.0).hears()] == [1]
    peer.session.restart()
    assert peer.after(15.0).hears() == []


def test_frames_move_the_cursor_where_they_carry_one() -> None:
    peer = Peer().connects()
    peer.session.send(Frame("part", b"{}"))
    assert peer.session.cursor is None
    peer.session.send(Frame("last part", b"{}", Cursor("e", 4)))
    assert peer.session.cursor == ("e", 4)
    assert peer.session.examined == 4
    peer.session.send(Frame("update", b"{}", Cursor("e", 5)).unmoving())
    assert peer.session.cursor == ("e", 4)


def test_the_queue_is_taken_in_slices_in_order() -> None:
    session = Peer().connects().session
    for number in range(5):
        session.send(Frame("x", b"%d" % number * 10))
    assert session.queued_bytes == 50
    assert [f.data[:1] for f in session.data_to_send(25)] == [b"0", b"1"]
    assert [f.data[:1] for f in session.data_to_send(1)] == [b"2"]
    assert session.queued_bytes == 20
    assert [f.data[:1] for f in session.data_to_send(100)] == [b"3", b"4"]
    assert session.data_to_send(100) == []
    assert session.queued_bytes == 0


def test_after_a_close_the_queue_is_still_sent_and_nothing_more_is_taken() -> None:
    peer = Peer().connects()
    peer.session.begin(Cursor("e", 1))
    peer.session.send(Frame("before", b'{"type":"before"}'))
    peer.session.close(closes.RESTARTING)
    peer.session.close(closes.STUCK)
    peer.session.send(Frame("after", b'{"type":"after"}'))
    assert peer.says({"type": "ping"}) == [{"type": "before"}]
    assert peer.after(100.0).hears() == []
    assert peer.code == 1012


def test_every_close_code_of_the_contract_is_in_the_table() -> None:
    table = {c.code: c.reconnect for c in closes.ALL}
    assert table == {
        1009: False,
        1012: True,
        1013: True,
        4001: True,
        4002: False,
        4003: False,
        4008: True,
        4009: False,
        4010: False,
        4029: True,
    }


def test_a_long_reason_is_cut_between_characters() -> None:
    assert closes.BAD_CONNECT.because("ü" * 100).reason == "ü" * 61


def test_the_protocol_imports_no_io() -> None:
    folder = Path(str(protocol.__file__)).parent
    for name in ("protocol", "messages", "frames", "closes", "tail"):
        tree = ast.parse((folder / f"{name}.py").read_text())
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            str(node.module)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level == 0
        }
        assert not imported & {"asyncio", "starlette", "sqlalchemy", "socket", "uvicorn"}
