"""
Prices, and the tickers that follow from them.

Pure. SEQUENCE_GAP: a pair's prices are numbered 1, 2, 3, …, and their stamps increase;
SNAPSHOT=REPLAY: its ticker says the newest of them, and was read no earlier than anything was
traded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..catalog import Catalog
from ..invariants import Discrepancy, Invariant, numbers, texts

_SNAPSHOT, _GAP = Invariant.SNAPSHOT_REPLAY, Invariant.SEQUENCE_GAP


class StoredPrice(NamedTuple):
    """A row of `prices`, as far as anything follows from it."""

    pair: str
    number: int
    price: int
    source: str
    stamped_at: str


class StoredTicker(NamedTuple):
    """A row of `tickers`, each column None where there is no such row."""

    number: int | None
    price: int | None
    source: str | None
    stamped_at: str | None
    read_at: str | None


class PriceWalk:
    """The prices of each pair by number; only the newest of each is kept."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._newest: dict[str, StoredPrice] = {}

    @property
    def newest(self) -> Mapping[str, StoredPrice]:
        """The newest price of each pair so far."""
        return self._newest

    def price(self, price: StoredPrice) -> Iterator[Discrepancy]:
        """What is wrong with the next price; those of a pair come by number."""
        if not isinstance(price.number, int) or not isinstance(price.pair, str):
            # Only SQLite could have kept it.
            yield texts(_GAP, f"number of a price of {price.pair!s}", price.number, None)
            return
        pair, before = price.pair, self._newest.get(price.pair)
        due = 1 if before is None else before.number + 1
        if before is None and pair not in self._catalog.pairs:
            yield texts(_SNAPSHOT, "pair of prices", None, pair)
        if price.number != due:
            yield numbers(_GAP, f"number of a price of {pair}", price.number, due)
        if before is not None and not _after(price.stamped_at, before.stamped_at):
            what = f"stamp of price {price.number} of {pair}, and of the one before"
            yield texts(_GAP, what, price.stamped_at, before.stamped_at)
        self._newest[pair] = price


def check_ticker(
    pair: str, row: StoredTicker, newest: StoredPrice | None, traded_at: str
) -> Iterator[Discrepancy]:
    """
    What a pair's ticker says otherwise than it may. newest: its newest price, None where it has
    none; traded_at: the latest moment that was traded by, empty where none was.
    """
    expected = StoredTicker(0, None, None, None, row.read_at)
    if newest is not None:
        expected = StoredTicker(*newest[1:], row.read_at)
    elif row.number is None:
        expected = StoredTicker(None, None, None, None, row.read_at)
    if traded_at and (not isinstance(row.read_at, str) or row.read_at < traded_at):
        expected = expected._replace(read_at=traded_at)
    for name, stored, actual in zip(StoredTicker._fields, row, expected, strict=True):
        if stored != actual:
            yield texts(_SNAPSHOT, f"ticker of {pair}: {name}", stored, actual)


def _after(stamp: object, before: object) -> bool:
    return isinstance(stamp, str) and isinstance(before, str) and stamp > before
