"""Webhooks on a real ledger, delivered to a real receiver, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tallywire.ledger import BalanceManager, open_ledger
from tallywire.ledger.clock import uuid7_source
from tallywire.webhooks import delivery
from tallywire.webhooks.delivery import Deliverer
from tallywire.webhooks.destinations import Destinations
from tallywire.webhooks.registrations import Registration, Registrations, Wanted
from tallywire.webhooks.sending import Sender

from tests.ledger.conftest import ManualClock
from tests.services.receiver import Receiver


@dataclass
class World:
    """A ledger with webhooks, and one deliverer for as long as `delivering` lasts."""

    ledger: BalanceManager
    clock: ManualClock
    hosts: list[str]
    patience: float = 10.0
    # What is drawn for each wait: the share of its limit.
    draw: float = 0.5
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def registrations(self) -> Registrations:
        """The rows, under the addresses that are allowed now."""
        return Registrations(
            self.ledger.database, self.clock, uuid7_source(self.clock), Destinations(self.hosts)
        )

    async def put(self, name: str = "shop", **wanted: Any) -> Registration:
        """Make or change a webhook."""
        return (await self.registrations.put(name, Wanted(**wanted), actor="root"))[0]

    async def row(self, name: str = "shop") -> Registration:
        """The webhook as it stands."""
        return await self.registrations.get(name)

    async def commit(self, *users: str, asset: str = "USDT") -> list[int]:
        """A deposit for each of `users`; their positions."""
        return [
            (await self.ledger.update_balance(user, "1", "deposit", asset=asset)).position
            for user in users
        ]

    def deliverer(self) -> Deliverer:
        """One more process that delivers, not running yet."""
        return Deliverer(
            self.ledger.reader,
            self.registrations,
            lambda: Sender(
                Destinations(self.hosts), self.clock, connections=8, patience=self.patience
            ),
            self.clock,
            uuid7_source(self.clock),
            lambda: self.draw,
        )

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[Deliverer]:
        """Deliver until the block ends."""
        deliverer = self.deliverer()
        running = asyncio.create_task(deliverer.run())
        try:
            yield deliverer
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def until(
        self, true: Callable[[Registration], bool], name: str = "shop", seconds: float = 20.0
    ) -> Registration:
        """The webhook, once its row is as wanted; TimeoutError."""
        async with asyncio.timeout(seconds):
            while not true(row := await self.row(name)):
                await asyncio.sleep(0.01)
        return row


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers look often, so that tests need not wait for what they would be told at once."""
    monkeypatch.setattr(delivery, "LOOK", 0.02)
    monkeypatch.setattr(delivery, "SPACING", 0.005)


@pytest.fixture
async def world(sqlite_url: str, quick: None) -> AsyncIterator[World]:
    """Webhooks on SQLite."""
    clock = ManualClock()
    async with open_ledger(sqlite_url, clock=clock) as ledger:
        yield World(ledger, clock, ["127.0.0.1"])


@pytest.fixture
async def either_world(database_url: str, quick: None) -> AsyncIterator[World]:
    """Webhooks on each of the databases."""
    clock = ManualClock()
    async with open_ledger(database_url, clock=clock) as ledger:
        yield World(ledger, clock, ["127.0.0.1"])


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Who webhooks are sent to."""
    async with Receiver() as running:
        yield running
