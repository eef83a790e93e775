"""Answers: JSON that is spliced from encoded parts, and never encoded twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from ..auth import Principal
from ..ledger import Receipt

JSON = "application/json"


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON; bytes are JSON already."""
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(encoded, status, headers, JSON)


def committed(receipt: Receipt, principal: Principal, **more: bytes) -> Response:
    """
    The answer to an accepted change, with the updates that `principal` may see.

    more: further members by name, as JSON.
    """
    headers = {"Location": f"/v1/transactions/{receipt.transaction_id}"}
    if receipt.replayed:
        headers["Idempotent-Replayed"] = "true"
    members = committed_members(receipt, principal)
    members += b"".join(b',"%s":%s' % (name.encode(), value) for name, value in more.items())
    return answer(b"{" + members + b"}", 201, headers)


def committed_members(receipt: Receipt, principal: Principal) -> bytes:
    """The members ``transaction_id``, ``position`` and ``updates`` of an accepted change."""
    audience = None if principal.may("admin") else principal.user_id
    return b'"transaction_id":"%s","position":%d,"updates":%s' % (
        receipt.transaction_id.encode(),
        receipt.position,
        json_array(receipt.encoded_updates(audience)),
    )


def json_array(items: Iterable[bytes]) -> bytes:
    """The JSON array of encoded `items`."""
    return b"[" + b",".join(items) + b"]"


def listing(items: Iterable[bytes], next_cursor: str | None) -> Response:
    """One page of a list."""
    cursor = msgspec.json.encode(next_cursor)
    return answer(b'{"items":' + json_array(items) + b',"next_cursor":' + cursor + b"}")
