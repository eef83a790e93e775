"""
The record of verifications: how far each has come, and what it found.

It is in the database, so that any process can tell of one that another runs. Whoever runs one
says so again and again; one whose process no longer does has failed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import insert, text

from .. import schema
from ..clock import Clock, IdSource, rfc3339
from ..database import Database
from ..report import Report

# Seconds for which a verification counts as running after its process last said so.
ALIVE = 30.0

_COLUMNS = ", ".join(column.name for column in schema.verifications.columns)


class Verification(Struct, frozen=True, kw_only=True):
    """
    One verification. number: its place in the list; checked, total: transactions and accounts;
    report: what it found, once it is done; error: why it failed; times: RFC 3339.
    """

    number: int
    id: str
    requested_by: str
    fix: bool
    user_id: str | None
    book: str | None
    status: str
    checked: int
    total: int
    report: Report | None
    error: str | None
    started_at: str
    finished_at: str | None


class Verifications:
    """The rows of verifications in one database."""

    def __init__(self, database: Database, clock: Clock, new_id: IdSource) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id

    async def begin(
        self, requested_by: str, *, fix: bool, user_id: str | None, book: str | None
    ) -> str:
        """Record that a verification begins; its id."""
        id_ = self._new_id()
        async with self._database.write() as connection:
            await connection.execute(
                insert(schema.verifications).values(
                    id=id_,
                    requested_by=requested_by,
                    fix=int(fix),
                    user_id=user_id,
                    book=book,
                    status="running",
                    checked=0,
                    total=0,
                    started_at=rfc3339(self._clock.now()),
                    alive_until=self._alive_until(),
                )
            )
        return id_

    async def goes_on(self, id_: str, checked: int, total: int) -> None:
        """Record how far a verification has come, and that it runs."""
        await self._update(id_, checked=checked, total=total, alive_until=self._alive_until())

    async def done(self, id_: str, report: Report, total: int) -> None:
        """Record what a verification found."""
        await self._update(
            id_,
            status="done",
            checked=report.checked,
            total=total,
            report=msgspec.json.encode(report).decode(),
            finished_at=rfc3339(self._clock.now()),
        )

    async def failed(self, id_: str, error: str) -> None:
        """Record that a verification could not be brought to its end."""
        await self._update(
            id_, status="failed", error=error, finished_at=rfc3339(self._clock.now())
        )

    async def get(self, id_: str) -> Verification | None:
        """The verification `id_`, or None."""
        found = await self._read("id = :id", 1, id=id_)
        return found[0] if found else None

    async def listed(self, before: int | None, limit: int) -> list[Verification]:
        """At most `limit` with a number below `before`, newest first."""
        return await self._read(
            "number < :before", limit, before=2**62 if before is None else before
        )

    async def newest_done(self) -> Verification | None:
        """The newest that came to its end, or None."""
        found = await self._read("status = 'done'", 1)
        return found[0] if found else None

    def _alive_until(self) -> str:
        return rfc3339(self._clock.now() + timedelta(seconds=ALIVE))

    async def _update(self, id_: str, **values: Any) -> None:
        table = schema.verifications
        async with self._database.write() as connection:
            await connection.execute(table.update().where(table.c.id == id_).values(**values))

    async def _read(self, condition: str, limit: int, **parameters: Any) -> list[Verification]:
        now = rfc3339(self._clock.now())
        async with self._database.read() as connection:
            found = await connection.execute(
                text(
                    f"SELECT {_COLUMNS} FROM verifications WHERE {condition}"
                    " ORDER BY number DESC LIMIT :limit"
                ),
                {"limit": limit, **parameters},
            )
            return [_verification(row._mapping, now) for row in found]


def _verification(row: Any, now: str) -> Verification:
    given = {name: row[name] for name in Verification.__struct_fields__}
    if row["status"] == "running" and row["alive_until"] < now:
        given |= {"status": "failed", "error": "the process that ran it has gone"}
    report = row["report"]
    given["report"] = None if report is None else msgspec.json.decode(report, type=Report)
    return Verification(**{**given, "fix": bool(row["fix"])})
