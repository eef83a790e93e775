"""Values of foreign columns: read exactly, or refused in words."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallywire.cutover.values import read_balance, read_user_id
from tallywire.ledger.errors import InvalidAmount, InvalidRequest
from tallywire.ledger.money import LARGEST, format_amount

_MINOR = st.integers(-LARGEST, LARGEST)
_SCALE = st.integers(0, 12)


@given(minor=_MINOR, scale=_SCALE, zeros=st.integers(0, 6))
def test_what_is_written_in_decimals_is_read_back(minor: int, scale: int, zeros: int) -> None:
    text = format_amount(minor, scale)
    padded = text + ("0" * zeros if scale else "." + "0" * zeros if zeros else "")
    for value in (text, padded, f" {padded} ", Decimal(padded)):
        assert read_balance(value, scale) == minor


@given(minor=st.integers(-(10**15) + 1, 10**15 - 1), scale=_SCALE)
def test_a_float_is_the_decimal_that_was_stored(minor: int, scale: int) -> None:
    assert read_balance(float(format_amount(minor, scale)), scale) == minor


@given(value=st.floats(allow_nan=True, allow_infinity=True), scale=_SCALE)
def test_a_float_is_never_rounded(value: float, scale: int) -> None:
    try:
        minor = read_balance(value, scale)
    except InvalidAmount:
        return
    assert float(format_amount(minor, scale)) == value


@given(minor=_MINOR.filter(lambda minor: minor % 10), scale=st.integers(0, 11))
def test_one_decimal_too_many_is_refused(minor: int, scale: int) -> None:
    with pytest.raises(InvalidAmount, match="decimals"):
        read_balance(format_amount(minor, scale + 1), scale)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "NULL",
        "1,50",
        "$5",
        "1e3",
        "0x10",
        "٣",
        "--1",
        True,
        b"5",
        0.1 + 0.2,
        float("nan"),
        float("inf"),
        1e300,
        Decimal("NaN"),
        Decimal("1E+400"),
        Decimal("1E-400"),
        LARGEST + 1,
        -LARGEST - 1,
        "9" * 100,
        pytest.param(object(), id="an object"),
    ],
    ids=repr,
)
def test_what_is_no_exact_amount_is_refused(value: object) -> None:
    with pytest.raises(InvalidAmount):
        read_balance(value, 0)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0, 0),
        (-0.0, 0),
        ("-0.00", 0),
        ("007", 700),
        ("+5", 500),
        (12, 1200),
        (Decimal("12.5000"), 1250),
        (Decimal("1E+3"), 100_000),
        (Decimal("0E-30"), 0),
    ],
    ids=repr,
)
def test_balances(value: object, read: int) -> None:
    assert read_balance(value, 2) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (7, "7"),
        ("a@b.c", "a@b.c"),
        ("100% 'ж\"", "100% 'ж\""),
        (Decimal("12"), "12"),
        (Decimal("1E+2"), "100"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
    ids=repr,
)
def test_user_ids(value: object, read: str) -> None:
    assert read_user_id(value) == read


@pytest.mark.parametrize(
    "value",
    [None, "", "me", "@house", "a\x00b", "\ud800", "x" * 129, 1.0, True, b"x", Decimal("1.5")],
    ids=repr,
)
def test_what_is_no_user_id_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        read_user_id(value)
