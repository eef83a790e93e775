"""Amounts: decimal strings at the edges, integer minor units inside. No floats anywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from .errors import InvalidAmount

LARGEST = 2**63 - 1

# Decimals that an asset may have.
LARGEST_SCALE = 12
# What an amount looks like, as a regular expression that JSON Schema understands too.
AMOUNT_SYNTAX = rf"-?(?:0|[1-9][0-9]{{0,18}})(?:\.[0-9]{{1,{LARGEST_SCALE}}})?"

_AMOUNT = re.compile(AMOUNT_SYNTAX, re.ASCII)


def parse_amount(value: object, scale: int, *, pointer: str = "/amount") -> int:
    """
    Minor units of the decimal string (or Decimal) `value` in an asset of `scale` decimals.

    Raises InvalidAmount on anything but the contract's syntax, on more decimals than the
    asset has (even zeros), and beyond ±(2^63-1) minor units.
    """
    if isinstance(value, Decimal):
        value = format(value, "f")
    if not isinstance(value, str):
        raise InvalidAmount('an amount is a decimal string, such as "12.50"', pointer=pointer)
    if _AMOUNT.fullmatch(value) is None:
        raise InvalidAmount(f"{value[:40]!r} is not a decimal amount", pointer=pointer)
    decimals = value.partition(".")[2]
    if len(decimals) > scale:
        raise InvalidAmount(f"at most {scale} decimals are allowed here", pointer=pointer)
    minor = int(value.replace(".", "")) * 10 ** (scale - len(decimals))
    return check_range(minor, pointer=pointer)


def parse_positive(value: object, scale: int, *, pointer: str = "/amount") -> int:
    """`value` as `parse_amount` reads it, where that is more than zero, else InvalidAmount."""
    minor = parse_amount(value, scale, pointer=pointer)
    if minor <= 0:
        raise InvalidAmount("the amount must be more than zero", pointer=pointer)
    return minor


def check_range(minor: int, *, pointer: str = "/amount") -> int:
    """`minor` itself where it lies within ±(2^63-1), else InvalidAmount."""
    if not -LARGEST <= minor <= LARGEST:
        raise InvalidAmount(
            "the amount or a balance would pass 2^63-1 minor units", pointer=pointer
        )
    return minor


def format_amount(minor: int, scale: int) -> str:
    """The decimal string of `minor` units with exactly `scale` decimals."""
    if scale == 0:
        return str(minor)
    digits = str(abs(minor)).rjust(scale + 1, "0")
    return f"{'-' if minor < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def split_by_weight(amount: int, weights: Sequence[int]) -> list[int]:
    """
    `amount` minor units (0 or more) shared in proportion to `weights` (0 or more, not all 0).

    Each part is floored; the remaining units go to the largest remainders, ties to the
    earlier share (Hamilton's largest remainder method), so that the parts sum to `amount`.
    """
    whole = sum(weights)
    parts = [amount * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % whole), i))
    for i in by_remainder[: amount - sum(parts)]:
        parts[i] += 1
    return parts
