"""Opening balances: what an account brings along, booked once and recognised for good."""

from __future__ import annotations

from hashlib import sha256

from .accounts import AccountKey
from .catalog import Catalog
from .changes import LONGEST_KEY, Change, Details, IdempotencyKey, set_balance
from .money import format_amount
from .transaction_types import TransactionTypes

# Namespace and principal of their keys: no request reaches the namespace, and whoever repeats
# an import finds what another began.
OPENING = "opening"


def opening_key(account: AccountKey) -> IdempotencyKey:
    """The key under which the opening balance of `account` is booked, once for all."""
    key = f"opening:{account.name}"
    if len(key) > LONGEST_KEY:
        key = f"opening:sha256:{sha256(account.name.encode()).hexdigest()}"
    return IdempotencyKey(OPENING, OPENING, key)


def opening_balance(
    catalog: Catalog,
    types: TransactionTypes,
    account: AccountKey,
    balance: int,
    *,
    at_seq: int,
    actor: str,
) -> Change:
    """
    The opening of `account`, which is at `at_seq`, with `balance` (minor units, own sense); an
    entry even where that is zero, so that the account exists. Raises LedgerError.
    """
    return set_balance(
        catalog,
        types["opening_balance"],
        account.owner,
        format_amount(balance, catalog.asset(account.asset).scale),
        if_seq=at_seq,
        asset=account.asset,
        book=account.book,
        details=Details(description="Opening balance", actor=actor, key=opening_key(account)),
    )
