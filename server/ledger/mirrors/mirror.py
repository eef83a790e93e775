"""
Mirrors: copies of a balance in other tables, which the ledger keeps inside its own commit.

Pure: which accounts a mirror has, which row is an account's, and what the value in it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal, NotRequired, TypedDict
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ..accounts import Account, AccountKey
from ..errors import InvalidAmount, InvalidRequest
from ..money import check_range, format_amount

NO_ROW = "there is no such row"

# The names that every key may use, besides those of its book's pattern.
_COMMON = ("owner", "book", "asset")
_BRACED = re.compile(r"\{([^{}]*)\}")
_PART = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_BOOK_TEXT = re.compile(r"[a-z0-9:_.-]*", re.ASCII)
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_BITS = {"smallint": 16, "integer": 32, "bigint": 64}
# Enough for whatever a decimal column can hold; the default would round.
_EXACT = Context(prec=2000)
# How far from a whole number of minor units a float may be: by its size, but at least and at most.
_NOISE, _LEAST_NOISE, _MOST_NOISE = Decimal(2) ** -44, Decimal("0.001"), Decimal("0.25")
_CHOICES = {
    "value": ("balance", "available", "total_in", "total_out", "total_earned"),
    "on_failure": ("abort", "defer"),
    "on_drift": ("adopt", "overwrite"),
    "mode": ("write", "shadow"),
}

RowKey = tuple[str, ...]


class MirrorOptions(TypedDict):
    """
    What a mirror is registered with; see Mirror for each.

    table, column: where the copy is kept; kind: by the column's type where absent; key: the
    columns by which a row is found, each with its text, in which ``{owner}``, ``{book}``,
    ``{asset}`` or a name of the book's pattern may stand; together a primary or unique key.
    book: ``main`` where absent; value: ``balance``, ``available``, ``total_in``, ``total_out`` or
    ``total_earned``.
    """

    table: str
    column: str
    key: Mapping[str, str]
    asset: str
    kind: NotRequired[str | None]
    book: NotRequired[str]
    value: NotRequired[str]
    on_failure: NotRequired[str]
    on_drift: NotRequired[str]
    mode: NotRequired[str]


class KeyColumn(Struct, frozen=True):
    """
    One column by which a row is found. type: the SQL type that its parameter is cast to;
    template: its text, with at most one name in braces.
    """

    name: str
    type: str
    template: str


class Mirror(Struct, frozen=True, kw_only=True):
    """
    A registered mirror. id: the settings' version that it came with; table: perhaps with its
    schema and a dot; kind: ``integer`` columns hold minor units, ``decimal`` ones whole units;
    book: a book's name, in which ``{name}`` stands for one or more characters but ``:``;
    value: what is copied, own sense; on_failure: whether a row that cannot be written refuses
    the change (``abort``) or is written later (``defer``); on_drift: whether what others wrote
    there is booked (``adopt``) or written over (``overwrite``); mode: ``shadow`` is compared only.
    """

    id: int
    name: str
    table: str
    column: str
    kind: Literal["integer", "decimal"]
    key: tuple[KeyColumn, ...]
    book: str
    asset: str
    value: str
    on_failure: str
    on_drift: str
    mode: str

    @property
    def writes(self) -> bool:
        """Whether the ledger writes it at all."""
        return self.mode == "write"

    @property
    def adopts(self) -> bool:
        """Whether the ledger books what others wrote there."""
        return self.writes and self.on_drift == "adopt"

    def row_of(self, account: AccountKey) -> RowKey | None:
        """
        The key of the account's row, a text per column; None where this is no mirror of the
        account, and empty where it has none: a text does not fit its column.
        """
        if account.asset != self.asset or account.is_system:
            return None
        match = _book_pattern(self.book).fullmatch(account.book)
        if match is None:
            return None
        names = {**account._asdict(), **match.groupdict()}
        texts = tuple(_filled(column.template, names) for column in self.key)
        if all(map(_fits, texts, (column.type for column in self.key))):
            return texts
        return ()

    def value_of(self, account: Account, sign: int) -> int:
        """What the mirror should say of `account`, in minor units; sign: its book's."""
        if self.value == "balance":
            return sign * account.balance
        if self.value == "available":
            return sign * account.balance - account.held
        if self.value == "total_earned":
            return account.total_earned or 0
        return account.total_in if self.value == "total_in" else account.total_out

    def text_of(self, minor: int, scale: int) -> str:
        """The column's text for `minor` units of an asset with `scale` decimals."""
        return str(minor) if self.kind == "integer" else format_amount(minor, scale)

    def minor_of(self, stored: Any, scale: int) -> int | None:
        """
        The minor units that the column's value `stored` says; None for NULL. Raises
        InvalidAmount where that is no amount of an asset with `scale` decimals.
        """
        if stored is None:
            return None
        try:
            value = _EXACT.create_decimal(stored)
            minor = _EXACT.scaleb(value, scale if self.kind == "decimal" else 0)
            if isinstance(stored, float):
                minor = _without_noise(minor)
            if minor == minor.to_integral_value():
                return check_range(int(minor))
        except (InvalidOperation, InvalidAmount, OverflowError, TypeError, ValueError):
            pass
        raise InvalidAmount(f"{self.column} of {self.table} holds {stored}, which is no amount")


def _without_noise(minor: Decimal) -> Decimal:
    """
    The whole number of minor units that a float of so many means: SQLite keeps decimals as floats,
    and sums of them are off by some last places. Raises InvalidAmount where there is none, or it
    has more than the 15 digits that a float can say.
    """
    whole = minor.to_integral_value()
    noise = min(_MOST_NOISE, max(_LEAST_NOISE, abs(minor) * _NOISE))
    if abs(minor - whole) > noise or abs(whole) >= 10**15:
        raise InvalidAmount("this float is no amount")
    return whole


class MirrorState(Struct, frozen=True):
    """
    What is remembered of an account's row. written: the value that drift is measured from, in
    minor units: the last one written, or the ledger's when it first met the row; None where
    there was no row. failure: why the row does not have the ledger's value.
    """

    written: int | None
    failure: str | None = None


def same_rows(one: Mirror, other: Mirror) -> bool:
    """Whether what is remembered of the rows of `one` holds for `other`."""
    return replace(one, id=other.id, on_failure=other.on_failure, on_drift=other.on_drift) == other


def check_options(**given: str) -> None:
    """Raise InvalidRequest where an option of a mirror has a value that it cannot have."""
    for field, value in given.items():
        if value not in _CHOICES[field]:
            choices = " or ".join(_CHOICES[field])
            raise InvalidRequest(f"a mirror's {field} is {choices}", pointer=f"/{field}")
    if given["value"].startswith("total") and given["on_drift"] == "adopt":
        raise InvalidRequest(
            "what others write to a total cannot be adopted: overwrite it", pointer="/on_drift"
        )


def check_places(book: str, key: Mapping[str, str]) -> None:
    """
    Raise InvalidRequest where `book` is no pattern, or `key` (a template per column) could
    give two accounts of the pattern one row.
    """
    pieces = _BRACED.split(book)
    parts = pieces[1::2]
    if (
        not all(_BOOK_TEXT.fullmatch(text) for text in pieces[::2])
        or not all(_PART.fullmatch(part) and part not in _COMMON for part in parts)
        or not all(pieces[2:-1:2])
        or len(set(parts)) != len(parts)
        or not book
    ):
        raise InvalidRequest(
            "book is a book's name, in which {name} may stand for a part", pointer="/book"
        )
    used: set[str] = set()
    for column, template in key.items():
        names = _BRACED.findall(template) if isinstance(template, str) else ["", ""]
        bare = _BRACED.sub("", template) if isinstance(template, str) else "{"
        if len(names) > 1 or "{" in bare or "}" in bare:
            raise InvalidRequest(
                f"the key's {column!r} is a text with at most one name in braces", pointer="/key"
            )
        unknown = set(names) - {*_COMMON, *parts}
        if unknown:
            raise InvalidRequest(f"the key knows no {{{unknown.pop()}}}", pointer="/key")
        used.update(names)
    needed = {"owner"} if "book" in used else {"owner", *parts}
    missing = sorted(needed - used)
    if missing:
        raise InvalidRequest(
            f"two accounts would share a row: the key needs {{{missing[0]}}}", pointer="/key"
        )


def may_share(one: Mirror, other: Mirror) -> bool:
    """Whether two mirrors could write one column of one row."""
    if (one.table, one.column) != (other.table, other.column):
        return False
    mine, theirs = _literals(one), _literals(other)
    return all(mine[name] == theirs[name] for name in mine.keys() & theirs.keys())


def _literals(mirror: Mirror) -> dict[str, str]:
    """The key's columns that have one text for all accounts of the mirror."""
    known = {"asset": mirror.asset}
    if "{" not in mirror.book:
        known["book"] = mirror.book
    return {
        column.name: _filled(column.template, known)
        for column in mirror.key
        if set(_BRACED.findall(column.template)) <= known.keys()
    }


def _filled(template: str, names: Mapping[str, str]) -> str:
    return _BRACED.sub(lambda match: names[match[1]], template)


@lru_cache(maxsize=1024)
def _book_pattern(book: str) -> re.Pattern[str]:
    pieces = _BRACED.split(book)
    return re.compile(
        "".join(
            f"(?P<{piece}>[^:]+)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces)
        )
    )


def _fits(text: str, type_: str) -> bool:
    """Whether the column can hold `text` and nothing else that reads the same."""
    if type_ in _BITS:
        half: int = 1 << (_BITS[type_] - 1)
        return _WHOLE.fullmatch(text) is not None and -half <= int(text) < half
    if type_ == "uuid":
        try:
            return str(UUID(text)) == text
        except ValueError:
            return False
    return type_ != "bpchar" or not text.endswith(" ")
