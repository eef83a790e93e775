"""The ledger: the truth about balances. Knows no HTTP, no sockets, no Redis."""

from .changes import Change, Details, IdempotencyKey
from .clock import Clock, SystemClock
from .errors import LedgerError
from .manager import BalanceManager, Wallet
from .opening import open_ledger, open_ledger_sync
from .receipts import Receipt
from .transaction_types import TransactionType, TransactionTypes
from .updates import Batch, Committed, UpdateFilter

__all__ = [
    "BalanceManager",
    "Batch",
    "Change",
    "Clock",
    "Committed",
    "Details",
    "IdempotencyKey",
    "LedgerError",
    "Receipt",
    "SystemClock",
    "TransactionType",
    "TransactionTypes",
    "UpdateFilter",
    "Wallet",
    "open_ledger",
    "open_ledger_sync",
]
