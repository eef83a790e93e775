"""Trades: spot orders and options; made, listed, read, and demo options ended by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from starlette.responses import Response

from ..ledger import objects
from ..ledger.catalog import Catalog
from ..ledger.changes import Change
from ..ledger.errors import NotFound
from ..ledger.trading.trades import Kind, Option, SpotTrade, Trade, trade_view
from ..operations import options, policy, spot
from ..operations.options import OptionForcing, OptionOpening
from ..operations.spot import SpotOrder
from .answers import answer, committed, listing
from .calls import Call
from .queries import TradesQuery, continue_page, filters_of, write_cursor

Found = TypeVar("Found", SpotTrade, Option)


async def place_spot_order(call: Call, request: SpotOrder) -> Response:
    """Buy or sell at the newest price."""
    key, types = call.key(), call.services.manager.types
    return await _post(
        call, lambda catalog: spot.spot_order(catalog, types, call.principal, request, key)
    )


async def open_option(call: Call, request: OptionOpening) -> Response:
    """Stake on where the price will be."""
    key, types = call.key(), call.services.manager.types
    return await _post(
        call, lambda catalog: options.open_option(catalog, types, call.principal, request, key)
    )


async def force_option(call: Call, request: OptionForcing) -> Response:
    """End an open option of the demo book now."""
    key, manager = call.key(), call.services.manager
    option = await _found(call, Option)
    return await _post(
        call,
        lambda catalog: options.force_option(
            catalog, manager.types, call.principal, option, request, key
        ),
    )


async def read_spot_order(call: Call) -> Response:
    """One spot order."""
    return answer(_view(call, await _found(call, SpotTrade)))


async def read_option(call: Call) -> Response:
    """One option as it stands."""
    return answer(_view(call, await _found(call, Option)))


async def list_spot_orders(call: Call, query: TradesQuery) -> Response:
    """The spot orders of a user, or of everybody for auditors, newest first."""
    return await _list(call, query, "spot")


async def list_options(call: Call, query: TradesQuery) -> Response:
    """The options of a user, or of everybody for auditors, newest first."""
    return await _list(call, query, "option")


async def _post(call: Call, change: Callable[[Catalog], Change]) -> Response:
    manager = call.services.manager
    receipt = await manager.post(await manager.prepare(change))
    return committed(receipt, call.principal, trade=msgspec.json.encode(receipt.trade))


async def _found(call: Call, form: type[Found]) -> Found:
    """The trade that the path names, where it is a `form` and the caller may see it."""
    trade = await call.services.manager.trading.read_trade(call.id)
    if not isinstance(trade, form) or not policy.may_see(call.principal, trade.user_id):
        raise NotFound("there is no such trade")
    return trade


async def _list(call: Call, query: TradesQuery, kind: Kind) -> Response:
    query, before = continue_page(kind, query)
    rows = await call.services.manager.trading.trades(
        kind=kind,
        user_id=policy.listed_owner(call.principal, query.user_id),
        status=query.status,
        book=query.book,
        before=before,
        limit=query.limit + 1,
    )
    page = rows[: query.limit]
    more = len(rows) > query.limit
    return listing(
        [msgspec.json.encode(_view(call, trade)) for trade in page],
        write_cursor(kind, filters_of(query), page[-1].position or 0) if more else None,
    )


def _view(call: Call, trade: Trade) -> objects.Trade:
    return trade_view(trade, call.services.manager.catalog)
