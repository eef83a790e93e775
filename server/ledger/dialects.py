"""
What the two databases do differently, in one form. Pure.

A set of values is one parameter: an array on PostgreSQL, JSON on SQLite, which has no arrays. A
sum that could pass 64 bits, where SQLite's fails, is taken in two halves and joined as a Python
integer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

HALF = 1_000_000_000


class Sets:
    """How one dialect, ``sqlite`` or ``postgresql``, takes sets."""

    def __init__(self, dialect: str) -> None:
        self._sqlite = dialect == "sqlite"

    def among(self, name: str, kind: str) -> str:
        """The condition that a value is in the set `name`, of the SQL type `kind`."""
        if self._sqlite:
            return f"IN (SELECT value FROM json_each(:{name}))"
        return f"= ANY(CAST(:{name} AS {kind}[]))"

    def rows(self, name: str, kind: str) -> str:
        """The set `name`, of the SQL type `kind`, as a table with the column ``value``."""
        if self._sqlite:
            return f"json_each(:{name}) AS {name}"
        return f"unnest(CAST(:{name} AS {kind}[])) AS {name}(value)"

    def pairs(self, pairs: Collection[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
        """A query of these `pairs` of texts, in their order, and its parameters."""
        if self._sqlite:
            query = (
                "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')"
                " FROM json_each(:pairs)"
            )
            return query, {"pairs": self.parameter(list(pairs))}
        query = "SELECT * FROM unnest(CAST(:firsts AS text[]), CAST(:seconds AS text[]))"
        return query, {"firsts": [a for a, _ in pairs], "seconds": [b for _, b in pairs]}

    def parameter(self, values: Collection[Any]) -> Any:
        """`values` as the parameter."""
        return msgspec.json.encode(values).decode() if self._sqlite else list(values)


def halves(column: str) -> str:
    """SQL for the exact sum of an integer `column`, as two columns that `joined` takes."""
    return f"SUM({column} / {HALF}) AS high, SUM({column} % {HALF}) AS low"


def joined(high: Any, low: Any) -> int:
    """The sum behind the two columns of `halves`; 0 where there were no rows."""
    return int(high or 0) * HALF + int(low or 0)
