"""Trading controls: how a user's options in the demo book end, whatever the price."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ..auth import Principal
from ..ledger.catalog import Catalog
from ..ledger.changes import Change, Details, IdempotencyKey
from ..ledger.intents import Mode
from ..ledger.trading import controls
from ..ledger.trading.trades import DEMO_BOOK
from ..ledger.transaction_types import TransactionTypes
from . import policy
from .requests import BookName


class TradingControlSetting(Struct, kw_only=True):
    """
    Have the user's options end so that are opened from now on, until it is changed; `normal` is
    by the price.
    """

    mode: Mode
    book: Annotated[
        BookName | None,
        Meta(description=f"`{DEMO_BOOK}`, also where absent; no other is taken."),
    ] = None

    @property
    def in_book(self) -> str:
        """The book that is meant."""
        return DEMO_BOOK if self.book is None else self.book


def set_control(
    catalog: Catalog,
    types: TransactionTypes,
    principal: Principal,
    user_id: str,
    request: TradingControlSetting,
    key: IdempotencyKey | None = None,
) -> Change:
    """The control of `user_id` that `request` describes; raises DemoOnly and others."""
    kind = types["trading_control"]
    policy.require(principal, kind.role)
    return controls.set_control(
        catalog,
        kind,
        user_id,
        request.mode,
        book=request.in_book,
        details=Details(actor=principal.user_id, actor_role=principal.role, key=key),
    )
