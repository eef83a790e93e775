"""Adjustments: corrections by hand, by a signed amount or to a new balance."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..auth import Principal
from ..ledger import changes
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.errors import InvalidRequest
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import Amount, AssetCode, InBook, UserId


class Adjustment(InBook, kw_only=True):
    """Correct a balance by `amount` (signed) or to `new_balance`; `description` says why."""

    user_id: UserId
    asset: AssetCode
    amount: Amount | None = None
    new_balance: Amount | None = None
    if_seq: (
        Annotated[int, Meta(description="With `new_balance`: the account's seq must be this.")]
        | None
    ) = None


def adjustment(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: Adjustment,
    key: IdempotencyKey | None = None,
) -> Change:
    """The adjustment that `request` describes; raises LedgerError."""
    kind = types["adjustment"]
    owner = policy.named(principal, request.user_id)
    policy.check_change(principal, kind, owner, request.in_book, catalog, request)
    if not (request.description or "").strip():
        raise InvalidRequest("an adjustment needs a description", pointer="/description")
    if (request.amount is None) == (request.new_balance is None):
        raise InvalidRequest("give either amount or new_balance", pointer="/amount")
    details = request.details(principal, key)
    if request.amount is not None:
        if request.if_seq is not None:
            raise InvalidRequest("if_seq goes with new_balance", pointer="/if_seq")
        return changes.signed(
            catalog,
            kind,
            owner,
            request.amount,
            asset=request.asset,
            book=request.in_book,
            details=details,
        )
    assert request.new_balance is not None
    return changes.set_balance(
        catalog,
        kind,
        owner,
        request.new_balance,
        if_seq=request.if_seq,
        asset=request.asset,
        book=request.in_book,
        details=details,
    )
