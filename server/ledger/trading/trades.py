"""
Trades: what was bought or sold at once, and options that are open until they expire.

Pure. A trade's id is the id of the transaction that opened it; each of its transactions tells the
whole trade.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, structs

from .. import objects
from ..accounts import AccountKey
from ..catalog import Catalog
from ..errors import DemoOnly
from ..intents import Direction, Outcome, TradeSide
from ..money import format_amount, parse_amount
from .pairs import RATE_DECIMALS
from .prices import PriceSource

# Play money: the only book where anybody may decide how trades end.
DEMO_BOOK = "demo"

Status = Literal["open", "settled", "refunded"]
Kind = Literal["spot", "option"]
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
    price_source: PriceSource
    client_order_id: str | None
    filled_at: str
    position: int | None = None

    @property
    def status(self) -> Literal["filled"]:
        """It is over as it begins."""
        return "filled"


class Option(Struct, frozen=True, kw_only=True):
    """
    A stake on where a price goes, as its newest transaction left it.

    key: the account that paid the stake; stake, payout (what a win pays besides the stake): minor
    units; prices count units of the pair's last decimal; payout_rate: ten-thousandths; times are
    RFC 3339; settlement_age_s: the oldest that the price of its expiry may be, in seconds;
    control: what was decided for the user's options as this one opened, where it forces an
    outcome; position: where it was opened, None until that is committed.
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
    settlement_age_s: int
    open_price: int
    settle_price: int | None = None
    settle_source: PriceSource | None = None
    outcome: Outcome | None = None
    control: Forced | None = None
    forced: bool = False
    price_source: PriceSource
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


class Expired(Struct, frozen=True):
    """An option whose time is over, by the columns that find it; expires_at: RFC 3339."""

    id: str
    user_id: str
    book: str
    pair: str
    expires_at: str


Trade = SpotTrade | Option


def check_demo(book: str, pointer: str | None = None) -> None:
    """Raise DemoOnly where trades of `book`, which `pointer` names, end as they end."""
    if book != DEMO_BOOK:
        raise DemoOnly(pointer=pointer)


def kind_of(trade: Trade) -> Kind:
    """What the contract calls the kind of `trade`."""
    return "spot" if isinstance(trade, SpotTrade) else "option"


def trade_view(trade: Trade, catalog: Catalog) -> objects.Trade:
    """The TRADE object of `trade`: decimal strings; what its kind does not have is left out."""
    scales = _scales(trade.pair, catalog)
    told = {name: value for name, value in structs.asdict(trade).items() if value is not None}
    for name in told.keys() & scales.keys():
        told[name] = format_amount(told[name], scales[name])
    told.pop("position", None)
    told.setdefault("client_order_id", None)
    if isinstance(trade, SpotTrade):
        return objects.SpotTrade(**told, status="filled")
    del told["key"]
    for name in ("settle_price", "settle_source", "outcome", "settled_at", "reason"):
        told.setdefault(name, None)
    return objects.OptionTrade(**told, user_id=trade.user_id, book=trade.book)


def trade_from_view(view: Mapping[str, Any], position: int, catalog: Catalog) -> Trade:
    """The trade, opened at `position`, that the TRADE object `view` tells of."""
    told = msgspec.convert(view, objects.Trade)
    scales = _scales(told.pair, catalog)
    given = {name: value for name, value in structs.asdict(told).items() if value is not UNSET}
    for name in given.keys() & scales.keys():
        if given[name] is not None:
            given[name] = parse_amount(given[name], scales[name])
    if isinstance(told, objects.SpotTrade):
        del given["status"]
        return SpotTrade(**given, position=position)
    key = AccountKey(given.pop("book"), given.pop("user_id"), catalog.pair(told.pair).quote)
    return Option(**given, key=key, position=position)


def _scales(name: str, catalog: Catalog) -> dict[str, int]:
    """How many decimals the numbers of a trade of the pair `name` are told with."""
    pair = catalog.pair(name)
    base, quote = catalog.asset(pair.base).scale, catalog.asset(pair.quote).scale
    of_quote = dict.fromkeys(("quote_amount", "fee", "stake", "payout"), quote)
    prices = dict.fromkeys(("price", "open_price", "settle_price"), pair.price_decimals)
    return {**of_quote, **prices, "base_amount": base, "payout_rate": RATE_DECIMALS}
