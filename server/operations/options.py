"""Options: a stake on where the price of a pair will be, and how demo ones are ended by hand."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..auth import Principal
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.intents import Direction, Outcome
from ..ledger.trading import options
from ..ledger.trading.trades import Option
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import Amount, ClientOrderId, Described, ForOneself, PairName


class OptionOpening(ForOneself, kw_only=True):
    """Stake an amount on the price being higher (`up`) or lower (`down`) after `duration_s`."""

    pair: PairName
    direction: Direction
    stake: Amount
    duration_s: Annotated[int, Meta(description="One of the pair's `durations`.")]
    client_order_id: ClientOrderId | None = None


class OptionForcing(Described, kw_only=True):
    """End an open option of the demo book now, with this outcome."""

    outcome: Outcome


def open_option(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: OptionOpening,
    key: IdempotencyKey | None = None,
) -> Change:
    """The option that `request` describes, for oneself; raises LedgerError."""
    policy.check_oneself(principal, catalog, request)
    return options.open_option(
        catalog,
        types["option_opened"],
        principal.user_id,
        request.pair,
        request.direction,
        request.stake,
        request.duration_s,
        client_order_id=request.client_order_id,
        book=request.in_book,
        details=request.details(principal, key),
    )


def force_option(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    option: Option,
    request: OptionForcing,
    key: IdempotencyKey | None = None,
) -> Change:
    """The end of `option` that `request` describes; raises DemoOnly and other LedgerErrors."""
    policy.require(principal, "superadmin")
    return options.force_option(
        catalog,
        types["option_settled"],
        option,
        request.outcome,
        details=request.details(principal, key),
    )
