"""
The ledger's own tests: a clock that the test moves, a catalog without a database, an open ledger
whose journal is examined when the test is over.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tallywire.ledger import BalanceManager, open_ledger
from tallywire.ledger.catalog import FIRST_ASSETS, Asset, Book, Catalog

from .oracle import examine

BOOKS = (
    Book(name="main"),
    Book(name="demo"),
    Book(name="strict", accounts="strict"),
    Book(name="credit-line", default_floor="-100"),
    Book(name="unlimited", default_floor=None),
    Book(name="flats", side="debit", default_floor=None),
)


class ManualClock:
    """A clock, after every real time, that stands still until the test moves it, back too."""

    def __init__(self) -> None:
        self.at = datetime(2100, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        """Move by what `timedelta` takes, such as seconds=1."""
        self.at += timedelta(**by)


def numbered_ids(start: int = 1) -> itertools.count[int]:
    """The numbers behind `transaction_id`."""
    return itertools.count(start)


def transaction_id(number: int) -> str:
    """The id of the vectors' form with `number` at its end."""
    return f"01900000-0000-7000-8000-{number:012}"


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The first assets, and a book of every kind."""
    return Catalog(
        version=1,
        paused=False,
        assets={code: Asset(code, scale) for code, scale in FIRST_ASSETS.items()},
        books={book.name: book for book in BOOKS},
    )


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[BalanceManager]:
    """An open ledger on each database; every invariant holds once the test has closed it."""
    async with open_ledger(database_url) as manager:
        yield manager
    await examine(database_url)
