"""Pairs: the first ones, what their settings may be, and how their fees and payouts round."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from msgspec.structs import replace
from tallywire.ledger import BalanceManager
from tallywire.ledger.errors import Conflict, InvalidAmount, InvalidRequest, LedgerError, NotFound
from tallywire.ledger.trading.pairs import Duration, Pair, with_settings

AMOUNTS = st.integers(0, 2**62)


def btc_usdt(**settings: Any) -> Pair:
    """BTC-USDT as at the first start, with `settings`."""
    given_settings = {"minimum": "0.00001", **settings}
    return with_settings(None, "BTC-USDT", given_settings, base_scale=8, quote_scale=6)


async def test_the_first_pairs(ledger: BalanceManager) -> None:
    assert ledger.catalog.pair("BTC-USDT") == Pair(
        pair="BTC-USDT",
        base="BTC",
        quote="USDT",
        price_decimals=2,
        minimum=1_000,
        fee_bps=10,
        durations=(
            Duration(30, 8000),
            Duration(60, 8500),
            Duration(120, 8800),
            Duration(300, 9000),
        ),
        maximum_stake=1_000_000_000,
        exposure_limit=100_000_000_000,
        stale_after_s=15,
        settlement_age_s=60,
    )
    assert ledger.catalog.pair("ETH-USDT").minimum == 100_000
    with pytest.raises(NotFound) as refused:
        ledger.catalog.pair("DOGE-USDT")
    assert refused.value.pointer == "/pair"


async def test_an_asset_that_is_traded_keeps_its_scale(ledger: BalanceManager) -> None:
    for code in ("ETH", "USDT"):
        with pytest.raises(Conflict):
            await ledger.administration.put_asset(code, scale=4, actor="root")
    assert (await ledger.administration.put_asset("ETH", scale=9, actor="root")).scale == 9


def test_settings_that_are_not_named_stay() -> None:
    pair = btc_usdt()
    durations = [
        {"duration_s": 90, "payout_rate": "1"},
        {"duration_s": 5, "payout_rate": "0.0001"},
    ]
    changed = with_settings(
        pair, "BTC-USDT", {"fee_bps": 0, "durations": durations}, base_scale=8, quote_scale=6
    )
    assert changed == replace(pair, fee_bps=0, durations=(Duration(5, 1), Duration(90, 10_000)))
    assert changed.duration(90) == Duration(90, 10_000)
    assert changed.duration(30) is None


def test_the_decimals_of_its_prices_are_fixed() -> None:
    pair = btc_usdt(price_decimals=3)
    with pytest.raises(Conflict):
        with_settings(pair, "BTC-USDT", {"price_decimals": 2}, base_scale=8, quote_scale=6)


@pytest.mark.parametrize(
    ("settings", "refusal", "pointer"),
    [
        ({"minimum": "0"}, InvalidAmount, "/minimum"),
        ({"minimum": "0.000000001"}, InvalidAmount, "/minimum"),
        ({"minimum": 1}, InvalidAmount, "/minimum"),
        ({"maximum_stake": "-1"}, InvalidAmount, "/maximum_stake"),
        ({"exposure_limit": "1.0000000"}, InvalidAmount, "/exposure_limit"),
        ({"fee_bps": 10_001}, InvalidRequest, "/fee_bps"),
        ({"fee_bps": True}, InvalidRequest, "/fee_bps"),
        ({"price_decimals": 13}, InvalidRequest, "/price_decimals"),
        ({"stale_after_s": 0}, InvalidRequest, "/stale_after_s"),
        ({"settlement_age_s": "60"}, InvalidRequest, "/settlement_age_s"),
        ({"durations": None}, InvalidRequest, "/durations"),
        ({"durations": [{"duration_s": 30}]}, InvalidRequest, "/durations/0"),
        (
            {"durations": [{"duration_s": 0, "payout_rate": "1"}]},
            InvalidRequest,
            "/durations/0/duration_s",
        ),
        (
            {"durations": [{"duration_s": 1, "payout_rate": "0"}]},
            InvalidAmount,
            "/durations/0/payout_rate",
        ),
        ({"durations": [{"duration_s": 1, "payout_rate": "1"}] * 2}, InvalidRequest, "/durations"),
        ({"base": "ETH"}, InvalidRequest, "/base"),
    ],
)
def test_settings_that_no_pair_can_have(
    settings: dict[str, Any], refusal: type[LedgerError], pointer: str
) -> None:
    with pytest.raises(refusal) as refused:
        btc_usdt(**settings)
    assert refused.value.pointer == pointer


@pytest.mark.parametrize("name", ["BTC", "BTC-BTC", "btc-usdt", "BTC-USDT-EUR", "-", "BTC-"])
def test_names_that_are_not_two_assets(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        with_settings(None, name, {"minimum": "1"}, base_scale=8, quote_scale=6)
    assert refused.value.pointer == "/pair"


def test_a_new_pair_needs_a_minimum() -> None:
    with pytest.raises(InvalidRequest) as refused:
        with_settings(None, "BTC-USDT", {}, base_scale=8, quote_scale=6)
    assert refused.value.pointer == "/minimum"
