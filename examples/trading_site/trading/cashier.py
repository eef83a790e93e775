"""The cashier's desk: deposits, withdrawals and adjustments, with their papers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from .ledger import Json, Ledger
from .people import Session
from .tables import requests


class AnotherClerk(Exception):
    """The request is somebody else's: only they can book it, and book it once."""


@dataclass(frozen=True, kw_only=True)
class Slip:
    """
    One movement of money, as the form of the site has it.

    request_id: made with the form, so that each click on it has the same. amount: a decimal string
    in whole units, above zero; of an adjustment signed. What follows is kept with the entry, and
    the user sees it in their history; `more` is for what has no field of its own.
    """

    request_id: str
    user_id: str
    asset: str
    amount: str
    description: str
    method: str
    bank_reference: str | None = None
    approved_by: str | None = None
    note: str | None = None
    ticket: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def body(self, ip: str) -> Json:
        """What Tallywire is sent, the same at each click; ip: from where it was first asked for."""
        papers = {
            "method": self.method,
            "bank_reference": self.bank_reference,
            "ip": ip,
            "approved_by": self.approved_by,
            "note": self.note,
            "ticket": self.ticket,
        }
        return {
            "user_id": self.user_id,
            "asset": self.asset,
            "amount": self.amount,
            "description": self.description,
            "reference": self.bank_reference,
            "metadata": {**self.more, **{k: v for k, v in papers.items() if v is not None}},
        }


@dataclass(frozen=True)
class Booked:
    """
    What Tallywire booked: the journal's position, the id, and what each user sees of it.

    replayed: it had been booked by an earlier click, and this one changed nothing.
    """

    position: int
    transaction_id: str
    updates: list[Json]
    replayed: bool


class Cashier:
    """
    Books slips for those who are logged in. Who may what, Tallywire decides by their role.

    Each method raises Refused with what Tallywire said, AnotherClerk, NotLoggedIn, and Unreachable
    where nobody knows: ask again with the same slip, it is booked once.
    """

    def __init__(self, ledger: Ledger, engine: AsyncEngine) -> None:
        """engine: of the database that has the site's tables."""
        self._ledger = ledger
        self._engine = engine

    async def deposit(self, session: Session, slip: Slip) -> Booked:
        """Money came in: admins and above."""
        return await self._book(session, "/v1/deposits", slip)

    async def withdraw(self, session: Session, slip: Slip) -> Booked:
        """Money goes out, at most what the user has: users for themselves, admins and above."""
        return await self._book(session, "/v1/withdrawals", slip)

    async def adjust(self, session: Session, slip: Slip) -> Booked:
        """The balance was wrong: superadmins."""
        return await self._book(session, "/v1/adjustments", slip)

    async def _book(self, session: Session, path: str, slip: Slip) -> Booked:
        ip = await self._claim(session, slip.request_id)
        answer = await self._ledger.change(session, path, slip.body(ip), slip.request_id)
        said: Json = answer.json()
        return Booked(
            said["position"],
            said["transaction_id"],
            said["updates"],
            answer.headers.get("Idempotent-Replayed") == "true",
        )

    async def _claim(self, session: Session, request_id: str) -> str:
        """Make the request this clerk's, once and for all; the address of the first click."""
        # Idempotency keys are each caller's own: two callers would book one request twice.
        claim = insert(requests).values(id=request_id, clerk_id=session.user_id, ip=session.ip)
        try:
            async with self._engine.begin() as connection:
                await connection.execute(claim)
            return session.ip
        except IntegrityError:
            query = select(requests.c.clerk_id, requests.c.ip).where(requests.c.id == request_id)
            async with self._engine.connect() as connection:
                clerk_id, ip = (await connection.execute(query)).one()
        if clerk_id != session.user_id:
            raise AnotherClerk(f"request {request_id} is {clerk_id}'s")
        return str(ip)
