"""
A set of values as one parameter of a statement: an array on PostgreSQL, JSON on SQLite, which
has no arrays. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec


class Sets:
    """How one dialect, ``sqlite`` or ``postgresql``, takes sets."""

    def __init__(self, dialect: str) -> None:
        self._sqlite = dialect == "sqlite"

    def among(self, name: str, kind: str) -> str:
        """The condition that a value is in the set `name`, of the SQL type `kind`."""
        if self._sqlite:
            return f"IN (SELECT value FROM json_each(:{name}))"
        return f"= ANY(CAST(:{name} AS {kind}[]))"

    def parameter(self, values: Collection[Any]) -> Any:
        """`values` as the parameter."""
        return msgspec.json.encode(values).decode() if self._sqlite else list(values)
