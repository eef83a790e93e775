"""
Spot orders: filled at once at the newest price, or not at all.

Pure. What is paid in quote is the exact product of base and price, rounded up for buys and down
for sells; the fee is a share of that, rounded up. What rounding takes from the user is @rounding's:
@house and @fees get, or pay, as if it had been rounded the other way.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import ceil, floor

from ..accounts import FEES, HOUSE, ROUNDING, AccountKey, check_user_id
from ..catalog import Catalog
from ..changes import Amount, Change, Details, check_text, make_change, or_stand_in, place
from ..errors import Conflict, InvalidAmount, InvalidRequest, LedgerError, LimitNotMet, StalePrice
from ..intents import Leg, SpotOrder, TradeSide
from ..money import LARGEST, format_amount, parse_positive
from ..transaction_types import TransactionType
from .market import Market
from .pairs import BASIS_POINTS, Pair
from .prices import format_price, quote_per_base
from .trades import SpotTrade

LONGEST_CLIENT_ORDER_ID = 255


def spot_order(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    pair: str,
    side: TradeSide,
    *,
    base_amount: Amount | None = None,
    quote_amount: Amount | None = None,
    limit_price: Amount | None = None,
    client_order_id: str | None = None,
    book: str,
    details: Details,
) -> Change:
    """
    An order to buy or sell a positive `base_amount`, or as much as a positive `quote_amount` (the
    fee not counted) buys or sells at most; refused where the price is worse than `limit_price`.

    kind: the type ``spot_buy`` or ``spot_sell`` that `side` (``buy`` or ``sell``) names.
    client_order_id: unique among the user's trades. Raises NotFound where there is no such pair.
    """
    traded = catalog.pair(pair)
    if side not in ("buy", "sell"):
        raise InvalidRequest("a side is buy or sell", pointer="/side")
    if (base_amount is None) == (quote_amount is None):
        raise InvalidRequest(
            "give either base_amount or quote_amount",
            pointer="/base_amount" if base_amount is None else "/quote_amount",
        )
    _, quote = place(catalog, kind, book, traded.quote)
    _, base = place(catalog, kind, book, traded.base)
    minor: dict[str, int | None] = {}
    refusal: LedgerError | None = None
    for name, text, scale in (
        ("base_amount", base_amount, base.scale),
        ("quote_amount", quote_amount, quote.scale),
        ("limit_price", limit_price, traded.price_decimals),
    ):
        minor[name], refused = (
            (None, None)
            if text is None
            else or_stand_in(1, partial(parse_positive, text, scale, pointer=f"/{name}"))
        )
        refusal = refusal or refused
    order = SpotOrder(
        user=check_user_id(user_id),
        book=book,
        pair=pair,
        assets=(base.code, quote.code),
        side=side,
        **minor,
        client_order_id=check_client_order_id(client_order_id),
    )
    return make_change(kind, (base, quote), order, details, refusal)


def check_client_order_id(client_order_id: str | None) -> str | None:
    """`client_order_id` itself where it can be kept, else InvalidRequest."""
    if client_order_id is None:
        return None
    if not check_text(client_order_id, "client_order_id", LONGEST_CLIENT_ORDER_ID):
        raise InvalidRequest("client_order_id is not empty", pointer="/client_order_id")
    return client_order_id


def refuse_repeated(market: Market, user: str, client_order_id: str | None) -> None:
    """Raise Conflict where the user has a trade with that client_order_id already."""
    if client_order_id is not None and (user, client_order_id) in market.client_orders:
        trade_id = market.client_orders[user, client_order_id]
        raise Conflict(
            f"client_order_id {client_order_id!r} was used for the trade {trade_id}",
            pointer="/client_order_id",
        )


def filled(
    order: SpotOrder, transaction_id: str, market: Market, catalog: Catalog
) -> tuple[tuple[Leg, ...], SpotTrade | None, LedgerError | None]:
    """
    The legs that fill `order`, and the trade; or legs in their direction and why it is refused,
    so that what comes before the amount can still refuse. Raises Conflict.
    """
    refuse_repeated(market, order.user, order.client_order_id)
    pair = catalog.pair(order.pair)
    price = market.fresh_price(pair)
    if price is None:
        return _legs(order, 1, 1), None, StalePrice(f"{order.pair} has no fresh price")
    base, quote = catalog.asset(pair.base).scale, catalog.asset(pair.quote).scale
    rate = quote_per_base(price.price, pair.price_decimals, base, quote)
    base_amount = order.base_amount
    if base_amount is None:
        assert order.quote_amount is not None
        base_amount = floor(order.quote_amount / rate)
    buys = order.side == "buy"
    worth = base_amount * rate
    quote_amount = ceil(worth) if buys else floor(worth)
    refusal = _refusal(order, pair, price.price, base_amount, quote_amount, catalog)
    if refusal is not None:
        return _legs(order, 1, 1), None, refusal
    exact_fee = Fraction(quote_amount * pair.fee_bps, BASIS_POINTS)
    fee = ceil(exact_fee)
    paid = -quote_amount - fee if buys else quote_amount - fee
    dealt = floor(worth) if buys else -ceil(worth)
    trade = SpotTrade(
        id=transaction_id,
        user_id=order.user,
        book=order.book,
        pair=order.pair,
        side=order.side,
        price=price.price,
        base_amount=base_amount,
        quote_amount=quote_amount,
        fee=fee,
        price_source=price.source,
        client_order_id=order.client_order_id,
        filled_at=market.now,
    )
    bought = base_amount if buys else -base_amount
    moves = [
        (order.base, bought),
        (order.base.of(HOUSE), -bought),
        (order.quote, paid),
        (order.quote.of(HOUSE), dealt),
        (order.quote.of(FEES), floor(exact_fee)),
        (order.quote.of(ROUNDING), -paid - dealt - floor(exact_fee)),
    ]
    return tuple(nonzero(moves, order.quote, order.base)), trade, None


def nonzero(moves: list[tuple[AccountKey, int]], *kept: AccountKey) -> list[Leg]:
    """The legs of `moves` that move something, and those of the accounts `kept`."""
    return [Leg(key, amount) for key, amount in moves if amount or key in kept]


def _legs(order: SpotOrder, base: int, quote: int) -> tuple[Leg, ...]:
    """Legs in the order's direction."""
    sign = 1 if order.side == "buy" else -1
    return (
        Leg(order.base, sign * base),
        Leg(order.base.of(HOUSE), -sign * base),
        Leg(order.quote, -sign * quote),
        Leg(order.quote.of(HOUSE), sign * quote),
    )


def _refusal(
    order: SpotOrder, pair: Pair, price: int, base_amount: int, quote_amount: int, catalog: Catalog
) -> LedgerError | None:
    limit = order.limit_price
    if limit is not None and (price > limit if order.side == "buy" else price < limit):
        told = format_price(price, pair.price_decimals)
        return LimitNotMet(f"the price is {told}", pointer="/limit_price", price=told)
    pointer = order.pointer
    if base_amount < pair.minimum:
        least = format_amount(pair.minimum, catalog.asset(pair.base).scale)
        return InvalidAmount(f"at least {least} {pair.base} are traded", pointer=pointer)
    if quote_amount == 0:
        return InvalidAmount(f"that is worth nothing in {pair.quote}", pointer=pointer)
    if max(base_amount, 2 * quote_amount) > LARGEST:
        return InvalidAmount("the amount would pass 2^63-1 minor units", pointer=pointer)
    return None
