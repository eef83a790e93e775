"""
Trades: what a transaction tells of one, held against its postings, the transaction that opened it,
and the prices that were stored.

Pure. SCREEN=LEDGER: what is told is what was moved, by the price of the moment; an outcome that
does not go by the price is told in the demo book alone. REVERT_ONCE: what ends an option was
opened before, and ends it by itself. A trade as it should be is made here a second time, not by
the rules that traded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import structs

from ..accounts import ESCROW, FEES, HOUSE, ROUNDING, AccountKey
from ..catalog import Catalog
from ..clock import parse_rfc3339, rfc3339
from ..errors import LedgerError
from ..invariants import Discrepancy, Invariant, numbers, texts
from ..trading.pairs import PAIR_NAME, RATE_DECIMALS
from ..trading.prices import Price
from ..trading.trades import (
    DEMO_BOOK,
    Option,
    SpotTrade,
    Trade,
    trade_from_view,
    trade_view,
)
from ..transaction_types import TRADING_CONTROL
from ..updates import Committed
from .stored import StoredEntry, told_of

_SCREEN, _ONCE = Invariant.SCREEN_LEDGER, Invariant.REVERT_ONCE
CONTROL = TRADING_CONTROL.name
_MODES = ("win", "normal", "lose")
# What ends an option says these anew; all else is as its opening told it.
_ITS_END = (
    "status",
    "settle_price",
    "settle_source",
    "outcome",
    "forced",
    "settled_at",
    "reason",
    "position",
)

# Anything else the database might refuse to look up.
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
# When a trade was made, and when it ended.
_TRADED_AT = ("filled_at", "opens_at", "settled_at")

Legs = Sequence[tuple[AccountKey, StoredEntry]]
Prices = Mapping[tuple[str, str], Price]


class Opening(NamedTuple):
    """
    The transaction that opened a trade, by its position and encoded updates; and the position of
    the first of the trade's others, None where there is none.
    """

    position: int
    encoded: str
    first_end: int | None


class Around(NamedTuple):
    """
    What stands around the trades of some transactions: their openings, by id, where they are
    there; and the last price at or before each of their `moments`, as far as prices are kept.
    """

    openings: Mapping[str, Opening] = {}
    prices: Mapping[tuple[str, str], Price] = {}


def moments(record: Mapping[str, Any], *, traded_at: bool = False) -> Iterator[tuple[str, str]]:
    """
    The pair and the moments of which the transaction's trade tells a price; traded_at: only those
    at which it was made or ended.
    """
    if record["trade"] is not None:
        trade = told_of(record["encoded"], "trade")
        yield from moments_of(trade, _TRADED_AT if traded_at else (*_TRADED_AT, "expires_at"))


def moments_of(
    trade: Mapping[str, Any], names: Sequence[str] = _TRADED_AT
) -> Iterator[tuple[str, str]]:
    """The pair and the moments of a told trade, those called `names`, that are a pair and times."""
    pair = trade.get("pair")
    if not isinstance(pair, str) or not PAIR_NAME.fullmatch(pair):
        return
    for name in names:
        if isinstance(trade.get(name), str) and _STAMP.fullmatch(trade[name]):
            yield pair, trade[name]


def check_trading(
    record: Mapping[str, Any],
    updates: Sequence[tuple[str | None, Mapping[str, Any]]],
    legs: Legs,
    around: Around,
    catalog: Catalog,
) -> Iterator[Discrepancy]:
    """
    What a transaction tells of a trade or a control otherwise than it may; updates: each user's,
    as admins see it.
    """
    position, id_ = record["position"], record["trade"]
    opening = around.openings.get(id_ or "")
    for user, told in updates:
        yield from _shown(record, user, told)
        yield from _control(record, user, told, legs)
        view = told.get("trade")
        if view is None and id_ is None:
            continue
        trade = _read(view, catalog)
        if not isinstance(view, dict) or trade is None or id_ is None:
            said = None if view is None else msgspec.json.encode(view).decode()
            yield texts(_SCREEN, f"trade told to {user}", said, id_, position=position)
            continue
        yield from _steps(record, trade, opening)
        expected = _as_it_should_be(record, user, trade, opening, around.prices, catalog)
        yield from _differences(position, view, trade, expected, catalog)
        yield from _legs(position, trade, legs, catalog)
        kind = f"spot_{trade.side}" if isinstance(trade, SpotTrade) else _type_of(trade)
        if record["type"] != kind:
            yield texts(_SCREEN, "type of the trade", record["type"], kind, position=position)


def _read(view: object, catalog: Catalog) -> Trade | None:
    if not isinstance(view, dict):
        return None
    try:
        return trade_from_view(view, 0, catalog)
    except (LedgerError, msgspec.ValidationError, LookupError, TypeError, ValueError):
        return None


def _shown(
    record: Mapping[str, Any], user: str | None, told: Mapping[str, Any]
) -> Iterator[Discrepancy]:
    """The user's own update has the trade or the control that admins are told."""
    if "trade" not in told and "control" not in told:
        return
    encoded = record["encoded"].encode()
    committed = Committed(record["position"], record["id"], record["type"], encoded)
    own: Any = {}
    with suppress(msgspec.DecodeError):
        own = msgspec.json.decode(dict(committed.user_bodies())[user])
    for name in ("trade", "control"):
        if own.get(name) != told.get(name):
            stored, actual = (msgspec.json.encode(each.get(name)).decode() for each in (own, told))
            what = f"{name} shown to {user}"
            yield texts(_SCREEN, what, stored, actual, position=record["position"])


def _type_of(option: Option) -> str:
    return "option_opened" if option.status == "open" else f"option_{option.status}"


def _control(
    record: Mapping[str, Any], user: str | None, told: Mapping[str, Any], legs: Legs
) -> Iterator[Discrepancy]:
    """A control is told of a user, in the demo book, by a transaction that moves nothing."""
    control, position = told.get("control"), record["position"]
    if control is None and record["type"] != CONTROL:
        return
    book, mode = (
        (control.get("book"), control.get("mode")) if isinstance(control, dict) else (None, None)
    )
    if book != DEMO_BOOK:
        what = f"control of {user} outside of the demo book"
        yield texts(_SCREEN, what, book, DEMO_BOOK, position=position)
    if mode not in _MODES or user is None:
        yield texts(_SCREEN, f"control of {user}", mode, None, position=position)
    if record["type"] != CONTROL or legs:
        yield texts(_SCREEN, f"control of {user}: type", record["type"], CONTROL, position=position)


def _steps(
    record: Mapping[str, Any], trade: Trade, opening: Opening | None
) -> Iterator[Discrepancy]:
    """A trade is opened by the transaction of its id, and ended by one later and no other."""
    position, id_ = record["position"], record["trade"]
    opens = isinstance(trade, SpotTrade) or trade.status == "open"
    if opens != (record["id"] == id_):
        yield texts(_ONCE, f"opening of trade {id_}", record["id"], id_, position=position)
    elif not opens and (opening is None or opening.position >= position):
        yield texts(_ONCE, f"opening of trade {id_}", None, id_, position=position)
    elif not opens and opening is not None and opening.first_end != position:
        what = f"position of the end of trade {id_}"
        yield numbers(_ONCE, what, position, opening.first_end, position=position)


def _as_it_should_be(
    record: Mapping[str, Any],
    user: str | None,
    trade: Trade,
    opening: Opening | None,
    prices: Prices,
    catalog: Catalog,
) -> Trade:
    """`trade` by its opening, the prices and what follows from its other fields."""
    if isinstance(trade, SpotTrade):
        price = prices.get((trade.pair, trade.filled_at))
        if price is not None:
            trade = structs.replace(trade, price=price.price, price_source=price.source)
        down, up = _worth(trade, catalog)
        quote_amount = up if trade.side == "buy" else down
        return structs.replace(
            trade, id=record["trade"], user_id=user or "", quote_amount=quote_amount
        )
    opened = None if opening is None else _read(told_of(opening.encoded, "trade"), catalog)
    if trade.status != "open" and isinstance(opened, Option):
        its_end = {name: getattr(trade, name) for name in _ITS_END}
        trade = structs.replace(opened, **its_end)
    demo = trade.book == DEMO_BOOK
    control = trade.control if demo else None
    trade = structs.replace(
        trade,
        id=record["trade"],
        key=trade.key._replace(owner=user or ""),
        payout=trade.stake * trade.payout_rate // 10**RATE_DECIMALS,
        expires_at=_expiry(trade),
        control=control,
        forced=demo and (control is not None or (trade.forced and trade.status == "settled")),
    )
    if trade.status == "open":
        return _just_opened(trade, prices)
    return _ended(trade, prices)


def _expiry(option: Option) -> str:
    """When it expires by when it was opened; empty where that is no time."""
    try:
        opened = parse_rfc3339(option.opens_at)
        return rfc3339(opened + timedelta(seconds=option.duration_s))
    except (ValueError, OverflowError):
        return ""


def _just_opened(option: Option, prices: Prices) -> Option:
    price = prices.get((option.pair, option.opens_at))
    if price is not None:
        option = structs.replace(option, open_price=price.price, price_source=price.source)
    return structs.replace(
        option,
        settle_price=None,
        settle_source=None,
        outcome=None,
        settled_at=None,
        reason=None,
    )


def _ended(option: Option, prices: Prices) -> Option:
    """By the price of its expiry; where it was forced, by that of the moment, if it was earlier."""
    price = prices.get((option.pair, option.expires_at))
    if option.status == "refunded":
        status = "refunded" if price is None or _is_too_old(price, option) else "settled"
        return structs.replace(
            option, status=status, settle_price=None, settle_source=None, outcome=None
        )
    if price is not None and not option.forced and _is_too_old(price, option):
        return structs.replace(option, status="refunded")
    ends = [option.expires_at, *([option.settled_at or ""] if option.forced else [])]
    kept = [prices.get((option.pair, end)) for end in ends]
    known = [(price.price, price.source) for price in kept if price is not None]
    settled_by = (option.settle_price, option.settle_source)
    if len(known) == len(ends) and settled_by not in known:
        settled_by = known[0]
    settle_price, settle_source = settled_by
    outcome = option.outcome
    if not option.forced and settle_price is not None:
        outcome = _by_price(option, settle_price)
    return structs.replace(
        option,
        settle_price=settle_price,
        settle_source=settle_source,
        outcome=outcome,
        reason=None,
    )


def _is_too_old(price: Price, option: Option) -> bool:
    """Whether `price` is too old to be that of the option's expiry."""
    try:
        age = parse_rfc3339(option.expires_at) - parse_rfc3339(price.time)
    except ValueError:
        return False
    return age > timedelta(seconds=option.settlement_age_s)


def _by_price(option: Option, settle_price: int) -> Any:
    moved = settle_price - option.open_price
    if not moved:
        return "tie"
    return "win" if (moved > 0) == (option.direction == "up") else "lose"


def _differences(
    position: int, told: Mapping[str, Any], trade: Trade, expected: Trade, catalog: Catalog
) -> Iterator[Discrepancy]:
    """Each field that is told otherwise than `expected`."""
    quote = catalog.pair(trade.pair).quote
    account = AccountKey(trade.book, trade.user_id, quote).name
    actual = msgspec.to_builtins(trade_view(expected, catalog))
    for name in sorted(actual.keys() | (told.keys() & {"control"})):
        stored = told.get(name)
        if stored != actual.get(name):
            where = "" if trade.book == DEMO_BOOK else " outside of the demo book"
            decided = name in ("control", "forced")
            yield texts(
                _SCREEN,
                f"trade: {name}{where if decided else ''}",
                stored,
                actual.get(name),
                account=account,
                position=position,
            )


def _legs(position: int, trade: Trade, legs: Legs, catalog: Catalog) -> Iterator[Discrepancy]:
    """Every leg of a trade's transaction follows from the trade."""
    actual = {key: entry.amount for key, entry in legs}
    if isinstance(trade, SpotTrade):
        expected = _spot_legs(trade, actual, catalog)
    else:
        expected = _option_legs(trade)
    for key in sorted(actual.keys() | expected.keys()):
        stored, due = actual.get(key), expected.get(key)
        if (stored or 0) != (due or 0):
            asset = catalog.assets.get(key.asset)
            yield numbers(
                _SCREEN,
                "leg of the trade",
                stored,
                due,
                scale=0 if asset is None else asset.scale,
                account=key.name,
                position=position,
            )


def _worth(trade: SpotTrade, catalog: Catalog) -> tuple[int, int]:
    """What the base amount is worth in quote, rounded down and up; minor units."""
    pair = catalog.pair(trade.pair)
    base, quote = catalog.asset(pair.base).scale, catalog.asset(pair.quote).scale
    down, rest = divmod(
        trade.base_amount * trade.price * 10**quote, 10 ** (base + pair.price_decimals)
    )
    return down, down + bool(rest)


def _spot_legs(
    trade: SpotTrade, actual: Mapping[AccountKey, int], catalog: Catalog
) -> dict[AccountKey, int]:
    """The legs of a spot order; of the fee @fees gets the whole units, which may be one less."""
    pair = catalog.pair(trade.pair)
    base = AccountKey(trade.book, trade.user_id, pair.base)
    quote = AccountKey(trade.book, trade.user_id, pair.quote)
    down, up = _worth(trade, catalog)
    got = actual.get(quote.of(FEES), 0)
    fees = got if got in (trade.fee - 1, trade.fee) else trade.fee
    if trade.side == "buy":
        bought, paid, dealt = trade.base_amount, -trade.quote_amount - trade.fee, down
    else:
        bought, paid, dealt = -trade.base_amount, trade.quote_amount - trade.fee, -up
    return {
        base: bought,
        base.of(HOUSE): -bought,
        quote: paid,
        quote.of(HOUSE): dealt,
        quote.of(FEES): fees,
        quote.of(ROUNDING): -paid - dealt - fees,
    }


def _option_legs(option: Option) -> dict[AccountKey, int]:
    """The legs of one step of an option."""
    key, escrow, house = option.key, option.key.of(ESCROW), option.key.of(HOUSE)
    stake = option.stake
    if option.status == "open":
        return {key: -stake, escrow: stake}
    if option.outcome == "lose":
        return {escrow: -stake, house: stake}
    if option.outcome != "win":
        return {key: stake, escrow: -stake}
    rest = 1 if option.stake * option.payout_rate % 10**RATE_DECIMALS else 0
    paid = option.payout + rest
    return {key: stake + option.payout, escrow: -stake, house: -paid, key.of(ROUNDING): rest}
