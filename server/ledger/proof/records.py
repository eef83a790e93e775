"""
The record of verifications: how far each has come, and what it found.

It is in the database, so that any process can tell of one that another runs. Whoever runs one
says so again and again; one whose process no longer does has failed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from .. import schema
from ..clock import Clock, IdSource, rfc3339
from ..database import Database
from ..report import Report

# Seconds for which a verification counts as running after its process last said so.
ALIVE = 30.0

# How many records are kept, the newest.
KEPT = 1000

Kind = Literal["verify", "rebuild"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_COLUMNS = ", ".join(column.name for column in schema.verifications.columns)

# All of the ledger, not one user's or one book's accounts; and failed, by word or by silence.
_WHOLE = "user_id IS NULL AND book IS NULL"
_FAILED = "(status = 'failed' OR status = 'running' AND alive_until < :now)"


class Moment(Struct, frozen=True):
    """The moment (RFC 3339) that a schedule names; attempt: the first try for it is 1."""

    due_at: str
    attempt: int


class Verification(Struct, frozen=True, kw_only=True):
    """
    One verification. number: its place in the list; kind: a rebuild leaves out the journal's own
    invariants; checked, total: transactions and accounts; report: what it found, once it is done;
    error: why it failed; due_at, attempt: where a schedule asked for it, its moment and which try
    for it this is, from 1; times: RFC 3339.
    """

    number: int
    id: str
    requested_by: str
    kind: str
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
    due_at: str | None
    attempt: int | None

    @property
    def is_whole(self) -> bool:
        """Whether every invariant of the whole ledger was looked at."""
        return self.kind == "verify" and self.user_id is None and self.book is None

    def brief(self) -> Verification:
        """The same without what was found in detail."""
        if self.report is None:
            return self
        return replace(self, report=replace(self.report, details=[]))


class Standing(Struct, frozen=True):
    """
    How verifications of the whole ledger stand. finished_at, errors: the newest that came to its
    end, when (RFC 3339) and what it did not put right; failed: how many failed since.
    """

    finished_at: str | None
    errors: int
    failed: int


class _Remaining(Struct):
    errors: int


class Verifications:
    """The rows of verifications in one database."""

    def __init__(self, database: Database, clock: Clock, new_id: IdSource) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id

    def new_id(self) -> str:
        """The id of a verification that may begin."""
        return self._new_id()

    async def begin(
        self,
        id_: str,
        requested_by: str,
        *,
        kind: Kind = "verify",
        fix: bool,
        user_id: str | None,
        book: str | None,
        moment: Moment | None = None,
    ) -> bool:
        """
        Record that a verification begins, and forget the oldest; False, and nothing done, where
        that attempt for the moment is recorded already.
        """
        async with self._database.write() as connection:
            begun = await connection.execute(
                text(
                    "INSERT INTO verifications (id, requested_by, kind, fix, user_id, book, status,"
                    " checked, total, started_at, alive_until, due_at, attempt) VALUES"
                    " (:id, :requested_by, :kind, :fix, :user_id, :book, 'running',"
                    " 0, 0, :started_at, :alive_until, :due_at, :attempt)"
                    " ON CONFLICT (kind, due_at, attempt) DO NOTHING RETURNING id"
                ),
                {
                    "id": id_,
                    "requested_by": requested_by,
                    "kind": kind,
                    "fix": int(fix),
                    "user_id": user_id,
                    "book": book,
                    "started_at": rfc3339(self._clock.now()),
                    "alive_until": self._alive_until(),
                    "due_at": None if moment is None else moment.due_at,
                    "attempt": None if moment is None else moment.attempt,
                },
            )
            if begun.one_or_none() is None:
                return False
            await self._forget_the_oldest(connection)
        return True

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

    async def done_since_whole(self, newest: int) -> list[Verification]:
        """
        Those that came to their end up to number `newest`, oldest first, from the last one among
        them that verified the whole ledger.
        """
        return await self._read(
            "status = 'done' AND number <= :newest AND number >= COALESCE((SELECT MAX(number)"
            f" FROM verifications WHERE kind = 'verify' AND {_WHOLE} AND status = 'done'"
            " AND number <= :newest), 0)",
            KEPT,
            order="number",
            newest=newest,
        )

    async def newest_scheduled(self, kind: Kind) -> Verification | None:
        """The last attempt for the newest moment at which a schedule asked for `kind`, or None."""
        found = await self._read(
            "kind = :kind AND due_at IS NOT NULL",
            1,
            order="due_at DESC, attempt DESC",
            kind=kind,
        )
        return found[0] if found else None

    async def standing(self, kind: Kind) -> Standing:
        """How verifications of `kind` stand, those of the whole ledger."""
        async with self._database.read() as connection:
            done = await connection.execute(
                text(
                    "SELECT number, finished_at, report FROM verifications WHERE kind = :kind"
                    f" AND {_WHOLE} AND status = 'done' ORDER BY number DESC LIMIT 1"
                ),
                {"kind": kind},
            )
            number, finished_at, report = done.one_or_none() or (0, None, '{"errors":0}')
            failed = await connection.execute(
                text(
                    "SELECT COUNT(*) FROM verifications WHERE kind = :kind"
                    f" AND {_WHOLE} AND number > :number AND {_FAILED}"
                ),
                {"kind": kind, "number": number, "now": rfc3339(self._clock.now())},
            )
            errors = msgspec.json.decode(report, type=_Remaining).errors
            return Standing(finished_at, errors, failed.scalar_one())

    async def _forget_the_oldest(self, connection: AsyncConnection) -> None:
        # The newest of a schedule stays: it says which moments have passed.
        await connection.execute(
            text(
                "DELETE FROM verifications WHERE alive_until < :now AND number <= ("
                "SELECT number FROM verifications ORDER BY number DESC LIMIT 1 OFFSET :kept)"
                " AND (due_at IS NULL OR due_at < (SELECT MAX(newer.due_at)"
                " FROM verifications AS newer WHERE newer.kind = verifications.kind))"
            ),
            {"now": rfc3339(self._clock.now()), "kept": KEPT},
        )

    def _alive_until(self) -> str:
        return rfc3339(self._clock.now() + timedelta(seconds=ALIVE))

    async def _update(self, id_: str, **values: Any) -> None:
        table = schema.verifications
        async with self._database.write() as connection:
            await connection.execute(table.update().where(table.c.id == id_).values(**values))

    async def _read(
        self, condition: str, limit: int, *, order: str = "number DESC", **parameters: Any
    ) -> list[Verification]:
        now = rfc3339(self._clock.now())
        async with self._database.read() as connection:
            found = await connection.execute(
                text(
                    f"SELECT {_COLUMNS} FROM verifications WHERE {condition}"
                    f" ORDER BY {order} LIMIT :limit"
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
