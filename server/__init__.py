"""Tallywire: a balance ledger with real-time delivery."""

from typing import TYPE_CHECKING, Any

from . import ledger
from .ledger.catalog import Book
from .ledger.errors import (
    AccountClosed,
    AccountFrozen,
    AccountInconsistent,
    AccountSuspended,
    AlongsideFailed,
    AlreadyReversed,
    Conflict,
    DemoOnly,
    ExposureLimit,
    HoldExceeded,
    HoldNotOpen,
    IdempotencyKeyReused,
    InsufficientFunds,
    InvalidAmount,
    InvalidCursor,
    InvalidRequest,
    LedgerError,
    LimitNotMet,
    MirrorBusy,
    MirrorRefused,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotReversible,
    OutcomeUnknown,
    Overloaded,
    Paused,
    SchemaMismatch,
    StalePrice,
    UnknownAsset,
    UnknownBook,
    UnknownPair,
    UnknownUser,
)
from .ledger.invariants import Discrepancy
from .ledger.receipts import Receipt
from .ledger.report import Report
from .ledger.transaction_types import TransactionType
from .ledger.updates import Batch

if TYPE_CHECKING:
    from .ledger import (
        TRANSACTION_ID,
        BalanceManager,
        DatabaseUnavailable,
        SyncBalanceManager,
        SyncWallet,
        Wallet,
        open_ledger,
        open_ledger_sync,
    )

__all__ = [
    "TRANSACTION_ID",
    "AccountClosed",
    "AccountFrozen",
    "AccountInconsistent",
    "AccountSuspended",
    "AlongsideFailed",
    "AlreadyReversed",
    "BalanceManager",
    "Batch",
    "Book",
    "Conflict",
    "DatabaseUnavailable",
    "DemoOnly",
    "Discrepancy",
    "ExposureLimit",
    "HoldExceeded",
    "HoldNotOpen",
    "IdempotencyKeyReused",
    "InsufficientFunds",
    "InvalidAmount",
    "InvalidCursor",
    "InvalidRequest",
    "LedgerError",
    "LimitNotMet",
    "MirrorBusy",
    "MirrorRefused",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotReversible",
    "OutcomeUnknown",
    "Overloaded",
    "Paused",
    "Receipt",
    "Report",
    "SchemaMismatch",
    "StalePrice",
    "SyncBalanceManager",
    "SyncWallet",
    "TransactionType",
    "UnknownAsset",
    "UnknownBook",
    "UnknownPair",
    "UnknownUser",
    "Wallet",
    "open_ledger",
    "open_ledger_sync",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # The ledger's door imports what it needs only then.
        if name in __all__:
            return getattr(ledger, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
