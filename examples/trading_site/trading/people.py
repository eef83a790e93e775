"""Users, their roles, and who is logged in. How they prove who they are is left out."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from .tables import sessions, users


class NotLoggedIn(Exception):
    """There is no such session, or it has ended."""


class NameTaken(Exception):
    """There is a user of that name."""


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in: from which address, and the role that they have now."""

    id: str
    user_id: str
    role: str
    ip: str


class People:
    """The site's users and sessions."""

    def __init__(self, engine: AsyncEngine) -> None:
        """engine: of the database that has the site's tables."""
        self._engine = engine

    async def register(self, user_id: str, role: str = "user") -> None:
        """
        A new user; raises NameTaken.

        role: `user`, `auditor`, `admin` or `superadmin`, as Tallywire has them.
        """
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(users).values(id=user_id, role=role))
        except IntegrityError:
            raise NameTaken(f"there is a user {user_id}") from None

    async def log_in(self, user_id: str, ip: str) -> Session:
        """A session of a registered user, who comes from the address `ip`."""
        session_id = secrets.token_urlsafe(32)
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(sessions).values(id=session_id, user_id=user_id, ip=ip, is_open=True)
            )
        return await self.session(session_id)

    async def log_out(self, session: Session) -> None:
        """End the session: no token is signed for it any more."""
        async with self._engine.begin() as connection:
            await connection.execute(
                update(sessions).where(sessions.c.id == session.id).values(is_open=False)
            )

    async def session(self, session_id: str) -> Session:
        """The session as it is now; raises NotLoggedIn."""
        query = (
            select(sessions.c.id, users.c.id, users.c.role, sessions.c.ip)
            .join(users)
            .where(sessions.c.id == session_id, sessions.c.is_open)
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotLoggedIn("log in first")
        return Session(*row)
