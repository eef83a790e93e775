"""Deposits: money that comes in from outside."""

from __future__ import annotations

from ..auth import Principal
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.transaction_types import TransactionTypes
from .one_user import OneUser, move_one_user


class Deposit(OneUser, kw_only=True):
    """Credit a user with money from outside."""


def deposit(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: Deposit,
    key: IdempotencyKey | None = None,
) -> Change:
    """The deposit that `request` describes; raises LedgerError."""
    return move_one_user(catalog, types["deposit"], principal, request, key)
