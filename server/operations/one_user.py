"""Changes of one user's account by a positive amount, in the direction of their type."""

from __future__ import annotations

from ..auth import Principal
from ..ledger import changes
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.transaction_types import TransactionType
from . import policy
from .requests import Amount, AssetCode, InBook, UserId


class OneUser(InBook, kw_only=True):
    """A positive amount and whose account it moves; the type of change gives the direction."""

    user_id: UserId
    asset: AssetCode
    amount: Amount


def move_one_user(
    catalog: Catalog,
    kind: TransactionType,
    principal: Principal,
    request: OneUser,
    key: IdempotencyKey | None,
    service_type: str | None = None,
) -> Change:
    """
    The change of `kind` on one user's account, where `principal` may ask for it.

    service_type: kept in the metadata where given. Raises LedgerError.
    """
    owner = policy.named(principal, request.user_id)
    policy.check_change(principal, kind, owner, request.in_book, catalog, request)
    return changes.directed(
        catalog,
        kind,
        owner,
        request.amount,
        asset=request.asset,
        book=request.in_book,
        details=request.details(principal, key, {"service_type": service_type}),
    )
