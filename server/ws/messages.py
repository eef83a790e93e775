"""What a client may say: its messages, read strictly, unknown fields ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from ..ledger.digest import GENESIS
from ..ledger.errors import InvalidRequest
from ..ledger.updates import UpdateFilter

Stream = Literal["balances", "monitor", "prices"]
Mode = Literal["every", "latest"]

_LARGEST = 2**63 - 1


class UnreadableMessage(Exception):
    """The message is not a JSON object, or not one of its type; the text says why."""


class AccountHead(Struct, frozen=True):
    """The last entry of an account that the client knows; seq 0 and zeros where it knows none."""

    seq: int
    digest: str = GENESIS


class Resume(Struct, frozen=True):
    """Where the client got to, and what it shows there: heads by account name."""

    epoch: str
    position: int
    heads: dict[str, AccountHead] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [self.position, *(head.seq for head in self.heads.values())]
        if not all(0 <= number <= _LARGEST for number in numbers):
            raise ValueError("a position or seq is out of range")

    def entries(self) -> dict[str, tuple[int, str]]:
        """The heads as pairs of seq and digest."""
        return {name: (head.seq, head.digest) for name, head in self.heads.items()}


class Connect(Struct, frozen=True):
    """The first message: who, what, and from where on (contract, section 5)."""

    token: str | None = None
    streams: tuple[Stream, ...] = ("balances",)
    mode: Mode = "every"
    resume: Resume | None = None
    filter: dict[str, str | None] | None = None
    req_id: Any = None

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError("streams is empty")


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
    try:
        return msgspec.convert(message, Connect)
    except msgspec.ValidationError as problem:
        raise UnreadableMessage(str(problem)) from None


def request_of(connect: Connect) -> Request:
    """What `connect` asks for; raises UnreadableMessage where its filter makes no sense."""
    try:
        wanted = UpdateFilter.parse(connect.filter or {})
    except InvalidRequest as problem:
        raise UnreadableMessage(problem.detail) from None
    return Request(frozenset(connect.streams), connect.mode, connect.resume, wanted)
