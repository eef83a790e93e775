"""How statements and parts are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from .management import Statement


def statement_lines(title: str, statement: Statement) -> Iterator[str]:
    """The statement as text: opening, a line for each type and category, closing."""
    yield title
    yield _row("opening", "", "", statement.opening)
    for line in statement.lines:
        yield _row(line.kind.replace("_", " "), line.category or "", f"{line.count} x", line.amount)
    yield _row("closing", "", "", statement.closing)


def parts_line(parts: Mapping[str, Decimal]) -> str:
    """What each apartment has, and all of them together."""
    each = "  ".join(f"{apartment} {amount:.2f}" for apartment, amount in parts.items())
    return f"{each}  = {sum(parts.values()):.2f}"


def _row(kind: str, category: str, count: str, amount: Decimal) -> str:
    return f"  {kind:<16}{category:<17}{count:>5}{amount:>12.2f}"
