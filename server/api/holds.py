"""Holds: placed, listed, confirmed, voided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.responses import Response

from ..ledger import objects
from ..ledger.catalog import Catalog
from ..ledger.changes import Change
from ..ledger.errors import NotFound
from ..ledger.holds import Hold
from ..ledger.views import hold_view, owners_hold
from ..operations import holds, policy
from ..operations.holds import HoldConfirmation, HoldPlacing, HoldVoiding
from .answers import answer, committed, listing
from .calls import Call
from .queries import HoldsQuery, continue_page, filters_of, write_cursor


async def place_hold(call: Call, request: HoldPlacing) -> Response:
    """Reserve an amount of a balance."""
    key, types = call.key(), call.services.manager.types
    return await _post(
        call, lambda catalog: holds.place_hold(catalog, types, call.principal, request, key)
    )


async def confirm_hold(call: Call, request: HoldConfirmation) -> Response:
    """Move what a hold reserves, or a part of it."""
    return await _end(call, request, holds.confirm_hold)


async def void_hold(call: Call, request: HoldVoiding) -> Response:
    """Release what a hold reserves."""
    return await _end(call, request, holds.void_hold)


async def read_hold(call: Call) -> Response:
    """One hold as it stands."""
    hold = await call.services.manager.read_hold(call.id)
    if not holds.may_see(call.principal, hold):
        raise NotFound("there is no such hold")
    return answer(await _view(call, hold))


async def list_holds(call: Call, query: HoldsQuery) -> Response:
    """The holds of a user, or of everybody for auditors, newest first."""
    query, before = continue_page("holds", query)
    wanted = policy.listed_owner(call.principal, query.user_id)
    rows = await call.services.manager.reader.holds(wanted, query.status, before, query.limit + 1)
    page = rows[: query.limit]
    more = len(rows) > query.limit
    return listing(
        [msgspec.json.encode(await _view(call, hold)) for hold in page],
        write_cursor("holds", filters_of(query), page[-1].position or 0) if more else None,
    )


async def _end(call: Call, request: Any, operation: Callable[..., Change]) -> Response:
    key, manager = call.key(), call.services.manager
    hold = await manager.read_hold(call.id)
    return await _post(
        call,
        lambda catalog: operation(catalog, manager.types, call.principal, hold, request, key),
    )


async def _post(call: Call, change: Callable[[Catalog], Change]) -> Response:
    manager = call.services.manager
    receipt = await manager.post(await manager.prepare(change))
    placed = msgspec.convert(receipt.hold, objects.Hold)
    view = placed if call.principal.may("auditor") else owners_hold(placed)
    return committed(receipt, call.principal, hold=msgspec.json.encode(view))


async def _view(call: Call, hold: Hold) -> objects.Hold:
    view = await call.services.manager.prepare(lambda catalog: hold_view(hold, catalog))
    return view if call.principal.may("auditor") else owners_hold(view)
