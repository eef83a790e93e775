"""Leases: of several processes one at a time holds a name, and only for as long as it renews it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from .clock import Clock, rfc3339
from .database import Database


class Leases:
    """
    Who may do what only one may do, as rows of the database.

    Times are those of the processes' own clocks, so a lease should be long beside the difference
    between them.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def take(self, name: str, holder: str, seconds: float) -> bool:
        """
        Take the lease `name` for `seconds`, or renew it; whether `holder` has it now.

        It is given where nobody holds it, its time is over, or `holder` has it already.
        Raises DatabaseUnavailable.
        """
        now = self._clock.now()
        async with self._database.write() as connection:
            taken = await connection.execute(
                text(
                    "INSERT INTO leases (name, holder, expires_at)"
                    " VALUES (:name, :holder, :expires_at)"
                    " ON CONFLICT (name) DO UPDATE"
                    " SET holder = excluded.holder, expires_at = excluded.expires_at"
                    " WHERE leases.holder = excluded.holder OR leases.expires_at <= :now"
                    " RETURNING holder"
                ),
                {
                    "name": name,
                    "holder": holder,
                    "expires_at": rfc3339(now + timedelta(seconds=seconds)),
                    "now": rfc3339(now),
                },
            )
            return taken.one_or_none() is not None

    async def give_back(self, name: str, holder: str) -> None:
        """End the lease, if `holder` has it, so that another need not wait for its time."""
        async with self._database.write() as connection:
            await connection.execute(
                text("DELETE FROM leases WHERE name = :name AND holder = :holder"),
                {"name": name, "holder": holder},
            )
