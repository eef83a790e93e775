"""
The assets, books, mirrors and pairs that exist: a small snapshot, numbered, so that a stale one
is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import ROUND_CEILING, Decimal

from msgspec import Struct

from .days import end_of, start_of
from .errors import InvalidRequest, UnknownAsset, UnknownBook, UnknownPair
from .mirrors.mirror import Mirror
from .money import check_range
from .trading.pairs import Pair
from .transaction_types import Side

ASSET_CODE = re.compile(r"[A-Z0-9]{1,12}", re.ASCII)
BOOK_NAME = re.compile(r"[a-z0-9][a-z0-9:_.-]{0,63}", re.ASCII)

FIRST_ASSETS = {"USD": 2, "EUR": 2, "USDT": 6, "BTC": 8, "ETH": 9, "COIN": 0}
FIRST_BOOKS = ("main", "demo")


class Asset(Struct, frozen=True):
    """What is counted: its code and how many decimals it has (0 to 12)."""

    code: str
    scale: int


class Book(Struct, frozen=True, kw_only=True):
    """
    A separate set of accounts (contract, section 1).

    default_floor: decimal string in whole units, or None for no limit; timezone: an IANA name;
    starts_on, closed_through: dates in that zone, or None.
    """

    name: str
    side: Side = "credit"
    default_floor: str | None = "0"
    accounts: str = "open"
    self_service: bool = False
    timezone: str = "UTC"
    starts_on: str | None = None
    closed_through: str | None = None

    @property
    def stored_sign(self) -> int:
        """What turns an own-sense amount into the stored, credit-positive one, and back."""
        return 1 if self.side == "credit" else -1

    def floor_for(self, asset: Asset) -> int | None:
        """
        The floor of a new account, in minor units: the book's own, rounded up where the asset
        has fewer decimals. Raises InvalidAmount where it is out of the asset's range.
        """
        if self.side == "debit" or self.default_floor is None:
            return None
        minor = Decimal(self.default_floor).scaleb(asset.scale)
        return check_range(int(minor.to_integral_value(ROUND_CEILING)), pointer="/default_floor")

    def start_of(self, day: date) -> datetime:
        """The instant (UTC) at which `day` starts in this book."""
        return start_of(day, self.timezone)

    def end_of(self, day: date) -> datetime:
        """The instant (UTC) at which `day` is over in this book."""
        return end_of(day, self.timezone)

    def check_effective(self, moment: datetime) -> None:
        """Raise InvalidRequest where nothing may be effective at `moment` (aware) in this book."""
        first, closed = self.starts_on, self.closed_through
        if first is not None and moment < self.start_of(date.fromisoformat(first)):
            raise InvalidRequest(f"book {self.name!r} starts on {first}", pointer="/effective_at")
        if closed is not None and moment < self.end_of(date.fromisoformat(closed)):
            raise InvalidRequest(
                f"book {self.name!r} is closed through {closed}", pointer="/effective_at"
            )


class Catalog(Struct, frozen=True):
    """All assets, books, mirrors, pairs, and whether changes are paused, as of `version`."""

    version: int
    paused: bool
    assets: Mapping[str, Asset]
    books: Mapping[str, Book]
    mirrors: tuple[Mirror, ...] = ()
    pairs: Mapping[str, Pair] = {}

    def asset(self, code: object) -> Asset:
        """The asset `code`; raises UnknownAsset."""
        if isinstance(code, str) and code in self.assets:
            return self.assets[code]
        raise UnknownAsset(f"there is no asset {str(code)[:40]!r}", pointer="/asset")

    def book(self, name: object) -> Book:
        """The book `name`; raises UnknownBook."""
        if isinstance(name, str) and name in self.books:
            return self.books[name]
        raise UnknownBook(f"there is no book {str(name)[:80]!r}", pointer="/book")

    def pair(self, name: object) -> Pair:
        """The pair `name`; raises UnknownPair, which is a NotFound."""
        if isinstance(name, str) and name in self.pairs:
            return self.pairs[name]
        raise UnknownPair(f"there is no pair {str(name)[:40]!r}", pointer="/pair")
