"""What callers may say with every change, and the details that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy.sql.base import Executable

from .changes import Details, IdempotencyKey


class RecordOptions(TypedDict, total=False):
    """
    What every change may carry.

    actor: who does it; idempotency_key: repeats with it answer the first result; reference,
    internal: kept with it; effective_at: RFC 3339 or an aware datetime; alongside: SQLAlchemy
    statements for the same SQL transaction, in which TRANSACTION_ID stands for its id.
    """

    actor: str
    idempotency_key: str | None
    reference: str | None
    internal: Any
    effective_at: str | datetime | None
    alongside: Sequence[Executable]


class PlainOptions(RecordOptions, total=False):
    """What a change of a balance may carry; the ledger's default asset and book where absent."""

    asset: str | None
    book: str | None


class Options(PlainOptions, total=False):
    """`PlainOptions` where the method has no parameter of its own for the metadata."""

    metadata: Mapping[str, Any] | None


def details_of(
    description: str, metadata: Mapping[str, Any] | None, options: RecordOptions
) -> Details:
    """The details of a change by its options; who does not say is `system`."""
    actor = options.get("actor", "system")
    key = options.get("idempotency_key")
    return Details(
        description=description,
        reference=options.get("reference"),
        metadata=metadata,
        internal=options.get("internal"),
        effective_at=options.get("effective_at"),
        actor=actor,
        key=None if key is None else IdempotencyKey("request", actor, key),
        alongside=tuple(options.get("alongside", ())),
    )
