"""Shared charges: one amount charged to many users by weight, in one transaction."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ..auth import Principal
from ..ledger import changes
from ..ledger.catalog import Catalog
from ..ledger.changes import MOST_POSTINGS, Change, IdempotencyKey
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import Amount, AssetCode, BookName, Described, UserId


class Share(Struct):
    """One user's part."""

    user_id: UserId
    weight: Annotated[int, Meta(ge=0, le=2**53 - 1)]


class SharedCharge(Described, kw_only=True):
    """Charge an amount to distinct users by weight; largest remainder, ties to the earlier."""

    book: BookName
    asset: AssetCode
    amount: Amount
    shares: Annotated[list[Share], Meta(min_length=1, max_length=MOST_POSTINGS - 1)]
    category: str | None = None


def shared_charge(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: SharedCharge,
    key: IdempotencyKey | None = None,
) -> Change:
    """The shared charge that `request` describes; raises LedgerError."""
    kind = types["shared_charge"]
    policy.require(principal, kind.role)
    return changes.shared_charge(
        catalog,
        kind,
        request.amount,
        [(policy.named(principal, share.user_id), share.weight) for share in request.shares],
        asset=request.asset,
        book=request.book,
        details=request.details(principal, key, {"category": request.category}),
    )
