"""Withdrawals: money that goes out."""

from __future__ import annotations

from ..auth import Principal
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.transaction_types import TransactionTypes
from .one_user import OneUser, move_one_user


class Withdrawal(OneUser, kw_only=True):
    """Pay money out to a user, who may ask for it where the book has self-service."""


def withdrawal(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: Withdrawal,
    key: IdempotencyKey | None = None,
) -> Change:
    """The withdrawal that `request` describes; raises LedgerError."""
    return move_one_user(catalog, types["withdrawal"], principal, request, key)
