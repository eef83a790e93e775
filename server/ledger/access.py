"""Who may come in, as far as the database must remember it: revocations and stream tickets."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import text

from .clock import Clock, rfc3339
from .database import Database


class Access:
    """Revoked tokens and single-use tickets, shared by every process on the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def revoke(self, user_id: str, at: int) -> None:
        """Revoke the user's tokens issued at or before the second `at` (Unix time)."""
        async with self._database.write() as connection:
            await connection.execute(
                text(
                    "INSERT INTO revocations (user_id, revoked_at) VALUES (:user_id, :at)"
                    " ON CONFLICT (user_id) DO UPDATE SET revoked_at = excluded.revoked_at"
                    " WHERE revocations.revoked_at < excluded.revoked_at"
                ),
                {"user_id": user_id, "at": at},
            )

    async def load_revocations(self) -> dict[str, int]:
        """By user, the second up to which issued tokens are revoked."""
        async with self._database.read() as connection:
            rows = await connection.execute(text("SELECT user_id, revoked_at FROM revocations"))
            return {row.user_id: row.revoked_at for row in rows}

    async def issue_ticket(self, claims: Mapping[str, Any], expires_at: datetime) -> str:
        """A ticket that stands for `claims` once, until `expires_at`; only its hash is kept."""
        ticket = secrets.token_urlsafe(32)
        async with self._database.write() as connection:
            await connection.execute(
                text(
                    "INSERT INTO tickets (hash, claims, expires_at)"
                    " VALUES (:hash, :claims, :expires_at)"
                ),
                {
                    "hash": _hash(ticket),
                    "claims": msgspec.json.encode(claims).decode(),
                    "expires_at": rfc3339(expires_at),
                },
            )
        return ticket

    async def delete_expired_tickets(self) -> None:
        """Forget the tickets that nobody used in time."""
        async with self._database.write() as connection:
            await connection.execute(
                text("DELETE FROM tickets WHERE expires_at <= :now"),
                {"now": rfc3339(self._clock.now())},
            )

    async def redeem_ticket(self, ticket: str) -> dict[str, Any] | None:
        """The claims of an unused, unexpired `ticket`, which is used up by this; else None."""
        async with self._database.write() as connection:
            row = (
                await connection.execute(
                    text("DELETE FROM tickets WHERE hash = :hash RETURNING claims, expires_at"),
                    {"hash": _hash(ticket)},
                )
            ).one_or_none()
        if row is None or row.expires_at <= rfc3339(self._clock.now()):
            return None
        claims: dict[str, Any] = msgspec.json.decode(row.claims)
        return claims


def _hash(ticket: str) -> str:
    return sha256(ticket.encode("utf-8", "surrogatepass")).hexdigest()
