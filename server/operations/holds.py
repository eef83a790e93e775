"""Holds: funds reserved, and what becomes of them: confirmed or voided by who placed them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..auth import Principal
from ..ledger import holds
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, IdempotencyKey
from ..ledger.errors import NotAllowed, NotFound
from ..ledger.holds import LONGEST_HOLD_SECONDS, Hold
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import Amount, AssetCode, Described, InBook, UserId


class HoldPlacing(InBook, kw_only=True):
    """Reserve an amount; without `expires_in_s` until it is confirmed or voided."""

    user_id: UserId
    asset: AssetCode
    amount: Amount
    expires_in_s: (
        Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": LONGEST_HOLD_SECONDS})]
        | None
    ) = None


class HoldConfirmation(Described, kw_only=True):
    """Move `amount` of a hold, or what remains; to `to_user`, or out of the ledger."""

    amount: Amount | None = None
    release_remainder: bool = False
    to_user: UserId | None = None


class HoldVoiding(Described, kw_only=True):
    """Release what remains of a hold."""


def place_hold(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: HoldPlacing,
    key: IdempotencyKey | None = None,
) -> Change:
    """The hold that `request` describes; raises LedgerError."""
    kind = types["hold_placed"]
    owner = policy.named(principal, request.user_id)
    policy.check_change(principal, kind, owner, request.in_book, catalog, request)
    return holds.place_hold(
        catalog,
        kind,
        owner,
        request.amount,
        expires_in_s=request.expires_in_s,
        asset=request.asset,
        book=request.in_book,
        details=request.details(principal, key),
    )


def confirm_hold(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    hold: Hold,
    request: HoldConfirmation,
    key: IdempotencyKey | None = None,
) -> Change:
    """The confirmation of `hold` that `request` describes; raises LedgerError."""
    _check_end(principal, hold, catalog, request)
    to_user = request.to_user
    return holds.confirm_hold(
        catalog,
        types["hold_confirmed"],
        hold,
        request.amount,
        release_remainder=request.release_remainder,
        to_user=None if to_user is None else policy.named(principal, to_user),
        details=request.details(principal, key),
    )


def void_hold(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    hold: Hold,
    request: HoldVoiding,
    key: IdempotencyKey | None = None,
) -> Change:
    """The release of `hold`; raises LedgerError."""
    _check_end(principal, hold, catalog, request)
    details = request.details(principal, key)
    return holds.end_hold(catalog, types["hold_voided"], hold, "voided", details=details)


def may_see(principal: Principal, hold: Hold) -> bool:
    """Whether `hold` exists for `principal`: its owner, who placed it, and from auditor up."""
    return principal.may("auditor") or principal.user_id in (hold.key.owner, hold.placed_by)


def _check_end(principal: Principal, hold: Hold, catalog: Catalog, request: Described) -> None:
    if not may_see(principal, hold):
        raise NotFound("there is no such hold")
    if principal.may("admin"):
        return
    policy.check_self_service(principal, hold.key.book, catalog, request)
    if principal.user_id != hold.placed_by:
        raise NotAllowed("a hold is ended by who placed it, or by an admin")
