"""Tallywire: a balance ledger with real-time delivery."""

from typing import TYPE_CHECKING, Any

from . import ledger

if TYPE_CHECKING:
    from .ledger import BalanceManager, LedgerError, Receipt, open_ledger, open_ledger_sync

__all__ = ["BalanceManager", "LedgerError", "Receipt", "open_ledger", "open_ledger_sync"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # The ledger's door imports what it needs only then.
        if name in __all__:
            return getattr(ledger, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
