"""A user's history as a table: a row for every account that an update changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

_OF_UPDATE = ("position", "transaction_id", "timestamp", "effective_at", "change_type")
_OF_CHANGE = ("account", "amount", "held_change", "balance_before", "balance", "held")
_TOLD = ("description", "reference")
HISTORY_COLUMNS = (*_OF_UPDATE, *_OF_CHANGE, *_TOLD, "metadata")


def history_rows(updates: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[object]]:
    """The rows, by HISTORY_COLUMNS, of decoded UPDATEs; one without changes has one row too."""
    for update in updates:
        metadata = msgspec.json.encode(update["metadata"]).decode()
        changes: Sequence[Mapping[str, Any]] = update["changes"] or ({},)
        for change in changes:
            yield (
                *(update[name] for name in _OF_UPDATE),
                *(change.get(name) for name in _OF_CHANGE),
                *(update[name] for name in _TOLD),
                metadata,
            )
