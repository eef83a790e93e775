"""
Trading control: how a user's options end, decided beforehand, with play money only. Pure.

Deciding the outcome of trades with real money would be fraud, so there is no other book for it.
"""

from __future__ import annotations

from ..accounts import check_user_id
from ..catalog import Catalog
from ..changes import Change, Details, make_change
from ..errors import InvalidRequest
from ..intents import Mode, SetControl
from ..transaction_types import TransactionType
from .trades import DEMO_BOOK, check_demo


def set_control(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    mode: Mode,
    *,
    book: str = DEMO_BOOK,
    details: Details,
) -> Change:
    """
    From now on the options that the user opens in the demo book ``win``, ``lose``, or end as they
    end (``normal``). Raises DemoOnly where `book` is another one.
    """
    check_demo(book, "/book")
    if mode not in ("win", "normal", "lose"):
        raise InvalidRequest("a mode is win, normal or lose", pointer="/mode")
    return make_change(kind, (), SetControl(check_user_id(user_id), book, mode), details, None)
