"""An open ledger on each database; every invariant holds once the test has closed it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tallywire.ledger import BalanceManager, open_ledger

from ..ledger.oracle import examine


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[BalanceManager]:
    """A ledger with nothing in it yet."""
    async with open_ledger(database_url) as manager:
        yield manager
    await examine(database_url)
