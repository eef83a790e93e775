"""SEQUENCE_GAP: a pair's prices are numbered 1, 2, 3, …, and their stamps increase. Pure."""

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


def _after(stamp: object, before: object) -> bool:
    return isinstance(stamp, str) and isinstance(before, str) and stamp > before
