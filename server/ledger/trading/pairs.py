"""Pairs: what is traded against what, by which rules; and what their settings may be. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..errors import Conflict, InvalidAmount, InvalidRequest
from ..money import LARGEST_SCALE, parse_amount

PAIR_NAME = re.compile(r"([A-Z0-9]{1,12})-([A-Z0-9]{1,12})", re.ASCII)

# Of one: in these, fees and rates are whole numbers.
BASIS_POINTS = 10_000
RATE_DECIMALS = 4
LARGEST_RATE = 100 * BASIS_POINTS
LARGEST_SECONDS = 86_400
MOST_DURATIONS = 20

# Pairs of the first start with their least order; the rest of their settings are any new pair's.
FIRST_PAIRS = {"BTC-USDT": "0.00001", "ETH-USDT": "0.0001"}
NEW_PAIR: Mapping[str, Any] = {
    "price_decimals": 2,
    "fee_bps": 10,
    "durations": (
        {"duration_s": 30, "payout_rate": "0.8000"},
        {"duration_s": 60, "payout_rate": "0.8500"},
        {"duration_s": 120, "payout_rate": "0.8800"},
        {"duration_s": 300, "payout_rate": "0.9000"},
    ),
    "maximum_stake": "1000",
    "exposure_limit": "100000",
    "stale_after_s": 15,
    "settlement_age_s": 60,
}

_WHOLE_NUMBERS = {
    "price_decimals": (0, LARGEST_SCALE),
    "fee_bps": (0, BASIS_POINTS),
    "stale_after_s": (1, LARGEST_SECONDS),
    "settlement_age_s": (1, LARGEST_SECONDS),
}


class Duration(Struct, frozen=True):
    """How long an option runs, and what a win pays besides the stake, in 1/10000 of it."""

    duration_s: int
    payout_rate: int


class Pair(Struct, frozen=True, kw_only=True):
    """
    A base asset that is traded against a quote asset.

    price_decimals: of prices, in quote for one base; minimum: the least base of a spot order, in
    minor units; fee_bps: of a spot order's quote, in 1/10000; maximum_stake: in minor units of
    quote; exposure_limit: in minor units of quote, the most that all open options of a book may
    pay out besides their stakes; stale_after_s: how old a price refuses trades;
    settlement_age_s: how old the price of an expiry may be.
    """

    pair: str
    base: str
    quote: str
    price_decimals: int
    minimum: int
    fee_bps: int
    durations: tuple[Duration, ...]
    maximum_stake: int
    exposure_limit: int
    stale_after_s: int
    settlement_age_s: int

    def duration(self, duration_s: int) -> Duration | None:
        """The duration of that many seconds, if options of this pair may have it."""
        return next((each for each in self.durations if each.duration_s == duration_s), None)


def assets_of(name: str) -> tuple[str, str]:
    """The codes of base and quote of the pair `name`. Raises InvalidRequest."""
    parts = PAIR_NAME.fullmatch(name)
    if parts is None or parts[1] == parts[2]:
        raise InvalidRequest(
            "a pair is named after two assets, base and quote, such as BTC-USDT", pointer="/pair"
        )
    return parts[1], parts[2]


def with_settings(
    present: Pair | None,
    name: str,
    settings: Mapping[str, Any],
    *,
    base_scale: int,
    quote_scale: int,
) -> Pair:
    """
    The pair `name` after a change of its `settings`, which are as the contract's PAIR writes them;
    present: as it is, None where it is new; base_scale, quote_scale: decimals of its assets.

    Raises InvalidRequest, InvalidAmount, Conflict where its prices' decimals would change.
    """
    base, quote = assets_of(name)
    scales = {"minimum": base_scale, "maximum_stake": quote_scale, "exposure_limit": quote_scale}
    if present is None:
        settings = {**NEW_PAIR, **settings}
        if "minimum" not in settings:
            raise InvalidRequest("a new pair needs a minimum", pointer="/minimum")
    checked = {field: _setting(field, value, scales) for field, value in settings.items()}
    if present is None:
        return Pair(pair=name, base=base, quote=quote, **checked)
    if checked.get("price_decimals", present.price_decimals) != present.price_decimals:
        raise Conflict(f"prices of {name} have {present.price_decimals} decimals: that is fixed")
    return replace(present, **checked)


def _setting(field: str, value: Any, scales: Mapping[str, int]) -> Any:
    """`value` as the pair's `field` where it can be that, else InvalidRequest, InvalidAmount."""
    if field in _WHOLE_NUMBERS:
        return _whole_number(field, value, *_WHOLE_NUMBERS[field], pointer=f"/{field}")
    if field == "durations":
        return _durations(value)
    if field in scales:
        return _amount(field, value, scales[field])
    raise InvalidRequest(f"there is no setting {field!r}", pointer=f"/{field}")


def _whole_number(field: str, value: Any, least: int, most: int, *, pointer: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise InvalidRequest(f"{field} is a whole number, {least} to {most}", pointer=pointer)


def _amount(field: str, value: Any, scale: int) -> int:
    amount = parse_amount(value, scale, pointer=f"/{field}")
    if amount < 0 or (field == "minimum" and amount == 0):
        raise InvalidAmount(f"{field} cannot be {value}", pointer=f"/{field}")
    return amount


def _durations(value: Any) -> tuple[Duration, ...]:
    if not isinstance(value, Sequence) or len(value) > MOST_DURATIONS:
        raise InvalidRequest(f"durations are at most {MOST_DURATIONS}", pointer="/durations")
    durations = [_duration(each, f"/durations/{i}") for i, each in enumerate(value)]
    if len({each.duration_s for each in durations}) < len(durations):
        raise InvalidRequest("a duration is named twice", pointer="/durations")
    return tuple(sorted(durations, key=lambda each: each.duration_s))


def _duration(value: Any, pointer: str) -> Duration:
    if not isinstance(value, Mapping) or value.keys() != {"duration_s", "payout_rate"}:
        raise InvalidRequest("a duration has duration_s and payout_rate", pointer=pointer)
    where = f"{pointer}/payout_rate"
    rate = parse_amount(value["payout_rate"], RATE_DECIMALS, pointer=where)
    if not 0 < rate <= LARGEST_RATE:
        raise InvalidAmount("a payout_rate is more than 0 and at most 100", pointer=where)
    seconds = value["duration_s"]
    where = f"{pointer}/duration_s"
    return Duration(_whole_number("duration_s", seconds, 1, LARGEST_SECONDS, pointer=where), rate)
