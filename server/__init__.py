"""Tallywire: a balance ledger with real-time delivery."""

from .ledger import BalanceManager, LedgerError, Receipt, open_ledger, open_ledger_sync

__all__ = ["BalanceManager", "LedgerError", "Receipt", "open_ledger", "open_ledger_sync"]
