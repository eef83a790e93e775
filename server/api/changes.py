"""Changes of money and accounts: the operation names the change, the ledger decides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from ..ledger.catalog import Catalog
from ..ledger.changes import Change
from ..operations.accounts import AccountChange, change_account
from ..operations.requests import Operation
from ..operations.reversals import Reversal, reversal
from .answers import committed
from .calls import Call, Endpoint


def posting(operation: Operation) -> Endpoint:
    """The endpoint that posts what `operation` makes of the call's body."""

    async def post(call: Call, request: Any) -> Response:
        key, types = call.key(), call.services.manager.types
        return await post_change(
            call, lambda catalog: operation(catalog, types, call.principal, request, key)
        )

    return post


async def patch_account(call: Call, request: AccountChange) -> Response:
    """Change the settings of the account that the path names."""
    key, types = call.key(), call.services.manager.types
    place = (call.path["book"], call.path["owner"], call.path["asset"])
    return await post_change(
        call,
        lambda catalog: change_account(catalog, types, call.principal, place, request, key),
    )


async def reverse_transaction(call: Call, request: Reversal) -> Response:
    """Undo the transaction that the path names."""
    key, types = call.key(), call.services.manager.types
    original = await call.services.manager.read_original(call.id)
    return await post_change(
        call,
        lambda catalog: reversal(catalog, types, call.principal, original, request, key),
    )


async def post_change(call: Call, change: Callable[[Catalog], Change]) -> Response:
    """Have the ledger decide `change`, and answer with what the caller may see of it."""
    manager = call.services.manager
    receipt = await manager.post(await manager.prepare(change))
    return committed(receipt, call.principal)
