"""Accounts made and set by an admin: floors, thresholds, freezing and closing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ..auth import Principal
from ..ledger import changes
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, Details, IdempotencyKey
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import Amount, AssetCode, BookName, UserId

Threshold = Annotated[Amount | UnsetType | None, Meta(description="null = none")]


class AccountSettings(Struct, kw_only=True):
    """What can be set on an account: absent = unchanged, null = none."""

    floor: Threshold = UNSET
    suspend_below: Threshold = UNSET
    alert_below: Threshold = UNSET

    def given(self) -> dict[str, Any]:
        """The settings that the request names."""
        every = {name: getattr(self, name) for name in _THRESHOLDS}
        return {name: value for name, value in every.items() if value is not UNSET}


class AccountOpening(AccountSettings, kw_only=True):
    """Make an account explicitly; what is not named comes from the book."""

    book: BookName
    user_id: UserId
    asset: AssetCode


class AccountChange(AccountSettings, kw_only=True):
    """New settings of an account."""

    status: Literal["active", "frozen", "closed"] | None = None

    def given(self) -> dict[str, Any]:
        """The settings that the request names."""
        thresholds = super().given()
        return thresholds if self.status is None else {**thresholds, "status": self.status}


_THRESHOLDS = ("floor", "suspend_below", "alert_below")


def open_account(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    request: AccountOpening,
    key: IdempotencyKey | None = None,
) -> Change:
    """The making of the account that `request` describes; raises LedgerError."""
    kind = types["account_opened"]
    policy.require(principal, kind.role)
    return changes.open_account(
        catalog,
        kind,
        policy.named(principal, request.user_id),
        asset=request.asset,
        book=request.book,
        settings=request.given(),
        details=_details(principal, key),
    )


def change_account(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    place: tuple[str, str, str],
    request: AccountChange,
    key: IdempotencyKey | None = None,
) -> Change:
    """The new settings of the account at `place` (book, owner, asset); raises LedgerError."""
    kind = types["account_changed"]
    policy.require(principal, kind.role)
    book, owner, asset = place
    return changes.change_account(
        catalog,
        kind,
        policy.named(principal, owner),
        asset=asset,
        book=book,
        settings=request.given(),
        details=_details(principal, key),
    )


def _details(principal: Principal, key: IdempotencyKey | None) -> Details:
    return Details(actor=principal.user_id, actor_role=principal.role, key=key)
