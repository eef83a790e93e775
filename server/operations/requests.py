"""What requests have in common: their texts, and the details of the change they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from ..auth import Principal
from ..ledger.accounts import LONGEST_USER_ID
from ..ledger.catalog import Catalog
from ..ledger.changes import (
    DEEPEST_METADATA,
    LARGEST_METADATA,
    LONGEST_DESCRIPTION,
    Change,
    Details,
    IdempotencyKey,
)
from ..ledger.money import AMOUNT_SYNTAX
from ..ledger.trading.spot import LONGEST_CLIENT_ORDER_ID
from ..ledger.transaction_types import TransactionTypes

DEFAULT_BOOK = "main"

Amount = Annotated[
    str,
    Meta(
        description="A decimal string in whole units, with at most the asset's decimals.",
        examples=["12.50"],
        extra_json_schema={"pattern": f"^{AMOUNT_SYNTAX}$"},
    ),
]
UserId = Annotated[
    str,
    Meta(
        description=f"1 to {LONGEST_USER_ID} characters; `me` stands for the caller.",
        extra_json_schema={"minLength": 1, "maxLength": LONGEST_USER_ID},
    ),
]
AssetCode = Annotated[str, Meta(description="Such as `USDT`.")]
BookName = Annotated[str, Meta(description="Such as `main`.")]
PairName = Annotated[str, Meta(description="Such as `BTC-USDT`.")]
ClientOrderId = Annotated[
    str,
    Meta(
        description="Your own name of the order; a user's orders have different ones.",
        extra_json_schema={"minLength": 1, "maxLength": LONGEST_CLIENT_ORDER_ID},
    ),
]
Description = Annotated[str, Meta(extra_json_schema={"maxLength": LONGEST_DESCRIPTION})]
Metadata = Annotated[
    dict[str, Any],
    Meta(
        description=f"At most {LARGEST_METADATA} bytes and {DEEPEST_METADATA} levels;"
        " every user touched sees it."
    ),
]
Internal = Annotated[Any, Meta(description="Any JSON value, seen by admins only.")]
EffectiveAt = Annotated[
    str, Meta(description="RFC 3339, not in the future.", extra_json_schema={"format": "date-time"})
]


class Described(Struct, kw_only=True):
    """The texts that any change of money may carry; users may not send the last two."""

    description: Description | None = None
    reference: str | None = None
    metadata: Metadata | None = None
    internal: Internal = None
    effective_at: EffectiveAt | None = None

    def details(
        self,
        principal: Principal,
        key: IdempotencyKey | None,
        labels: Mapping[str, str | None] | None = None,
    ) -> Details:
        """
        The details of the change that `principal` asks for under `key`.

        labels: further metadata by name; those that are None are left out.
        """
        metadata = dict(self.metadata or {})
        metadata.update({k: v for k, v in (labels or {}).items() if v is not None})
        return Details(
            description=self.description or "",
            reference=self.reference,
            metadata=metadata,
            internal=self.internal,
            effective_at=self.effective_at,
            actor=principal.user_id,
            actor_role=principal.role,
            key=key,
        )


class InBook(Described, kw_only=True):
    """What may name its book."""

    book: Annotated[BookName | None, Meta(description=f"`{DEFAULT_BOOK}` where absent.")] = None

    @property
    def in_book(self) -> str:
        """The book that is meant."""
        return DEFAULT_BOOK if self.book is None else self.book


class ForOneself(InBook, kw_only=True):
    """What nobody asks for on behalf of others."""

    user_id: Annotated[UserId | None, Meta(description="Nobody but oneself.")] = None


Operation = Callable[[Catalog, TransactionTypes, Principal, Any, IdempotencyKey | None], Change]
"""(catalog, types, principal, request, key) -> the change; raises LedgerError where refused."""
