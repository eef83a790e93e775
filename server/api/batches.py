"""Batches: each item decided as if it had come alone, or all of them as one."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from starlette.responses import Response

from ..ledger import Receipt
from ..ledger.changes import Change, IdempotencyKey, refused
from ..ledger.errors import InvalidRequest, LedgerError
from ..operations.batches import OPERATIONS
from ..operations.requests import Operation
from .answers import answer, committed_members, json_array
from .bodies import Batch, BatchItem, decode_body
from .calls import Call
from .problems import STATUS, problem


async def create_batch(call: Call, batch: Batch) -> Response:
    """Decide every item in order; the results stand in the same order."""
    key = call.key("batch")
    asked = [await _change(call, bytes(item), key, i) for i, item in enumerate(batch.items)]
    try:
        outcomes = await call.services.manager.post_many(asked, atomic=bool(batch.atomic))
    except LedgerError as error:
        if "item" in error.extra:
            raise _of_item(error, error.extra["item"]) from None
        raise
    _refuse_if_unavailable(outcomes)
    replayed = all(isinstance(each, Receipt) and each.replayed for each in outcomes)
    return answer(
        b'{"results":%s}'
        % json_array(_result(call, each, index) for index, each in enumerate(outcomes)),
        headers={"Idempotent-Replayed": "true"} if replayed else None,
    )


async def _change(call: Call, item: bytes, key: IdempotencyKey | None, index: int) -> Change:
    """The change that `item` asks for; where that cannot be made, one that is refused for it."""
    manager = call.services.manager
    item_key = key and IdempotencyKey(key.namespace, key.principal, f"{key.key}/{index}")
    try:
        request, operation = _read(item)
        return await manager.prepare(
            lambda catalog: operation(catalog, manager.types, call.principal, request, item_key)
        )
    except LedgerError as error:
        return refused(error)


def _read(item: bytes) -> tuple[Struct, Operation]:
    name = decode_body(item, BatchItem).operation
    if name not in OPERATIONS:
        raise InvalidRequest(
            f"an operation is one of {', '.join(OPERATIONS)}", pointer="/operation"
        )
    form, operation = OPERATIONS[name]
    return decode_body(item, form), operation


def _of_item(error: LedgerError, index: int) -> LedgerError:
    error.extra["item"] = index
    if error.pointer is not None:
        error.pointer = f"/items/{index}{error.pointer}"
    return error


def _refuse_if_unavailable(outcomes: list[Receipt | LedgerError]) -> None:
    """Where nothing could be decided (paused, overloaded), that is the answer to the whole."""
    refusals = [each for each in outcomes if isinstance(each, LedgerError)]
    if len(refusals) == len(outcomes) and all(STATUS.get(e.code) == 503 for e in refusals):
        raise refusals[0]


def _result(call: Call, outcome: Receipt | LedgerError, index: int) -> bytes:
    if isinstance(outcome, Receipt):
        return b'{"status":201,' + committed_members(outcome, call.principal) + b"}"
    document = problem(outcome, call.request.scope["path"], prefix=f"/items/{index}")
    return msgspec.json.encode({"status": document["status"], "problem": document})
