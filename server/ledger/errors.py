"""Every refusal of the ledger: a class for each code, its docstring the default message."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar


class LedgerError(Exception):
    """The ledger refused the request."""

    code: ClassVar[str] = "refused"

    def __init__(self, detail: str | None = None, *, pointer: str | None = None, **extra: Any):
        """
        detail: one sentence for people; the class docstring where absent.
        pointer: JSON pointer (RFC 6901) of the offending field, such as ``/amount``.
        extra: further members of the problem document, such as ``required`` and ``available``.
        """
        self.detail = detail or inspect.cleandoc(type(self).__doc__ or "")
        self.pointer = pointer
        self.extra = extra
        super().__init__(self.detail)


class InvalidRequest(LedgerError):
    """The request is malformed."""

    code = "invalid_request"


class NotAuthenticated(LedgerError):
    """A valid token is needed."""

    code = "not_authenticated"


class NotAllowed(LedgerError):
    """Your role does not allow this."""

    code = "not_allowed"


class NotFound(LedgerError):
    """There is no such thing."""

    code = "not_found"


class UnknownPair(NotFound):
    """There is no such pair."""


class InvalidAmount(LedgerError):
    """The amount is not a valid amount of this asset."""

    code = "invalid_amount"


class UnknownAsset(LedgerError):
    """There is no such asset."""

    code = "unknown_asset"


class UnknownBook(LedgerError):
    """There is no such book."""

    code = "unknown_book"


class UnknownUser(LedgerError):
    """The user has no account here, and this book opens accounts only explicitly."""

    code = "unknown_user"


class InsufficientFunds(LedgerError):
    """The available funds do not cover this."""

    code = "insufficient_funds"


class IdempotencyKeyReused(LedgerError):
    """This idempotency key was used for another request."""

    code = "idempotency_key_reused"


class InvalidCursor(LedgerError):
    """The cursor or position is not valid here."""

    code = "invalid_cursor"


class AccountSuspended(LedgerError):
    """The account is suspended: it takes credits but no debits."""

    code = "account_suspended"


class AccountFrozen(LedgerError):
    """The account is frozen: it takes neither credits nor debits."""

    code = "account_frozen"


class AccountClosed(LedgerError):
    """The account is closed."""

    code = "account_closed"


class HoldExceeded(LedgerError):
    """The amount is more than what remains of the hold."""

    code = "hold_exceeded"


class LimitNotMet(LedgerError):
    """The price is worse than the limit of the order."""

    code = "limit_not_met"


class ExposureLimit(LedgerError):
    """The house takes no more options of this pair until others have ended."""

    code = "exposure_limit"


class StalePrice(LedgerError):
    """The pair has no price that is fresh enough to trade by."""

    code = "stale_price"


class DemoOnly(LedgerError):
    """How trades end can be decided in the demo book only."""

    code = "demo_only"


class HoldNotOpen(LedgerError):
    """The hold is not open any more."""

    code = "hold_not_open"


class AlreadyReversed(LedgerError):
    """The transaction was reversed before: that is done once."""

    code = "already_reversed"


class NotReversible(LedgerError):
    """A transaction of this type is not reversible."""

    code = "not_reversible"


class Conflict(LedgerError):
    """The state is not the one that the request expects."""

    code = "conflict"


class AccountInconsistent(LedgerError):
    """The cached account does not equal its last entry; verify and repair it first."""

    code = "account_inconsistent"


class AlongsideFailed(LedgerError):
    """A statement alongside the change failed, so the change was refused; see ``__cause__``."""

    code = "alongside_failed"


class MirrorBusy(LedgerError):
    """The row of a mirror is locked by another session; nothing was changed."""

    code = "mirror_busy"


class MirrorRefused(InvalidRequest):
    """The row of a mirror cannot be written, so the change was refused."""


class Overloaded(LedgerError):
    """Too much is waiting, or the database cannot be reached; nothing was changed."""

    code = "overloaded"


class OutcomeUnknown(LedgerError):
    """Whether this was committed could not be found out: repeat it with the same key."""

    code = "outcome_unknown"


class Paused(LedgerError):
    """Changes are paused by an operator; reads go on."""

    code = "paused"


class SchemaMismatch(LedgerError):
    """The database's schema does not fit this program."""

    code = "schema_mismatch"
