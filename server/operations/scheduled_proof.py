"""Verification and rebuild at their moments: each moment by exactly one of several workers."""

from __future__ import annotations

from .. import logs
from ..ledger.clock import Clock, rfc3339
from ..ledger.errors import Conflict
from ..ledger.proof.records import Kind, Moment, Verification
from ..ledger.proof.runs import Asked, Proof
from ..schedules import Schedule

# Tries for one moment, those that ended with their process included.
ATTEMPTS = 5

_ACTOR = "schedule"
_log = logs.get_logger(__name__)


class ScheduledProof:
    """
    Verification with repair, or a rebuild, at the moments of a schedule.

    The record of verifications has one row for each attempt at a moment, and who inserts it makes
    it; so whoever else believes to be the only worker finds the moment taken. Of moments that
    passed while nobody worked the newest is made up for, unless the ledger never had one: it waits
    for the first that comes.
    """

    def __init__(self, proof: Proof, clock: Clock, kind: Kind, schedule: Schedule) -> None:
        self._proof = proof
        self._clock = clock
        self._kind: Kind = kind
        self._schedule = schedule
        self._since = rfc3339(clock.now())
        self._settled: str | None = None

    async def look(self) -> None:
        """Do what the newest moment asks for, unless that is done, or another's to do."""
        newest = self._schedule.newest(self._clock.now())
        if newest is None or (due_at := rfc3339(newest)) == self._settled:
            return
        last = await self._proof.verifications.newest_scheduled(self._kind)
        if last is not None and last.due_at == due_at and last.status == "running":
            return
        attempt = next_attempt(due_at, self._since, last)
        if attempt is not None:
            try:
                await self._make(Moment(due_at, attempt))
            except Conflict as reason:
                # Another's verification goes on: this moment waits until the next look.
                _log.info("a scheduled verification waits", kind=self._kind, reason=str(reason))
                return
        elif last is not None and last.status == "failed":
            _log.error("a scheduled verification is given up", kind=self._kind, due_at=due_at)
        self._settled = due_at

    async def _make(self, moment: Moment) -> None:
        rebuild = self._kind == "rebuild"
        asked = Asked(fix=True, accounts_only=rebuild, actor=_ACTOR, moment=moment)
        report = await self._proof.verify(asked)
        (_log.error if report.errors else _log.info)(
            "a scheduled verification is done",
            kind=self._kind,
            due_at=moment.due_at,
            checked=report.checked,
            fixed=report.fixed,
            synced=report.synced,
            errors=report.errors,
        )


def next_attempt(due_at: str, since: str, last: Verification | None) -> int | None:
    """
    Which attempt at the moment `due_at` comes next, None for none.

    since: from when on the asker has waited; last: the last attempt at the newest moment that
    anybody made one at, which no longer runs. All times are RFC 3339.
    """
    if last is None or last.due_at is None or last.attempt is None:
        return 1 if due_at > since else None
    if last.due_at != due_at:
        return 1 if last.due_at < due_at else None
    return last.attempt + 1 if last.status == "failed" and last.attempt < ATTEMPTS else None
