"""What another application's columns hold, read as user ids and exact amounts, or refused."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from uuid import UUID

from ..ledger.accounts import check_user_id
from ..ledger.errors import InvalidAmount, InvalidRequest
from ..ledger.money import check_range

_DECIMAL = re.compile(r"[+-]?[0-9]{1,60}(?:\.[0-9]{1,60})?", re.ASCII)
# Any decimal of up to so many digits survives the way into a double and back (C's DBL_DIG).
_EXACT_DIGITS = 15
# Longer than any balance that the ledger can hold.
_LARGEST_EXPONENT = 40


def read_user_id(value: object) -> str:
    """
    The user id that a column's `value` (text, an integer, a UUID) stands for. Raises
    InvalidRequest.
    """
    if isinstance(value, str):
        return check_user_id(value)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return check_user_id(format(value.to_integral_value(), "f"))
    if isinstance(value, (int, UUID)) and not isinstance(value, bool):
        return check_user_id(str(value))
    if value is None:
        raise InvalidRequest("there is no user id")
    raise InvalidRequest(f"a user id cannot be of type {type(value).__name__}")


def read_balance(value: object, scale: int) -> int:
    """
    The minor units, at `scale` decimals, of a column's `value`: an integer, a Decimal, decimal
    text or a float. Zeros beyond the scale are nothing. Raises InvalidAmount on more decimals,
    on a float that no short decimal stands for, and beyond ±(2^63-1) minor units.
    """
    number = _exact(value)
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    if number and number.adjusted() > _LARGEST_EXPONENT:
        raise InvalidAmount("the balance would pass 2^63-1 minor units")
    # Without trailing zeros, so that what does not fit into the scale is a digit that counts.
    written = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(written)
    if not written:
        return 0
    if exponent + scale < 0:
        raise InvalidAmount(f"{value} has more than the asset's {scale} decimals")
    minor = int(written) * 10 ** (exponent + scale)
    return check_range(-minor if sign else minor)


def _exact(value: object) -> Decimal:
    if isinstance(value, str):
        text = value.strip()
        if not text:
            raise InvalidAmount("there is no balance")
        if not _DECIMAL.fullmatch(text):
            raise InvalidAmount(f"{text[:40]!r} is not a decimal number")
        return Decimal(text)
    if isinstance(value, bool) or value is None:
        raise InvalidAmount(
            "there is no balance" if value is None else "true or false is no amount"
        )
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float) and math.isfinite(value):
        number = Decimal(repr(value))
        if len(str(int("".join(map(str, number.as_tuple().digits)))).rstrip("0")) > _EXACT_DIGITS:
            raise InvalidAmount(f"the floating-point number {value!r} is no exact amount")
        return number
    if isinstance(value, Decimal) and value.is_finite():
        return value
    raise InvalidAmount(f"{str(value)[:40]!r} is not a decimal number")
