"""The ledger: the truth about balances. Knows no HTTP, no sockets, no Redis."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .changes import Change, Details, IdempotencyKey
from .clock import Clock, SystemClock
from .errors import LedgerError
from .receipts import Receipt
from .transaction_types import TransactionType, TransactionTypes
from .updates import Batch, Committed, UpdateFilter

if TYPE_CHECKING:
    from .alongside import TRANSACTION_ID
    from .blocking import SyncBalanceManager, SyncWallet
    from .database import DatabaseUnavailable
    from .importing import import_journal
    from .manager import BalanceManager, Wallet
    from .opening import open_ledger, open_ledger_sync
else:
    # SQLAlchemy takes most of a second to import: who only signs a token does without.
    _DATABASE_SIDE = {
        "TRANSACTION_ID": ".alongside",
        "BalanceManager": ".manager",
        "DatabaseUnavailable": ".database",
        "SyncBalanceManager": ".blocking",
        "SyncWallet": ".blocking",
        "Wallet": ".manager",
        "import_journal": ".importing",
        "open_ledger": ".opening",
        "open_ledger_sync": ".opening",
    }

    def __getattr__(name: str) -> Any:
        if name in _DATABASE_SIDE:
            return getattr(import_module(_DATABASE_SIDE[name], __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "TRANSACTION_ID",
    "BalanceManager",
    "Batch",
    "Change",
    "Clock",
    "Committed",
    "DatabaseUnavailable",
    "Details",
    "IdempotencyKey",
    "LedgerError",
    "Receipt",
    "SyncBalanceManager",
    "SyncWallet",
    "SystemClock",
    "TransactionType",
    "TransactionTypes",
    "UpdateFilter",
    "Wallet",
    "import_journal",
    "open_ledger",
    "open_ledger_sync",
]
