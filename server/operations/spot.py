"""Spot orders: one asset for another, at once, at the newest price of their pair."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..auth import Principal
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.intents import TradeSide
from ..ledger.trading import spot
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import Amount, ClientOrderId, ForOneself, PairName


class SpotOrder(ForOneself, kw_only=True):
    """
    Buy or sell at the newest price: `base_amount`, or what `quote_amount` covers without the fee;
    all of it or nothing.
    """

    pair: PairName
    side: TradeSide
    base_amount: Amount | None = None
    quote_amount: Amount | None = None
    limit_price: Annotated[
        Amount | None, Meta(description="Buy at no more, or sell at no less; else nothing is done.")
    ] = None
    client_order_id: ClientOrderId | None = None


def spot_order(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: SpotOrder,
    key: IdempotencyKey | None = None,
) -> Change:
    """The order that `request` describes, for oneself; raises LedgerError."""
    policy.check_oneself(principal, catalog, request)
    return spot.spot_order(
        catalog,
        types[f"spot_{request.side}"],
        principal.user_id,
        request.pair,
        request.side,
        base_amount=request.base_amount,
        quote_amount=request.quote_amount,
        limit_price=request.limit_price,
        client_order_id=request.client_order_id,
        book=request.in_book,
        details=request.details(principal, key),
    )
