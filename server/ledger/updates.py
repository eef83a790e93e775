"""
The UPDATE: a committed transaction as one user sees it, encoded once, at the commit.

The encoded form is stored with the transaction and passed on as bytes by bus, feed, hub and
HTTP. It is a text of lines: the touched users as a JSON array; the admin fields as a JSON
object; then one UPDATE object per user, in that order, or a single one for nobody. Where one
user sees more than the others, the first line is ``{"users":[...],"own":{user:{...}}}``.
The epoch is left out, since a restored journal gets a new one; `with_epoch` puts it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Raw, Struct

from .errors import InvalidRequest

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def encode_updates(
    users: Sequence[str],
    admin: Mapping[str, Any],
    bodies: Sequence[Mapping[str, Any]],
    own: Mapping[str, Mapping[str, Any]] | None = None,
) -> bytes:
    """
    The stored form of a transaction's updates.

    users: the touched users in order; admin: the fields that only admins see;
    bodies: one UPDATE per user, or exactly one where no user is touched; own: by user, the fields
    that only that user sees.
    """
    seen_by: Any = {"users": users, "own": own} if own else users
    return b"\n".join((_encode(seen_by), _encode(admin), *map(_encode, bodies)))


class _SeenBy(Struct, frozen=True):
    users: tuple[str, ...]
    own: dict[str, Raw] = {}


_decode_seen_by = msgspec.json.Decoder(tuple[str, ...] | _SeenBy).decode


class Committed(Struct, frozen=True):
    """One committed transaction in its wire-ready form; `type` is its `change_type`."""

    position: int
    transaction_id: str
    type: str
    encoded: bytes

    def users(self) -> tuple[str, ...]:
        """The users who see it, in order."""
        return _seen_by(self.encoded.split(b"\n", 1)[0]).users

    def user_bodies(self) -> list[tuple[str | None, bytes]]:
        """Each user with that user's UPDATE, without epoch; the user None where nobody is."""
        first, _, *bodies = self.encoded.split(b"\n")
        seen_by = _seen_by(first)
        paired = list(zip(seen_by.users or (None,), bodies, strict=True))
        if not seen_by.own:
            return paired
        return [
            (user, _joined(body, bytes(seen_by.own[user])) if user in seen_by.own else body)
            for user, body in paired
        ]

    def admin_fields(self) -> dict[str, Any]:
        """The fields that only admins see."""
        return admin_fields(self.encoded)

    def admin_bodies(self) -> list[bytes]:
        """The admins' UPDATE per touched user, without epoch."""
        _, admin, *bodies = self.encoded.split(b"\n")
        return [_joined(body, admin) for body in bodies]


def admin_fields(encoded: bytes) -> dict[str, Any]:
    """The fields that only admins see of a transaction's updates in their stored form."""
    fields: dict[str, Any] = _decode(encoded.split(b"\n", 2)[1])
    return fields


class Batch(Struct, frozen=True):
    """
    Consecutive transactions, positions `first` to `last`, as one commit made them or as they were
    read; seal: what vouches for a commit and for all before it, empty where it was read.
    """

    epoch: str
    first: int
    last: int
    transactions: tuple[Committed, ...]
    seal: str = ""

    def updates(self) -> list[dict[str, Any]]:
        """
        The contract's UPDATE objects with the admins' fields, in order: of each transaction one per
        touched user, or one of nobody (`user_id` None).
        """
        return [
            _decode(with_epoch(self.epoch, body))
            for committed in self.transactions
            for body in committed.admin_bodies()
        ]


def _seen_by(line: bytes) -> _SeenBy:
    seen_by = _decode_seen_by(line)
    return seen_by if isinstance(seen_by, _SeenBy) else _SeenBy(seen_by)


def _joined(body: bytes, more: bytes) -> bytes:
    """The JSON object `body` with the members of the JSON object `more` after its own."""
    return body[:-1] + b"," + more[1:]


def with_epoch(epoch: str, body: bytes) -> bytes:
    """The UPDATE `body` with its epoch put in front."""
    return b'{"epoch":"' + epoch.encode() + b'",' + body[1:]


class UpdateFilter(Struct, frozen=True):
    """
    Which updates a reader wants: one of an update's changes must meet every condition. One without
    changes counts as a change of 0 where its trade's stake was, or in the book of its control.
    """

    user_id: str | None = None
    asset: str | None = None
    book: str | None = None
    change_type: str | None = None
    min_amount: str | None = None

    @classmethod
    def parse(cls, conditions: Mapping[str, Any]) -> UpdateFilter:
        """The filter that `conditions` describe; raises InvalidRequest on what it cannot be."""
        for name, value in conditions.items():
            if name not in cls.__struct_fields__:
                raise InvalidRequest(f"there is no filter {name!r}", pointer=f"/filter/{name}")
            if value is not None and not isinstance(value, str):
                raise InvalidRequest("a filter is a string", pointer=f"/filter/{name}")
        wanted = cls(**{name: value for name, value in conditions.items() if value is not None})
        if wanted.min_amount is not None:
            try:
                finite = Decimal(wanted.min_amount).is_finite()
            except InvalidOperation:
                finite = False
            if not finite:
                raise InvalidRequest("min_amount is a decimal string", pointer="/filter/min_amount")
        return wanted

    def conditions(self) -> dict[str, str]:
        """What it asks for, by name, as `parse` takes it."""
        every = msgspec.structs.asdict(self)
        return {name: value for name, value in every.items() if value is not None}

    def matches(self, update: Mapping[str, Any]) -> bool:
        """Whether the decoded `update` passes."""
        if self == UpdateFilter():
            return True
        if self.user_id not in (None, update["user_id"]):
            return False
        if self.change_type not in (None, update["change_type"]):
            return False
        if self.asset is None and self.book is None and self.min_amount is None:
            return True
        return any(self._change_matches(change) for change in update["changes"] or _about(update))

    def _change_matches(self, change: Mapping[str, Any]) -> bool:
        return (
            self.asset in (None, change["asset"])
            and self.book in (None, change["book"])
            and (
                self.min_amount is None
                or abs(Decimal(change["amount"])) >= Decimal(self.min_amount)
            )
        )


def _about(update: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What stands for the changes of an `update` that has none."""
    trade, control = update.get("trade"), update.get("control")
    if trade is not None:
        quote = trade["pair"].rpartition("-")[2]
        return [{"book": trade["book"], "asset": quote, "amount": "0"}]
    if control is not None:
        return [{"book": control["book"], "asset": None, "amount": "0"}]
    return []


class AdminUpdates:
    """A transaction as admins see it, decoded only where a filter asks."""

    def __init__(self, epoch: str, committed: Committed) -> None:
        self._epoch = epoch
        self._committed = committed

    @cached_property
    def _bodies(self) -> list[bytes]:
        return [with_epoch(self._epoch, body) for body in self._committed.admin_bodies()]

    @cached_property
    def _decoded(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(body) for body in self._bodies]

    def passing(self, wanted: UpdateFilter) -> list[bytes]:
        """The UPDATEs, with epoch, that pass `wanted`."""
        if wanted == UpdateFilter():
            return self._bodies
        pairs = zip(self._bodies, self._decoded, strict=True)
        return [body for body, decoded in pairs if wanted.matches(decoded)]


class Gather:
    """UPDATEs on their way into one message, whose transactions are never split."""

    def __init__(self, most: int) -> None:
        """most: the bytes of UPDATEs that a message may have; one transaction always fits."""
        self.size = 0
        self._most = most
        self._updates: list[bytes] = []

    def takes(self, updates: list[bytes]) -> bool:
        """Whether one more transaction's `updates` fit; an empty one takes any."""
        return not self._updates or self.size + _size(updates) <= self._most

    def add(self, updates: list[bytes]) -> None:
        """Put a transaction's `updates` in."""
        self._updates += updates
        self.size += _size(updates)

    def take(self) -> list[bytes]:
        """What was gathered; it is empty then."""
        updates, self._updates, self.size = self._updates, [], 0
        return updates


def _size(updates: list[bytes]) -> int:
    return sum(map(len, updates)) + len(updates)
