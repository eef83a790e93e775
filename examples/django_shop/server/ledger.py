"""This process's ledger: opened by whoever needs it first, closed before a fork and at exit."""

from __future__ import annotations

import os
import threading

from django.conf import settings
from django.db import transaction
from tallywire import SyncBalanceManager, TransactionType, open_ledger_sync

PURCHASE = TransactionType(name="purchase", direction="down", counter="@house", counts=True)

_lock = threading.Lock()
_opened: SyncBalanceManager | None = None


def ledger() -> SyncBalanceManager:
    """
    The open ledger, for any thread.

    Raises RuntimeError inside a transaction of Django's. The ledger commits on a connection of
    its own, so Django's rollback would not undo what it did; and what Django holds locked, on
    SQLite the whole file, the ledger would wait for until it gave up.
    """
    global _opened
    if transaction.get_connection().in_atomic_block:
        raise RuntimeError("use the ledger outside of transaction.atomic() and ATOMIC_REQUESTS")
    with _lock:
        if _opened is None:
            opened = open_ledger_sync(settings.LEDGER_URL, default_asset="USD")
            opened.register_type(PURCHASE)
            _opened = opened
        return _opened


def _close_before_fork() -> None:
    """Neither the ledger's thread nor a SQLite connection survives a fork: both sides open anew."""
    global _opened
    _lock.acquire()
    if _opened is not None:
        _opened.close()
        _opened = None


os.register_at_fork(
    before=_close_before_fork, after_in_parent=_lock.release, after_in_child=_lock.release
)
