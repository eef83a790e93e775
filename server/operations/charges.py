"""Charges for services, and how users pay them: before (recharge) or after (payment)."""

from __future__ import annotations

from ..auth import Principal
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.transaction_types import TransactionTypes
from .one_user import OneUser, move_one_user


class Charge(OneUser, kw_only=True):
    """Charge a user for a service."""

    service_type: str | None = None


def charge(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: Charge,
    key: IdempotencyKey | None = None,
) -> Change:
    """The charge that `request` describes; raises LedgerError."""
    return move_one_user(catalog, types["charge"], principal, request, key, request.service_type)


class Recharge(OneUser, kw_only=True):
    """Top up a prepaid account; lifts its suspension."""

    service_type: str | None = None


def recharge(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: Recharge,
    key: IdempotencyKey | None = None,
) -> Change:
    """The recharge that `request` describes; raises LedgerError."""
    return move_one_user(catalog, types["recharge"], principal, request, key, request.service_type)


class Payment(OneUser, kw_only=True):
    """Take a payment towards what a user owes in a debit book."""

    service_type: str | None = None


def payment(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: Payment,
    key: IdempotencyKey | None = None,
) -> Change:
    """The payment that `request` describes; raises LedgerError."""
    return move_one_user(catalog, types["payment"], principal, request, key, request.service_type)
