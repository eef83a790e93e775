"""The jobs that come round by themselves."""

from __future__ import annotations

from ..ledger import BalanceManager
from .scheduler import Job


def scheduled_jobs(manager: BalanceManager) -> list[Job]:
    """Every job that the workers of `manager`'s ledger do between them."""
    return [
        Job("delete expired tickets", 60.0, manager.access.delete_expired_tickets),
        Job("expire holds", 1.0, manager.expire_holds),
        Job("write deferred mirrors", 15.0, manager.retry_mirrors),
    ]
