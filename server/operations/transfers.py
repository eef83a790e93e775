"""Transfers: money from one user to another, within one book and asset."""

from __future__ import annotations

from ..auth import Principal
from ..ledger import changes
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import Amount, AssetCode, InBook, UserId


class Transfer(InBook, kw_only=True):
    """Move money from one user to another; users may send their own."""

    from_user: UserId
    to_user: UserId
    asset: AssetCode
    amount: Amount


def transfer(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: Transfer,
    key: IdempotencyKey | None = None,
) -> Change:
    """The transfer that `request` describes; raises LedgerError."""
    kind = types["transfer"]
    source = policy.named(principal, request.from_user)
    policy.check_change(principal, kind, source, request.in_book, catalog, request)
    return changes.transfer(
        catalog,
        kind,
        source,
        policy.named(principal, request.to_user),
        request.amount,
        asset=request.asset,
        book=request.in_book,
        details=request.details(principal, key),
    )
