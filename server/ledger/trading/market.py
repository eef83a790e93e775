"""What a batch knows of the market behind its locks: the time, the prices, trades and limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from ..accounts import AccountKey
from ..clock import parse_rfc3339
from ..intents import Mode
from .pairs import Pair
from .prices import Price
from .trades import Option, SpotTrade, Trade


class Market(NamedTuple):
    """
    The market as changes are decided by it; the decisions before are in it.

    now: RFC 3339, not before any price or any moment that was traded by; newest: by pair;
    expiries: the last price at or before a moment, by pair and moment; options: by id;
    client_orders: the trade of each client_order_id, by user and that; exposures: what open
    options may pay out (minor units), by book and pair; controls: by book and user.
    """

    now: str
    newest: Mapping[str, Price] = {}
    expiries: Mapping[tuple[str, str], Price] = {}
    options: Mapping[str, Option] = {}
    client_orders: Mapping[tuple[str, str], str] = {}
    exposures: Mapping[tuple[str, str], int] = {}
    controls: Mapping[tuple[str, str], Mode] = {}

    def fresh_price(self, pair: Pair) -> Price | None:
        """The newest price of `pair`, where it is fresh enough to trade by."""
        price = self.newest.get(pair.pair)
        return _not_older(price, self.now, pair.stale_after_s)

    def price_of_expiry(self, option: Option) -> Price | None:
        """The last price at or before the expiry of `option`, where it is not too old for that."""
        moment = option.expires_at
        price = self.expiries.get((option.pair, moment))
        return _not_older(price, moment, option.settlement_age_s)

    def has_open_options(self, key: AccountKey) -> bool:
        """Whether an option is open whose stake came from the account `key`."""
        return any(o.key == key and o.status == "open" for o in self.options.values())

    def with_trade(self, trade: Trade) -> Market:
        """The market after a transaction of `trade`."""
        market = self
        if trade.client_order_id is not None:
            order = (trade.user_id, trade.client_order_id)
            market = market._replace(client_orders={**self.client_orders, order: trade.id})
        if isinstance(trade, SpotTrade):
            return market
        place = (trade.book, trade.pair)
        change = trade.payout if trade.status == "open" else -trade.payout
        return market._replace(
            options={**self.options, trade.id: trade},
            exposures={**self.exposures, place: self.exposures.get(place, 0) + change},
        )

    def with_control(self, book: str, user: str, mode: Mode) -> Market:
        """The market after the user's control is set."""
        return self._replace(controls={**self.controls, (book, user): mode})


def _not_older(price: Price | None, moment: str, seconds: int) -> Price | None:
    if price is None:
        return None
    age = parse_rfc3339(moment) - parse_rfc3339(price.time)
    return price if age <= timedelta(seconds=seconds) else None
