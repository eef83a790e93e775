"""Every message of the protocol, and the reading of what a client says (contract, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from ..ledger.digest import GENESIS
from ..ledger.errors import InvalidRequest
from ..ledger.intents import Mode as ControlMode
from ..ledger.objects import (
    AdminUpdate,
    Balance,
    Control,
    Epoch,
    Position,
    Price,
    Time,
    Total,
    Update,
)
from ..ledger.updates import UpdateFilter

Stream = Literal["balances", "monitor", "prices"]
Mode = Literal["every", "latest"]
Reason = Literal["connect", "reset", "repair"]

RequestId = Annotated[Any, Meta(description="Anything; an answer to this message has it too.")]
Replayed = Annotated[
    bool, Meta(description="True: one of the `count` messages that `resumed` announced.")
]
From = Annotated[Position, Meta(description="Exclusive: the cursor until now.")]
To = Annotated[Position, Meta(description="Inclusive: the cursor from now on.")]

_LARGEST = 2**63 - 1
_Form = TypeVar("_Form", bound=Struct)


class UnreadableMessage(Exception):
    """The message is not a JSON object, or not one of its type; the text says why."""


# What a client says. Fields that are not known are ignored.


class AccountHead(Struct, frozen=True):
    """The last entry of an account that the client knows; seq 0 and zeros where it knows none."""

    seq: int
    digest: str = GENESIS


class Resume(Struct, frozen=True):
    """Where the client got to, and what it shows there."""

    epoch: str
    position: Annotated[int, Meta(description="The cursor.")]
    heads: Annotated[
        dict[str, AccountHead],
        Meta(description="By account; those that are not named are not checked."),
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [self.position, *(head.seq for head in self.heads.values())]
        if not all(0 <= number <= _LARGEST for number in numbers):
            raise ValueError("a position or seq is out of range")

    def entries(self) -> dict[str, tuple[int, str]]:
        """The heads as pairs of seq and digest."""
        return {name: (head.seq, head.digest) for name, head in self.heads.items()}


class Connect(Struct, frozen=True, tag_field="type", tag="connect"):
    """
    The first message, within 5 seconds: who, what, and from where on.

    Its answer is an init for each stream, or `resumed`.
    """

    token: Annotated[
        str | None,
        Meta(description="A JWT; not needed where the upgrade had `Authorization` or `?ticket=`."),
    ] = None
    streams: Annotated[
        tuple[Stream, ...], Meta(description="At least one; `monitor` is for auditors and above.")
    ] = ("balances",)
    mode: Annotated[
        Mode, Meta(description="`latest`: balances when the socket is clear, not every update.")
    ] = "every"
    resume: Resume | None = None
    filter: Annotated[
        dict[str, str | None] | None,
        Meta(
            description="The monitor's: "
            + ", ".join(f"`{name}`" for name in UpdateFilter.__struct_fields__)
            + "; one change of an update must meet all, one without changes counts as a change of"
            " 0 where its trade's stake was or its control is."
        ),
    ] = None
    req_id: Any = None

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError("streams is empty")


class Refresh(Struct, frozen=True, tag_field="type", tag="refresh"):
    """A fresh token of the same user, before the old one expires."""

    token: str


class Ping(Struct, frozen=True, tag_field="type", tag="ping"):
    """Asks for a `pong`."""

    req_id: RequestId = None


# What the server says. Each is one struct, tagged with its `type`; those that move the client's
# cursor say so.


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """A message of the server."""


class UserBalanceInit(Message, frozen=True, kw_only=True, tag="user_balance_init"):
    """
    All accounts of the user as of `position`, in place of what the client knew.

    Of several parts the last one moves the cursor, and where an `admin_monitor_init` follows, that
    one does. `reason`: `connect`, `reset` where a resume did not fit or the journal is another
    one, `repair` where one of the accounts was put right.
    """

    epoch: Epoch
    position: Position
    user_id: str
    reason: Reason
    balances: list[Balance]
    control: Annotated[
        Control | None,
        Meta(description="The user's as of `position`, in `demo`; null where none was ever set."),
    ]
    part: int
    parts: int
    server_time: Time
    replayed: Replayed = False


class Connected(Struct, frozen=True, kw_only=True):
    """How many are connected to this process."""

    users: int
    connections: int


class AdminMonitorInit(Message, frozen=True, kw_only=True, tag="admin_monitor_init"):
    """
    What all users have as of `position`, and the newest updates that pass the filter, newest
    first. Moves the cursor.
    """

    epoch: Epoch
    position: Position
    totals: list[Total]
    connected: Connected
    recent: Annotated[list[AdminUpdate], Meta(max_length=50)]


class Resumed(Message, frozen=True, kw_only=True, tag="resumed", rename={"from_": "from"}):
    """
    The resume fits, no init follows: exactly `count` messages with `replayed` for (from, to] do,
    then live ones. It moves no cursor.
    """

    epoch: Epoch
    from_: From
    to: Annotated[Position, Meta(description="Inclusive.")]
    count: int


class BalanceUpdate(Message, Update, frozen=True, kw_only=True, tag="balance_update"):
    """
    One transaction, once, as the user sees it. Moves the cursor to `position`, but not with
    `monitor` among the streams.
    """

    user_id: str
    replayed: Replayed = False


class TradingControlUpdate(Message, frozen=True, kw_only=True, tag="trading_control_update"):
    """
    How the user's options in `demo` are decided from now on; in place of a `balance_update`. Moves
    the cursor to `position`, but not with `monitor` among the streams.
    """

    epoch: Epoch
    position: Position
    user_id: str
    book: str
    mode: ControlMode
    timestamp: Time
    replayed: Replayed = False


class BalanceLatest(
    Message, frozen=True, kw_only=True, tag="balance_latest", rename={"from_": "from"}
):
    """
    In mode `latest`, when the socket is clear: the accounts that changed in (from, to], as at `to`.
    Moves the cursor, but not with `monitor` among the streams.
    """

    epoch: Epoch
    from_: From
    to: To
    balances: list[Balance]


class AdminBalanceMonitor(
    Message, frozen=True, kw_only=True, tag="admin_balance_monitor", rename={"from_": "from"}
):
    """
    Everybody's updates in (from, to] that pass the filter, in order; a position is never split.
    Moves the cursor.
    """

    epoch: Epoch
    from_: From
    to: To
    updates: list[AdminUpdate]


class Prices(Message, frozen=True, kw_only=True, tag="prices"):
    """
    The newest prices: of all pairs after the inits, then of those that changed, at most 4 times a
    second for a pair. It moves no cursor.

    After `resumed` the first one follows the replayed messages. What came between two messages is
    left out, so a slow connection is told the newest price when it has room again.
    """

    prices: Annotated[
        list[Price], Meta(description="Empty only at first, where no price is known.")
    ]


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """
    Every 15 seconds: nothing is missing up to `position`. Moves the cursor.

    With `prices` alone it is the first message.
    """

    epoch: Epoch
    position: Position
    server_time: Time


class Refreshed(Message, frozen=True, kw_only=True, tag="refreshed"):
    """The new token holds, until then."""

    expires_at: Time


class Pong(Message, frozen=True, kw_only=True, tag="pong"):
    """The answer to `ping`."""

    req_id: RequestId = None


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """A message that was not understood; the connection stays."""

    code: str
    message: str
    req_id: RequestId = None


class ServerShutdown(Message, frozen=True, kw_only=True, tag="server_shutdown"):
    """The server goes: come back after that many milliseconds. The close 1012 follows."""

    reconnect_after_ms: int


INCOMING: tuple[type[Struct], ...] = (Connect, Refresh, Ping)
OUTGOING: tuple[type[Message], ...] = (
    UserBalanceInit,
    AdminMonitorInit,
    Resumed,
    BalanceUpdate,
    TradingControlUpdate,
    BalanceLatest,
    AdminBalanceMonitor,
    Prices,
    Heartbeat,
    Refreshed,
    Pong,
    Error,
    ServerShutdown,
)


def type_of(form: type[Struct]) -> str:
    """The `type` of messages of that form."""
    return str(form.__struct_config__.tag)


# Reading.


def read_message(text: str) -> dict[str, Any]:
    """The JSON object that `text` is; raises UnreadableMessage."""
    try:
        message = msgspec.json.decode(text)
    except (ValueError, RecursionError) as problem:
        raise UnreadableMessage(f"not JSON: {problem}") from None
    if not isinstance(message, dict):
        raise UnreadableMessage("a message is a JSON object")
    return message


def read_connect(message: Mapping[str, Any]) -> Connect:
    """The `connect` that `message` is; raises UnreadableMessage."""
    return _read(Connect, message)


def read_refresh(message: Mapping[str, Any]) -> Refresh:
    """The `refresh` that `message` is; raises UnreadableMessage."""
    return _read(Refresh, message)


def _read(form: type[_Form], message: Mapping[str, Any]) -> _Form:
    try:
        return msgspec.convert(message, form)
    except msgspec.ValidationError as problem:
        raise UnreadableMessage(str(problem)) from None


class Request(Struct, frozen=True):
    """What a connection is to be served, once it is known that it may."""

    streams: frozenset[Stream]
    mode: Mode = "every"
    resume: Resume | None = None
    filter: UpdateFilter = UpdateFilter()

    @property
    def balances(self) -> bool:
        """Whether the user's own changes are wanted."""
        return "balances" in self.streams

    @property
    def latest(self) -> bool:
        """Whether the user's changes are wanted as balances, newest only."""
        return self.balances and self.mode == "latest"

    @property
    def monitor(self) -> bool:
        """Whether everybody's changes are wanted."""
        return "monitor" in self.streams

    @property
    def prices(self) -> bool:
        """Whether prices are wanted."""
        return "prices" in self.streams

    @property
    def positions(self) -> bool:
        """Whether anything of the journal is wanted."""
        return self.balances or self.monitor


def request_of(connect: Connect) -> Request:
    """What `connect` asks for; raises UnreadableMessage where its filter makes no sense."""
    try:
        wanted = UpdateFilter.parse(connect.filter or {})
    except InvalidRequest as problem:
        raise UnreadableMessage(problem.detail) from None
    return Request(frozenset(connect.streams), connect.mode, connect.resume, wanted)
