"""Leases and the tickets' clean-up, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from tallywire.ledger import open_ledger
from tallywire.ledger.database import Database


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def passes(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


async def test_a_lease_is_held_renewed_and_taken_over(database_url: str) -> None:
    clock = Clock()
    async with open_ledger(database_url, clock=clock) as manager:
        leases = manager.leases
        assert await leases.take("work", "a", 15)
        assert not await leases.take("work", "b", 15)
        assert await leases.take("other work", "b", 15)
        clock.passes(10)
        assert await leases.take("work", "a", 15)
        clock.passes(14.9)
        assert not await leases.take("work", "b", 15)
        clock.passes(0.1)
        assert await leases.take("work", "b", 15)
        assert not await leases.take("work", "a", 15)
        await leases.give_back("work", "a")
        assert not await leases.take("work", "a", 15)
        await leases.give_back("work", "b")
        assert await leases.take("work", "a", 15)


async def test_of_many_at_once_one_gets_it(database_url: str) -> None:
    async with open_ledger(database_url) as one, open_ledger(database_url) as two:
        taken = await asyncio.gather(
            *(
                manager.leases.take("work", f"holder-{number}-{name}", 15)
                for number in range(8)
                for name, manager in (("one", one), ("two", two))
            )
        )
    assert taken.count(True) == 1


async def test_expired_tickets_are_deleted_and_no_others(database_url: str) -> None:
    clock = Clock()
    async with open_ledger(database_url, clock=clock) as manager:
        await manager.access.issue_ticket({}, clock.now() + timedelta(seconds=60))
        good = await manager.access.issue_ticket({"sub": "b"}, clock.now() + timedelta(seconds=61))
        clock.passes(60)
        await manager.access.delete_expired_tickets()
        database = Database(database_url)
        async with database.read() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM tickets"))).scalar() == 1
        await database.close()
        assert await manager.access.redeem_ticket(good) == {"sub": "b"}
