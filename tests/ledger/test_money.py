"""Amounts: exactly the contract's syntax, exactly its range, no unit lost in a split."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallywire.ledger.errors import InvalidAmount
from tallywire.ledger.money import LARGEST, format_amount, parse_amount, split_by_weight

minor_units = st.integers(-LARGEST, LARGEST)
scales = st.integers(0, 12)


@given(minor_units, scales)
def test_what_is_written_is_read_back(minor: int, scale: int) -> None:
    text = format_amount(minor, scale)
    assert Decimal(text) == Decimal(minor).scaleb(-scale)
    assert len(text.partition(".")[2]) == scale
    if len(text.lstrip("-").partition(".")[0]) <= 19:
        assert parse_amount(text, scale) == minor


@given(minor_units, scales)
def test_a_decimal_is_read_as_its_plain_text(minor: int, scale: int) -> None:
    assert parse_amount(Decimal(format_amount(minor, scale)), scale) == minor


@given(st.text(alphabet="-+.0123456789eE_ \n٣", max_size=24), scales)
def test_reads_nothing_but_the_syntax(text: str, scale: int) -> None:
    """An independent reading: sign, digits without a leading zero, at most `scale` decimals."""
    sign, body = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, dot, decimals = body.partition(".")
    digits = set("0123456789")
    fits = (
        0 < len(whole) <= 19
        and set(whole) <= digits
        and (whole == "0" or whole[0] != "0")
        and (not dot or (0 < len(decimals) <= scale and set(decimals) <= digits))
        and abs(Fraction(f"{whole}.{decimals or 0}")) * 10**scale <= LARGEST
    )
    if fits:
        value = Fraction(f"{whole}.{decimals or 0}") * 10**scale
        assert parse_amount(text, scale) == (-value if sign else value)
    else:
        with pytest.raises(InvalidAmount):
            parse_amount(text, scale)


def test_minus_zero_is_zero() -> None:
    assert parse_amount("-0", 2) == 0
    assert parse_amount("-0.00", 2) == 0
    assert format_amount(0, 2) == "0.00"


@pytest.mark.parametrize(
    "value",
    [1, 1.5, True, None, b"1", ["1"], Decimal("NaN"), Decimal("Infinity"), Decimal("1E+40")],
)
def test_refuses_what_is_no_decimal_string(value: object) -> None:
    with pytest.raises(InvalidAmount):
        parse_amount(value, 2)


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("9223372036854775808", 0),
        ("-9223372036854775808", 0),
        ("9223372036854775807.0", 0),
        ("92233720368547758.08", 2),
        ("1.00", 1),
        ("10000000000000000000", 0),
        ("0.0000000000001", 12),
    ],
)
def test_refuses_beyond_range_and_scale(text: str, scale: int) -> None:
    with pytest.raises(InvalidAmount) as refused:
        parse_amount(text, scale, pointer="/new_balance")
    assert refused.value.pointer == "/new_balance"


def test_takes_the_whole_range() -> None:
    assert parse_amount("9223372036854775807", 0) == LARGEST
    assert parse_amount("-9223372036854775807", 0) == -LARGEST
    assert parse_amount("9223372.036854775807", 12) == LARGEST


weights = st.lists(st.integers(0, 10**6), min_size=1, max_size=50).filter(any)


@given(st.integers(0, LARGEST), weights)
def test_shares_sum_to_the_amount_and_are_fair(amount: int, weights: list[int]) -> None:
    """CONSERVATION: largest remainder: each within one unit of its due, ties to the earlier."""
    parts = split_by_weight(amount, weights)
    assert sum(parts) == amount
    dues = [Fraction(amount * weight, sum(weights)) for weight in weights]
    remainders = [due - int(due) for due in dues]
    for part, due, weight in zip(parts, dues, weights, strict=True):
        assert 0 <= part - int(due) <= 1
        assert weight or part == 0
    favoured = [i for i, part in enumerate(parts) if part > int(dues[i])]
    passed_over = [i for i in range(len(parts)) if i not in favoured]
    for lucky in favoured:
        for unlucky in passed_over:
            assert (remainders[lucky], -lucky) > (remainders[unlucky], -unlucky)
