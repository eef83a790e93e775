"""
Trades: what was bought or sold at once, and options that are open until they expire.

Pure. A trade's id is the id of the transaction that opened it; each of its transactions tells the
whole trade.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct

from .. import objects
from ..accounts import AccountKey
from ..catalog import Catalog
from ..errors import DemoOnly
from ..intents import Direction, Outcome, TradeSide
from ..money import format_amount, parse_amount
from .prices import Source

# Play money: the only book where anybody may decide how trades end.
DEMO_BOOK = "demo"
# Payout rates count ten-thousandths.
RATE_SCALE = 4

Status = Literal["filled", "open", "settled", "refunded"]
Forced = Literal["win", "lose"]


class SpotTrade(Struct, frozen=True, kw_only=True):
    """
    An order that was filled at once. Amounts are minor units of their assets: what moved, and the
    fee besides, in quote; `price` counts units of the pair's last decimal.
    """

    id: str
    user_id: str
    book: str
    pair: str
    side: TradeSide
    price: int
    base_amount: int
    quote_amount: int
    fee: int
    price_source: Source
    client_order_id: str | None
    filled_at: str
    position: int | None = None

    @property
    def status(self) -> Status:
        """It is over as it begins."""
        return "filled"


class Option(Struct, frozen=True, kw_only=True):
    """
    A stake on where a price goes, as its newest transaction left it.

    key: the account that paid the stake; stake, payout (what a win pays besides the stake): minor
    units; prices count units of the pair's last decimal; payout_rate: ten-thousandths; times are
    RFC 3339; control: what was decided for the user's options as this one opened, where it forces
    an outcome; position: where it was opened, None until that is committed.
    """

    id: str
    key: AccountKey
    pair: str
    status: Status
    direction: Direction
    stake: int
    duration_s: int
    payout_rate: int
    payout: int
    opens_at: str
    expires_at: str
    open_price: int
    settle_price: int | None = None
    outcome: Outcome | None = None
    control: Forced | None = None
    forced: bool = False
    price_source: Source
    client_order_id: str | None
    settled_at: str | None = None
    reason: str | None = None
    position: int | None = None

    @property
    def user_id(self) -> str:
        """Whose it is."""
        return self.key.owner

    @property
    def book(self) -> str:
        """The book that its stake is in."""
        return self.key.book


Trade = SpotTrade | Option


def check_demo(book: str) -> None:
    """Raise DemoOnly where trades of `book` end as they end."""
    if book != DEMO_BOOK:
        raise DemoOnly(pointer="/book")


def kind_of(trade: Trade) -> Literal["spot", "option"]:
    """What the contract calls the kind of `trade`."""
    return "spot" if isinstance(trade, SpotTrade) else "option"


def trade_view(trade: Trade, catalog: Catalog) -> objects.Trade:
    """The TRADE object: decimal strings; what does not apply to its kind is left out."""
    pair = catalog.pair(trade.pair)
    base, quote = catalog.asset(pair.base).scale, catalog.asset(pair.quote).scale
    told: dict[str, Any] = {
        "id": trade.id,
        "kind": kind_of(trade),
        "user_id": trade.user_id,
        "book": trade.book,
        "pair": trade.pair,
        "status": trade.status,
        "price_source": trade.price_source,
        "client_order_id": trade.client_order_id,
    }
    if isinstance(trade, SpotTrade):
        return objects.Trade(
            **told,
            side=trade.side,
            price=format_amount(trade.price, pair.price_decimals),
            base_amount=format_amount(trade.base_amount, base),
            quote_amount=format_amount(trade.quote_amount, quote),
            fee=format_amount(trade.fee, quote),
            filled_at=trade.filled_at,
        )
    settle_price = trade.settle_price
    return objects.Trade(
        **told,
        direction=trade.direction,
        stake=format_amount(trade.stake, quote),
        duration_s=trade.duration_s,
        payout_rate=format_amount(trade.payout_rate, RATE_SCALE),
        payout=format_amount(trade.payout, quote),
        opens_at=trade.opens_at,
        expires_at=trade.expires_at,
        open_price=format_amount(trade.open_price, pair.price_decimals),
        settle_price=(
            None if settle_price is None else format_amount(settle_price, pair.price_decimals)
        ),
        outcome=trade.outcome,
        control=trade.control or UNSET,
        forced=trade.forced,
        settled_at=trade.settled_at,
        reason=trade.reason,
    )


def trade_from_view(view: Mapping[str, Any], position: int, catalog: Catalog) -> Trade:
    """The trade, opened at `position`, that the TRADE object `view` tells of."""
    told = msgspec.convert(view, objects.Trade)
    pair = catalog.pair(told.pair)
    base, quote = catalog.asset(pair.base).scale, catalog.asset(pair.quote).scale
    given = {
        name: value
        for name, value in msgspec.structs.asdict(told).items()
        if value is not UNSET and name not in ("kind", "user_id", "book", "status")
    }
    scales = {
        "price": pair.price_decimals,
        "open_price": pair.price_decimals,
        "settle_price": pair.price_decimals,
        "base_amount": base,
        "quote_amount": quote,
        "fee": quote,
        "stake": quote,
        "payout": quote,
        "payout_rate": RATE_SCALE,
    }
    for name, scale in scales.items():
        if given.get(name) is not None:
            given[name] = parse_amount(given[name], scale)
    if told.kind == "spot":
        return SpotTrade(**given, user_id=told.user_id, book=told.book, position=position)
    key = AccountKey(told.book, told.user_id, pair.quote)
    return Option(**given, key=key, status=told.status, position=position)
