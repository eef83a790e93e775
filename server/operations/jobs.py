"""The jobs that come round by themselves."""

from __future__ import annotations

from ..ledger import BalanceManager, Clock
from ..ledger.proof.records import Kind
from ..schedules import Schedule
from ..settings import Settings
from .scheduled_proof import ScheduledProof
from .scheduler import Job


def scheduled_jobs(manager: BalanceManager, settings: Settings, clock: Clock) -> list[Job]:
    """Every job that the workers of `manager`'s ledger do between them."""
    return [
        Job("delete expired tickets", 60.0, manager.access.delete_expired_tickets),
        Job("expire holds", 1.0, manager.expire_holds),
        Job("write deferred mirrors", 15.0, manager.retry_mirrors),
        *_scheduled_proof(manager, settings, clock),
    ]


def _scheduled_proof(manager: BalanceManager, settings: Settings, clock: Clock) -> list[Job]:
    schedules: dict[Kind, Schedule | None] = {
        "verify": settings.verify_schedule,
        "rebuild": settings.rebuild_schedule,
    }
    return [
        Job(kind, 10.0, ScheduledProof(manager.proof, clock, kind, schedule).look)
        for kind, schedule in schedules.items()
        if schedule is not None
    ]
