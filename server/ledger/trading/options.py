"""
Options: a stake on where a price goes, ended by the price of its expiry.

Pure. The stake lies with @escrow while the option is open. A win pays the stake and the payout, a
loss gives the stake to @house, a tie returns it, and so does an expiry whose price is not known.
The payout is rounded down; what rounding takes from the user is @rounding's.
"""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from functools import partial
from math import ceil, floor

from msgspec.structs import replace

from ..accounts import ESCROW, HOUSE, ROUNDING, AccountKey, check_user_id
from ..catalog import Catalog
from ..changes import Amount, Change, Details, make_change, or_stand_in, place
from ..clock import parse_rfc3339, rfc3339
from ..errors import (
    AccountInconsistent,
    Conflict,
    ExposureLimit,
    InvalidAmount,
    InvalidRequest,
    LedgerError,
    NotFound,
    StalePrice,
)
from ..intents import Direction, ForceOption, Leg, OpenOption, Outcome, SettleOption
from ..money import format_amount, parse_positive
from ..transaction_types import TransactionType
from .market import Market
from .pairs import RATE_DECIMALS, Pair
from .prices import Price
from .spot import check_client_order_id, nonzero, refuse_repeated
from .trades import Expired, Option, check_demo


def open_option(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    pair: str,
    direction: Direction,
    stake: Amount,
    duration_s: int,
    *,
    client_order_id: str | None = None,
    book: str,
    details: Details,
) -> Change:
    """
    A positive `stake` (in quote) on the price of `pair` going `direction` (``up`` or ``down``)
    within `duration_s` seconds, which the pair offers.

    client_order_id: unique among the user's trades. Raises NotFound where there is no such pair.
    """
    traded = catalog.pair(pair)
    _, quote = place(catalog, kind, book, traded.quote)
    if direction not in ("up", "down"):
        raise InvalidRequest("a direction is up or down", pointer="/direction")
    if type(duration_s) is not int or traded.duration(duration_s) is None:
        durations = ", ".join(str(each.duration_s) for each in traded.durations) or "none"
        raise InvalidRequest(f"durations of {pair} are {durations}", pointer="/duration_s")
    minor, refusal = or_stand_in(1, partial(parse_positive, stake, quote.scale, pointer="/stake"))
    intent = OpenOption(
        AccountKey(book, check_user_id(user_id), quote.code),
        pair,
        direction,
        minor,
        duration_s,
        check_client_order_id(client_order_id),
    )
    return make_change(kind, (quote,), intent, details, refusal)


def settle_option(
    catalog: Catalog, kind: TransactionType, option: Option | Expired, *, details: Details
) -> Change:
    """The end of `option`, which has expired, by the price of its expiry. Raises UnknownPair."""
    quote = catalog.asset(catalog.pair(option.pair).quote)
    key = AccountKey(option.book, option.user_id, quote.code)
    return make_change(kind, (quote,), SettleOption(key, option.id, option.pair), details, None)


def force_option(
    catalog: Catalog,
    kind: TransactionType,
    option: Option,
    outcome: Outcome,
    *,
    details: Details,
) -> Change:
    """The end of `option` now, with `outcome` (``win``, ``lose``, ``tie``). Raises DemoOnly."""
    check_demo(option.book)
    if outcome not in ("win", "lose", "tie"):
        raise InvalidRequest("an outcome is win, lose or tie", pointer="/outcome")
    intent = ForceOption(option.key, option.id, option.pair, outcome)
    return make_change(kind, (catalog.asset(option.key.asset),), intent, details, None)


def opened(
    intent: OpenOption, transaction_id: str, market: Market, catalog: Catalog
) -> tuple[tuple[Leg, ...], Option | None, LedgerError | None]:
    """
    The legs that put the stake aside, and the option; or why it is refused, so that what comes
    before the amount can still refuse. Raises Conflict.
    """
    key = intent.key
    refuse_repeated(market, key.owner, intent.client_order_id)
    pair = catalog.pair(intent.pair)
    duration = pair.duration(intent.duration_s)
    if duration is None:
        raise Conflict(f"the durations of {intent.pair} were changed meanwhile")
    legs = (Leg(key, -intent.stake), Leg(key.of(ESCROW), intent.stake))
    price = market.fresh_price(pair)
    if price is None:
        return legs, None, StalePrice(f"{intent.pair} has no fresh price")
    payout = floor(_payout(intent.stake, duration.payout_rate))
    refusal = _refusal(intent, pair, payout, market, catalog)
    if refusal is not None:
        return legs, None, refusal
    mode = market.controls.get((key.book, key.owner), "normal")
    if mode != "normal":
        check_demo(key.book)
    expires_at = parse_rfc3339(market.now) + timedelta(seconds=intent.duration_s)
    option = Option(
        id=transaction_id,
        key=key,
        pair=intent.pair,
        status="open",
        direction=intent.direction,
        stake=intent.stake,
        duration_s=intent.duration_s,
        payout_rate=duration.payout_rate,
        payout=payout,
        opens_at=market.now,
        expires_at=rfc3339(expires_at),
        settlement_age_s=pair.settlement_age_s,
        open_price=price.price,
        control=None if mode == "normal" else mode,
        forced=mode != "normal",
        price_source=price.source,
        client_order_id=intent.client_order_id,
    )
    return legs, option, None


def settled(intent: SettleOption, market: Market) -> tuple[tuple[Leg, ...], Option]:
    """
    The legs that end an expired option, and the option then: settled, or refunded where the price
    of its expiry is not known. Raises NotFound; Conflict where it has ended or not expired.
    """
    option = _open(intent, market)
    if market.now <= option.expires_at:
        raise Conflict("the option has not expired")
    price = market.price_of_expiry(option)
    if price is None:
        reason = f"no price within {option.settlement_age_s} s before its expiry"
        ended = replace(option, status="refunded", settled_at=market.now, reason=reason)
        return _returned(option), ended
    outcome: Outcome = option.control or _outcome(option, price.price)
    return _ended(option, outcome, price, market.now)


def forced(intent: ForceOption, market: Market) -> tuple[tuple[Leg, ...], Option]:
    """
    The legs that end an open option of the demo book with the outcome asked for, and the option
    then. Raises NotFound, DemoOnly; Conflict where it has ended; StalePrice without any price.
    """
    check_demo(intent.key.book)
    option = _open(intent, market)
    # However old it is: it is recorded, and decides nothing.
    price = market.newest.get(option.pair)
    if price is None:
        raise StalePrice(f"{option.pair} has no price")
    ended = replace(option, forced=True)
    return _ended(ended, intent.outcome, price, market.now)


def _open(intent: SettleOption | ForceOption, market: Market) -> Option:
    option = market.options.get(intent.option_id)
    if option is None:
        raise NotFound("there is no such option")
    if (option.key, option.pair) != (intent.key, intent.pair):
        # Whoever asked read a row that was changed by hand; what is locked is not the option's.
        raise AccountInconsistent(f"option {option.id} is not as its row says")
    if option.status != "open":
        raise Conflict(f"the option is {option.status}")
    return option


def _outcome(option: Option, price: int) -> Outcome:
    """Where the price went, against where the user said that it would go."""
    if price == option.open_price:
        return "tie"
    return "win" if (price > option.open_price) == (option.direction == "up") else "lose"


def _ended(
    option: Option, outcome: Outcome, price: Price, now: str
) -> tuple[tuple[Leg, ...], Option]:
    if option.forced:
        check_demo(option.book)
    ended = replace(
        option,
        status="settled",
        outcome=outcome,
        settle_price=price.price,
        settle_source=price.source,
        settled_at=now,
    )
    key, stake = option.key, option.stake
    if outcome == "tie":
        return _returned(option), ended
    if outcome == "lose":
        return (Leg(key.of(ESCROW), -stake), Leg(key.of(HOUSE), stake)), ended
    payout = _payout(stake, option.payout_rate)
    moves = [
        (key, stake + floor(payout)),
        (key.of(ESCROW), -stake),
        (key.of(HOUSE), -ceil(payout)),
        (key.of(ROUNDING), ceil(payout) - floor(payout)),
    ]
    return tuple(nonzero(moves)), ended


def _returned(option: Option) -> tuple[Leg, ...]:
    return (Leg(option.key, option.stake), Leg(option.key.of(ESCROW), -option.stake))


def _payout(stake: int, rate: int) -> Fraction:
    """What a win pays besides the stake, exactly."""
    return Fraction(stake * rate, 10**RATE_DECIMALS)


def _refusal(
    intent: OpenOption, pair: Pair, payout: int, market: Market, catalog: Catalog
) -> LedgerError | None:
    scale = catalog.asset(pair.quote).scale
    if intent.stake > pair.maximum_stake:
        most = format_amount(pair.maximum_stake, scale)
        return InvalidAmount(f"at most {most} {pair.quote} are taken", pointer="/stake")
    exposure = market.exposures.get((intent.key.book, intent.pair), 0)
    if exposure + payout > pair.exposure_limit:
        most = format_amount(pair.exposure_limit, scale)
        return ExposureLimit(
            f"open options of {intent.pair} may pay out {most} {pair.quote} at most",
            pointer="/stake",
        )
    return None
