"""Reversals: a transaction undone, once."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ..auth import Principal
from ..ledger import reversals
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, Details, IdempotencyKey
from ..ledger.errors import InvalidRequest
from ..ledger.reversals import Original
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import Description, Metadata


class Reversal(Struct, kw_only=True):
    """Undo a transaction; `description` says why."""

    description: Description
    reference: str | None = None
    metadata: Metadata | None = None
    force: Annotated[bool, Meta(description="Past the floors; superadmins only.")] = False


def reversal(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    original: Original,
    request: Reversal,
    key: IdempotencyKey | None = None,
) -> Change:
    """The undoing of `original`; raises LedgerError."""
    policy.require(principal, types["reversal"].role)
    if request.force:
        policy.require(principal, "superadmin")
    if not request.description.strip():
        raise InvalidRequest("a reversal needs a description", pointer="/description")
    details = Details(
        description=request.description,
        reference=request.reference,
        metadata=request.metadata,
        actor=principal.user_id,
        actor_role=principal.role,
        key=key,
    )
    return reversals.reverse(catalog, types, original, forced=request.force, details=details)
