"""An independent client of the public contract: it believes nothing that it can recompute.

Amounts are integers of minor units, digests come from hashlib, and every message is held against
what the client knew before. A message that does not follow is a fault, which the next wait raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

Json = dict[str, Any]

ZEROS = "0" * 64
LIMIT = 2**63 - 1
PATIENCE = 20.0

BALANCE_FIELDS = (
    "account",
    "book",
    "asset",
    "scale",
    "side",
    "balance",
    "held",
    "available",
    "floor",
    "suspend_below",
    "alert_below",
    "status",
    "seq",
    "digest",
    "total_in",
    "total_out",
)
UPDATE_FIELDS = (
    "epoch",
    "position",
    "transaction_id",
    "user_id",
    "change_type",
    "description",
    "reference",
    "metadata",
    "reverses",
    "effective_at",
    "timestamp",
    "changes",
)
PRICE_FIELDS = ("pair", "price", "source", "time")
TRADE_FIELDS = ("id", "kind", "user_id", "book", "pair", "status", "price_source")
SPOT_FIELDS = ("side", "price", "base_amount", "quote_amount", "fee")
OPTION_FIELDS = (
    "direction",
    "stake",
    "duration_s",
    "payout_rate",
    "opens_at",
    "expires_at",
    "open_price",
    "settle_price",
    "outcome",
    "forced",
)
ADMIN_FIELDS = ("internal", "actor", "actor_role", "idempotency_key")
COUNTED_TYPES = frozenset(
    {"deposit", "recharge", "withdrawal", "charge", "shared_charge", "payment"}
)
STATUSES = frozenset({"active", "suspended", "frozen", "closed"})

_AMOUNT = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,12})?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def minor(text: object, scale: int) -> int:
    """Minor units of an amount as the server writes it: exactly `scale` decimals, never `-0`."""
    assert isinstance(text, str) and _AMOUNT.fullmatch(text), f"not an amount: {text!r}"
    whole, _, decimals = text.partition(".")
    assert len(decimals) == scale, f"{text!r} does not have {scale} decimals"
    value = int(whole + decimals)
    assert -LIMIT <= value <= LIMIT, f"{text!r} is out of range"
    assert shown(value, scale) == text, f"{text!r} is not the canonical text"
    return value


def shown(value: int, scale: int) -> str:
    """The text of an amount in minor units."""
    digits = str(abs(value)).rjust(scale + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else f"{sign}{digits}"


def account_name(book: str, owner: str, asset: str) -> str:
    """`book/owner/asset`, the owner percent-encoded outside `A-Za-z0-9._:@+-`."""
    return f"{book}/{quote(owner, safe=':@+').replace('~', '%7E')}/{asset}"


def digest(
    previous: str,
    account: str,
    seq: int,
    amount: int,
    held_change: int,
    balance: int,
    held: int,
    transaction_id: str,
) -> str:
    """The running digest of an account, from the contract's formula."""
    fields = (previous, account, seq, amount, held_change, balance, held, transaction_id)
    return hashlib.sha256("|".join(map(str, fields)).encode("ascii")).hexdigest()


def balance_of(shown_balance: Mapping[str, Any]) -> Json:
    """The BALANCE fields alone, of a BALANCE or a CHANGE."""
    return {field: shown_balance[field] for field in BALANCE_FIELDS}


class Accounts:
    """The accounts as one reader knows them, each followed entry by entry."""

    def __init__(self) -> None:
        self.shown: dict[str, Json] = {}
        self._counted: dict[str, bool] = {}

    def replace(self, user_id: str, balances: Iterable[Json]) -> None:
        """Start again from a snapshot."""
        self.shown = {}
        for balance in balances:
            check_balance(balance, user_id)
            assert balance["account"] not in self.shown, f"{balance['account']} appears twice"
            self.shown[balance["account"]] = balance_of(balance)

    def follow(self, update: Json, *, complete: bool) -> None:
        """Apply one UPDATE. `complete`: an account that is not known yet must begin at seq 1."""
        check_update(update)
        counted = update["change_type"] in COUNTED_TYPES
        self._counted[update["transaction_id"]] = counted
        accounts = [change["account"] for change in update["changes"]]
        assert len(set(accounts)) == len(accounts), f"two entries for one account: {accounts}"
        for change in update["changes"]:
            self._follow(change, update, complete=complete)

    def _follow(self, change: Json, update: Json, *, complete: bool) -> None:
        where = f"{change['account']} at {update['position']}"
        scale = change["scale"]
        amount = minor(change["amount"], scale)
        held_change = minor(change["held_change"], scale)
        before = minor(change["balance_before"], scale)
        balance = minor(change["balance"], scale)
        held = minor(change["held"], scale)
        check_balance(change, update["user_id"])
        assert balance == before + amount, f"{where}: balance is not balance_before + amount"

        known = self.shown.get(change["account"])
        if known is None and (complete or change["seq"] == 1):
            known = {
                "seq": 0,
                "digest": ZEROS,
                "balance": shown(0, scale),
                "held": shown(0, scale),
                "total_in": shown(0, scale),
                "total_out": shown(0, scale),
            }
        if known is not None:
            assert change["seq"] == known["seq"] + 1, (
                f"{where}: seq {change['seq']} after {known['seq']}"
            )
            assert before == minor(known["balance"], scale), f"{where}: balance_before is not ours"
            assert held == minor(known["held"], scale) + held_change, f"{where}: held does not add"
            assert change["digest"] == digest(
                known["digest"],
                change["account"],
                change["seq"],
                amount,
                held_change,
                balance,
                held,
                update["transaction_id"],
            ), f"{where}: the digest does not follow"
            self._check_totals(known, change, update, where)
        self.shown[change["account"]] = balance_of(change)

    def _check_totals(self, known: Json, change: Json, update: Json, where: str) -> None:
        scale = change["scale"]
        amount = minor(change["amount"], scale)
        total_in = minor(known["total_in"], scale)
        total_out = minor(known["total_out"], scale)
        if update["change_type"] == "reversal":
            counted = self._counted.get(update["reverses"])
            if counted is None:
                return
            if counted:
                total_in -= max(-amount, 0)
                total_out -= max(amount, 0)
        elif self._counted[update["transaction_id"]]:
            total_in += max(amount, 0)
            total_out += max(-amount, 0)
        elif update["change_type"].startswith("custom"):
            return
        assert minor(change["total_in"], scale) == total_in, f"{where}: total_in"
        assert minor(change["total_out"], scale) == total_out, f"{where}: total_out"

    def heads(self) -> Json:
        """`heads` of a resume."""
        return {
            account: {"seq": balance["seq"], "digest": balance["digest"]}
            for account, balance in self.shown.items()
        }


def check_balance(balance: Json, user_id: str | None) -> None:
    """A BALANCE (or CHANGE) that holds together in itself."""
    missing = [field for field in BALANCE_FIELDS if field not in balance]
    assert not missing, f"{balance.get('account')}: no {missing}"
    assert user_id is not None, f"{balance['account']} is shown to nobody"
    assert balance["account"] == account_name(balance["book"], user_id, balance["asset"])
    scale = balance["scale"]
    money = minor(balance["balance"], scale)
    held = minor(balance["held"], scale)
    assert held >= 0
    assert balance["side"] in ("credit", "debit")
    if balance["side"] == "credit":
        assert minor(balance["available"], scale) == money - held
    else:
        assert balance["available"] is None and balance["floor"] is None and held == 0
        assert balance["suspend_below"] is None
    for field in ("floor", "suspend_below", "alert_below"):
        if balance[field] is not None:
            minor(balance[field], scale)
    assert balance["status"] in STATUSES
    assert isinstance(balance["seq"], int) and balance["seq"] >= 1
    assert _DIGEST.fullmatch(balance["digest"])
    minor(balance["total_in"], scale)
    minor(balance["total_out"], scale)


def check_update(update: Json) -> None:
    """The shape of an UPDATE."""
    missing = [field for field in UPDATE_FIELDS if field not in update]
    assert not missing, f"UPDATE {update.get('position')}: no {missing}"
    assert isinstance(update["position"], int) and update["position"] >= 1
    assert _UUID7.fullmatch(update["transaction_id"]), update["transaction_id"]
    assert _TIME.fullmatch(update["timestamp"]), update["timestamp"]
    assert _TIME.fullmatch(update["effective_at"]), update["effective_at"]
    assert isinstance(update["metadata"], dict)


def check_trade(trade: Json, user_id: str | None) -> None:
    """A TRADE that holds together in itself, and was not decided outside `demo`."""
    kind = trade["kind"]
    fields = TRADE_FIELDS + {"spot": SPOT_FIELDS, "option": OPTION_FIELDS}[kind]
    missing = [field for field in fields if field not in trade]
    assert not missing, f"TRADE {trade.get('id')}: no {missing}"
    assert _UUID7.fullmatch(trade["id"]) and trade["user_id"] == user_id
    assert trade["price_source"] in ("simulated", "pushed")
    if kind == "spot":
        assert trade["status"] == "filled" and trade["side"] in ("buy", "sell")
        return
    assert trade["direction"] in ("up", "down")
    assert lasted(trade) == timedelta(seconds=trade["duration_s"])
    ends = ("win", "lose", "tie") if trade["status"] == "settled" else (None,)
    assert trade["status"] in ("open", "settled", "refunded")
    assert trade["outcome"] in ends, trade
    assert (trade["settle_price"] is None) == (trade["status"] != "settled"), trade
    assert trade["forced"] is False or (trade["forced"] is True and trade["book"] == "demo"), trade


def lasted(trade: Json) -> timedelta:
    """How long an option is to be open."""
    return datetime.fromisoformat(trade["expires_at"]) - datetime.fromisoformat(trade["opens_at"])


def check_price(price: Json) -> None:
    """A PRICE that says where it comes from."""
    missing = [field for field in PRICE_FIELDS if field not in price]
    assert not missing, f"PRICE {price.get('pair')}: no {missing}"
    assert _AMOUNT.fullmatch(price["price"]) and not price["price"].startswith("-"), price
    assert price["source"] in ("simulated", "pushed")
    assert _TIME.fullmatch(price["time"]), price


def update_of(message: Mapping[str, Any]) -> Json:
    """The user's UPDATE inside a message or an admin UPDATE, to compare one with another."""
    # A hold is not shown to all alike.
    dropped = {"type", "replayed", "hold", *ADMIN_FIELDS}
    return {field: value for field, value in message.items() if field not in dropped}


class Screen:
    """A WebSocket client that shows balances (or monitors) and checks every message it gets."""

    def __init__(
        self,
        server_url: str,
        token: str,
        *,
        user_id: str,
        streams: Sequence[str] = ("balances",),
        mode: str | None = None,
        filter: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.server_url = server_url
        self.token = token
        self.user_id = user_id
        self.streams = tuple(streams)
        self.mode = mode
        self.filter = dict(filter or {})
        self.accounts = Accounts()
        self.everyone = Accounts()
        self.epoch: str | None = None
        self.cursor: int | None = None
        self.updates: list[Json] = []
        self.holds: dict[str, Json] = {}
        self.trades: dict[str, Json] = {}
        self.control: Json | None = None
        self.prices: dict[str, Json] = {}
        self.ticks: Counter[str] = Counter()
        self.monitored: list[Json] = []
        self.ranges: list[tuple[int, int]] = []
        self.latest: list[Json] = []
        self.messages: Counter[str] = Counter()
        self.largest: Counter[str] = Counter()
        self.others: list[Json] = []
        self.init: Json | None = None
        self.monitor_init: Json | None = None
        self.inits: list[Json] = []
        self.resumed: Json | None = None
        self.replayed = 0
        self.close_code: int | None = None
        self.reading = asyncio.Event()
        self.reading.set()
        self._fault: BaseException | None = None
        self._receive_buffer = receive_buffer
        self._at_cursor: dict[str, Json] = {}
        self._seen_own: list[Json] = []
        self._parts: list[Json] = []
        self._inits_due: list[str] = []
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self.leave()
        if error is None and self._fault is not None:
            raise self._fault

    @property
    def balances(self) -> dict[str, Json]:
        """BALANCE by account, as shown now."""
        return self.accounts.shown

    @property
    def resume_point(self) -> Json:
        """What this client would resume with: its number and the heads that it showed then."""
        assert self.epoch is not None and self.cursor is not None
        heads = {
            account: {"seq": balance["seq"], "digest": balance["digest"]}
            for account, balance in self._at_cursor.items()
        }
        return {"epoch": self.epoch, "position": self.cursor, "heads": heads}

    async def open(self, resume: Json | None = None, *, within: float = PATIENCE) -> None:
        """Connect, and wait for the inits or for `resumed`."""
        self.close_code = None
        self.resumed = None
        self.replayed = 0
        self._parts = []
        self._inits_due = [stream for stream in ("balances", "monitor") if stream in self.streams]
        if resume is not None:
            self.accounts.shown = dict(self._at_cursor)
            self.updates = [u for u in self.updates if u["position"] <= resume["position"]]
            self._seen_own = []
        hello: Json = {"type": "connect", "token": self.token, "streams": list(self.streams)}
        if self.mode is not None:
            hello["mode"] = self.mode
        if self.filter:
            hello["filter"] = self.filter
        if resume is not None:
            hello["resume"] = resume
        await self._connect(hello, within)
        await self.until(
            lambda: self.resumed is not None or (not self._inits_due and self.cursor is not None),
            within=within,
            what="the inits or `resumed`",
        )

    async def come_back(self, resume: Json | None = None, *, within: float = PATIENCE) -> None:
        """Connect again with a resume, by default the one that this client kept."""
        await self.open(self.resume_point if resume is None else resume, within=within)

    async def leave(self) -> None:
        """Close the connection politely; what was seen is kept."""
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        self._socket = self._reader = None

    def vanish(self) -> None:
        """Go away without a word, as a closed laptop does."""
        assert self._socket is not None and self._reader is not None
        self._socket.transport.abort()

    async def send(self, message: Json) -> None:
        assert self._socket is not None
        await self._socket.send(json.dumps(message))

    async def until(
        self, condition: Callable[[], bool], *, within: float = PATIENCE, what: str = "it"
    ) -> None:
        """Wait until `condition` holds; it is asked again after each message."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            self._news.clear()
            if self._fault is not None:
                raise self._fault
            if condition():
                return
            if self._reader is None or self._reader.done():
                raise AssertionError(
                    f"{self.user_id}: closed with {self.close_code}, waiting for {what}"
                )
            remaining = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._news.wait(), max(remaining, 0))
            except TimeoutError:
                raise AssertionError(
                    f"{self.user_id} waited {within} s for {what}: cursor {self.cursor}, "
                    f"{dict(self.messages)}"
                ) from None

    async def until_position(self, position: int, *, within: float = PATIENCE) -> None:
        """Wait until the cursor has reached `position`."""
        await self.until(
            lambda: self.cursor is not None and self.cursor >= position,
            within=within,
            what=f"position {position}",
        )

    async def until_shown(self, position: int, *, within: float = PATIENCE) -> None:
        """Wait until the update of `position` is on the screen."""
        await self.until(
            lambda: bool(self.updates) and self.updates[-1]["position"] >= position,
            within=within,
            what=f"the update of {position}",
        )

    async def until_closed(self, *, within: float = PATIENCE) -> int | None:
        """Wait for the server to close; the close code (None: without a closing handshake)."""
        assert self._reader is not None
        await asyncio.wait_for(asyncio.shield(self._reader), within)
        if self._fault is not None:
            raise self._fault
        return self.close_code

    async def _connect(self, hello: Json, within: float) -> None:
        self._socket = await dial(
            websocket_url(self.server_url), receive_buffer=self._receive_buffer, within=within
        )
        self._reader = asyncio.create_task(self._read(self._socket))
        await self.send(hello)

    async def _read(self, connection: ClientConnection) -> None:
        try:
            while True:
                await self.reading.wait()
                frame = await connection.recv()
                assert isinstance(frame, str), "a binary frame from the server"
                self._take(frame)
        except ConnectionClosed as closed:
            self.close_code = closed.rcvd.code if closed.rcvd is not None else None
        except Exception as fault:
            self._fault = fault
        finally:
            self._news.set()

    def _take(self, text: str) -> Json:
        message: Json = json.loads(text)
        self.largest[message["type"]] = max(self.largest[message["type"]], len(text))
        self._receive(message)
        self._news.set()
        return message

    def _receive(self, message: Json) -> None:
        kind = message["type"]
        self.messages[kind] += 1
        if message.get("replayed"):
            assert message["replayed"] is True
            self.replayed += 1
            assert self.resumed is not None, f"{kind} replayed without `resumed`"
            assert self.replayed <= self.resumed["count"], "more replayed than `count`"
            position = message["position"]
            assert self.resumed["from"] < position <= self.resumed["to"]
        receive = getattr(self, f"_receive_{kind}", None)
        if receive is None:
            self.others.append(message)
        else:
            receive(message)

    def _receive_user_balance_init(self, message: Json) -> None:
        assert "balances" in self.streams
        assert message["user_id"] == self.user_id
        assert message["reason"] in ("connect", "reset", "repair")
        assert _TIME.fullmatch(message["server_time"])
        assert message["part"] == len(self._parts) + 1, "parts out of order"
        self._parts.append(message)
        if message["part"] < message["parts"]:
            return
        parts, self._parts = self._parts, []
        assert len({(part["epoch"], part["position"]) for part in parts}) == 1
        if message["reason"] == "repair":
            assert message["epoch"] == self.epoch
            assert self.cursor is not None and message["position"] > self.cursor
        if message["reason"] == "reset" and "monitor" in self.streams and not self._inits_due:
            self._inits_due = ["balances", "monitor"]
        if message["reason"] == "reset":
            # A restored journal may be shorter than what was seen of the one before.
            self.updates = [u for u in self.updates if u["position"] <= message["position"]]
        self.accounts.replace(self.user_id, (b for part in parts for b in part["balances"]))
        self.control = message["control"]
        self.init = message
        self.inits.append(message)
        self._init_done("balances", message)

    def _receive_admin_monitor_init(self, message: Json) -> None:
        assert "monitor" in self.streams
        assert set(message["connected"]) >= {"users", "connections"}
        for total in message["totals"]:
            assert set(total) >= {"book", "asset", "balance", "held"}
        assert len(message["recent"]) <= 50
        positions = [update["position"] for update in message["recent"]]
        assert positions == sorted(positions, reverse=True), "`recent` is not newest first"
        for update in message["recent"]:
            check_update(update)
            assert all(field in update for field in ADMIN_FIELDS)
            assert update["position"] <= message["position"]
        self.everyone = Accounts()
        self.monitor_init = message
        self.inits.append(message)
        self._init_done("monitor", message)

    def _init_done(self, stream: str, message: Json) -> None:
        if self._inits_due:
            assert self._inits_due[0] == stream, f"init of {stream} before {self._inits_due[0]}"
            self._inits_due.pop(0)
        self.epoch = message["epoch"]
        if not self._inits_due:
            self._move_to(message["position"])

    def _receive_resumed(self, message: Json) -> None:
        assert message["epoch"] == self.epoch
        assert message["from"] == self.cursor, "`resumed` from another place than asked"
        assert message["to"] >= message["from"]
        assert message["count"] >= 0
        self.resumed = message
        self._inits_due = []

    def _receive_balance_update(self, message: Json) -> None:
        assert "balances" in self.streams and self.mode != "latest"
        self._check_place(message)
        assert message["user_id"] == self.user_id, "another user's update"
        if self.updates:
            assert message["position"] > self.updates[-1]["position"], "twice or out of order"
        if not any(message.get(field) for field in ADMIN_FIELDS):
            assert not any(field in message for field in ADMIN_FIELDS), "an admin field was shown"
        else:
            raise AssertionError("an admin field was shown")
        self.accounts.follow(message, complete=True)
        self.updates.append(update_of(message))
        if "hold" in message:
            self.holds[message["hold"]["id"]] = message["hold"]
        if "trade" in message:
            self._follow_trade(message["trade"])
        if "monitor" in self.streams:
            self._seen_own.append(update_of(message))
        else:
            self._move_to(message["position"])

    def _follow_trade(self, trade: Json) -> None:
        check_trade(trade, self.user_id)
        known = self.trades.get(trade["id"])
        assert known is None or known["status"] == "open" or known == trade, (
            f"{trade} after {known}"
        )
        self.trades[trade["id"]] = trade

    def _receive_trading_control_update(self, message: Json) -> None:
        self._check_place(message)
        assert message["user_id"] == self.user_id
        assert _TIME.fullmatch(message["timestamp"])
        assert message["mode"] in ("win", "normal", "lose")
        self.control = {"mode": message["mode"], "book": message["book"]}
        self.others.append(message)
        if "monitor" not in self.streams:
            self._move_to(message["position"])

    def _check_place(self, message: Json) -> None:
        assert not self._inits_due and self.cursor is not None, "an update before the inits"
        assert message["epoch"] == self.epoch, "an update of another epoch"
        assert message["position"] > self.cursor, (
            f"{message['position']} is not above the cursor {self.cursor}"
        )
        if self.resumed is not None and not message.get("replayed"):
            self._check_replay_done(message["position"])

    def _check_replay_done(self, position: int) -> None:
        assert self.resumed is not None
        if "balances" in self.streams and position > self.resumed["to"]:
            assert self.replayed == self.resumed["count"], "live before the replay was complete"
        elif position > self.resumed["from"] and "monitor" not in self.streams:
            assert position >= self.resumed["to"], "a message inside the replay is not marked"

    def _receive_balance_latest(self, message: Json) -> None:
        assert "balances" in self.streams and self.mode == "latest"
        self._check_range(message)
        for balance in message["balances"]:
            check_balance(balance, self.user_id)
            known = self.accounts.shown.get(balance["account"])
            assert known is None or balance["seq"] > known["seq"], "an account that did not change"
            self.accounts.shown[balance["account"]] = balance_of(balance)
        self.latest.append(message)
        self._move_to(message["to"])

    def _receive_admin_balance_monitor(self, message: Json) -> None:
        assert "monitor" in self.streams
        self._check_range(message)
        places = [(u["position"], u["user_id"] or "") for u in message["updates"]]
        assert places == sorted(set(places)), "updates out of order or twice"
        if places:
            assert message["from"] < places[0][0] and places[-1][0] <= message["to"]
        for update in message["updates"]:
            assert update["epoch"] == self.epoch
            assert all(field in update for field in ADMIN_FIELDS)
            if self.filter:
                check_update(update)
            else:
                self.everyone.follow(update, complete=False)
        if not self.filter:
            covered = sorted({position for position, _ in places})
            assert covered == list(range(message["from"] + 1, message["to"] + 1)), (
                f"the monitor's ({message['from']}, {message['to']}] has a hole"
            )
        if "balances" in self.streams:
            self._check_own_came_first(message)
        self.monitored.extend(message["updates"])
        self.ranges.append((message["from"], message["to"]))
        self._move_to(message["to"])

    def _check_own_came_first(self, message: Json) -> None:
        covered = [own for own in self._seen_own if own["position"] <= message["to"]]
        self._seen_own = self._seen_own[len(covered) :]
        if not self.filter:
            own = [update_of(u) for u in message["updates"] if u["user_id"] == self.user_id]
            own = [update for update in own if "control" not in update]
            assert own == covered, "the monitor covered a position before its balance_update"

    def _check_range(self, message: Json) -> None:
        assert not self._inits_due
        assert message["epoch"] == self.epoch
        assert message["from"] == self.cursor, f"a range from {message['from']} at {self.cursor}"
        assert message["to"] > message["from"], "an empty range"

    def _receive_prices(self, message: Json) -> None:
        assert "prices" in self.streams
        assert not self._inits_due and self.cursor is not None, "prices before the inits"
        pairs = [price["pair"] for price in message["prices"]]
        assert len(set(pairs)) == len(pairs), f"a pair twice in one message: {pairs}"
        for price in message["prices"]:
            check_price(price)
            known = self.prices.get(price["pair"])
            assert known is None or price["time"] >= known["time"], f"{price} after {known}"
            self.prices[price["pair"]] = price
            self.ticks[price["pair"]] += 1

    def _receive_heartbeat(self, message: Json) -> None:
        assert _TIME.fullmatch(message["server_time"])
        if self.epoch is None and self.streams == ("prices",):
            self.epoch = message["epoch"]
        assert message["epoch"] == self.epoch
        assert self.cursor is None or message["position"] >= self.cursor, "the cursor went back"
        if self.resumed is not None:
            self._check_replay_done(message["position"])
        if "monitor" in self.streams and not self.filter:
            assert message["position"] == self.cursor, "a heartbeat skipped what a monitor sees"
        self.others.append(message)
        self._move_to(message["position"])

    def _move_to(self, position: int) -> None:
        self.cursor = position
        self._at_cursor = dict(self.accounts.shown)


class Caller:
    """One principal's HTTP side."""

    def __init__(self, http: httpx.AsyncClient, token: str, user_id: str) -> None:
        self.http = http
        self.token = token
        self.user_id = user_id

    async def get(self, path: str, **query: object) -> httpx.Response:
        params = {name.rstrip("_"): str(value) for name, value in query.items()}
        return await self.http.get(path, params=params, headers=self._headers(None))

    async def post(self, path: str, body: Json, key: str | None = None) -> httpx.Response:
        return await self.http.post(path, json=body, headers=self._headers(key))

    async def put(self, path: str, body: Json) -> httpx.Response:
        return await self.http.put(path, json=body, headers=self._headers(None))

    async def patch(self, path: str, body: Json, key: str | None = None) -> httpx.Response:
        return await self.http.patch(path, json=body, headers=self._headers(key))

    async def post_raw(
        self, path: str, content: bytes, content_type: str = "application/json"
    ) -> httpx.Response:
        headers = {**self._headers(None), "Content-Type": content_type}
        return await self.http.post(path, content=content, headers=headers)

    async def deposit(
        self, user_id: str, amount: str, asset: str = "USDT", key: str | None = None, **rest: Any
    ) -> httpx.Response:
        body = {"user_id": user_id, "asset": asset, "amount": amount, **rest}
        return await self.post("/v1/deposits", body, key)

    async def withdraw(
        self, user_id: str, amount: str, asset: str = "USDT", key: str | None = None, **rest: Any
    ) -> httpx.Response:
        body = {"user_id": user_id, "asset": asset, "amount": amount, **rest}
        return await self.post("/v1/withdrawals", body, key)

    async def transfer(
        self,
        from_user: str,
        to_user: str,
        amount: str,
        asset: str = "USDT",
        key: str | None = None,
        **rest: Any,
    ) -> httpx.Response:
        body = {"from_user": from_user, "to_user": to_user, "asset": asset, "amount": amount}
        return await self.post("/v1/transfers", {**body, **rest}, key)

    async def batch(
        self, items: list[Json], *, atomic: bool = False, key: str | None = None
    ) -> httpx.Response:
        return await self.post("/v1/batches", {"atomic": atomic, "items": items}, key)

    async def balances(self, user_id: str | None = None, **query: object) -> dict[str, Json]:
        """BALANCE by account, of one read."""
        owner = quote(user_id or self.user_id, safe="")
        response = await self.get(f"/v1/users/{owner}/balances", **query)
        assert response.status_code == 200, response.text
        return {item["account"]: balance_of(item) for item in response.json()["balances"]}

    async def head(self) -> int:
        """The journal's newest position."""
        response = await self.get("/v1/users/nobody-at-all/balances")
        assert response.status_code == 200, response.text
        return int(response.json()["position"])

    async def listed(self, path: str, **query: object) -> AsyncIterator[Json]:
        """Every item of a list, page by page."""
        cursor = None
        while True:
            page = await self.get(path, **query, **({"cursor": cursor} if cursor else {}))
            assert page.status_code == 200, page.text
            for item in page.json()["items"]:
                yield item
            cursor = page.json()["next_cursor"]
            if cursor is None:
                return

    def _headers(self, key: str | None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return headers


def accepted(response: httpx.Response) -> Json:
    """The body of a change that was accepted, its shape checked."""
    assert response.status_code == 201, f"{response.status_code}: {response.text}"
    body: Json = response.json()
    assert response.headers["location"] == f"/v1/transactions/{body['transaction_id']}"
    check_accepted(body)
    return body


def check_accepted(body: Json) -> None:
    """`transaction_id`, `position` and `updates` that belong together."""
    for update in body["updates"]:
        check_update(update)
        assert update["transaction_id"] == body["transaction_id"]
        assert update["position"] == body["position"]
    users = [update["user_id"] or "" for update in body["updates"]]
    assert users == sorted(set(users)), "updates are not one a user in user_id order"


def refused(response: httpx.Response, status: int, code: str) -> Json:
    """The PROBLEM of a refusal, its shape checked."""
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    assert response.headers["content-type"].split(";")[0] == "application/problem+json"
    problem: Json = response.json()
    check_problem(problem, status, code)
    if status == 503:
        assert int(response.headers["retry-after"]) >= 0
    return problem


def check_problem(problem: Json, status: int, code: str) -> None:
    assert problem["code"] == code, problem
    assert problem["status"] == status
    missing = {"type", "title", "status", "detail", "instance", "code"} - set(problem)
    assert not missing, f"PROBLEM without {missing}: {problem}"


def websocket_url(server_url: str) -> str:
    return f"ws{server_url.removeprefix('http').rstrip('/')}/ws"


async def dial(
    url: str,
    *,
    receive_buffer: int | None = None,
    within: float = PATIENCE,
    headers: Mapping[str, str] | None = None,
    subprotocol: str | None = "tallywire.v1",
) -> ClientConnection:
    """Open a WebSocket, trying again while nobody listens, until the deadline."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        own_socket = small_socket(url, receive_buffer) if receive_buffer else None
        try:
            return await connect(
                url,
                sock=own_socket,
                subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
                additional_headers=headers,
                compression=None,
                max_size=None,
                max_queue=4 if receive_buffer else 16,
                open_timeout=within,
                close_timeout=5,
                ping_interval=None,
                proxy=None,
            )
        except OSError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.02)


def small_socket(url: str, receive_buffer: int) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None
    small = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    small.connect((parts.hostname, parts.port))
    small.setblocking(False)
    return small
