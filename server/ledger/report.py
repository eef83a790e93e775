"""What a verification found: gathered as it goes on, and its report. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from .invariants import Discrepancy

MOST_DETAILS = 1000

Progress = Callable[[int, int], None]


class Report(Struct, frozen=True):
    """
    What a verification found.

    checked: transactions and accounts looked at; synced, fixed: rows of mirrors, and accounts,
    put right; errors: discrepancies that remain; details: the first MOST_DETAILS found, those put
    right too. Read by attribute or by name, as a mapping.
    """

    checked: int
    synced: int
    fixed: int
    errors: int
    details: list[Discrepancy]

    def keys(self) -> tuple[str, ...]:
        """The names of its values."""
        return self.__struct_fields__

    def __getitem__(self, name: str) -> Any:
        """The value called `name`; raises KeyError."""
        if name not in self.__struct_fields__:
            raise KeyError(name)
        return getattr(self, name)


class Findings:
    """What was found so far, and how much was looked at."""

    def __init__(self, progress: Progress | None) -> None:
        """progress: called with what is checked so far and in all, after each page."""
        self._progress = progress
        self.total = 0
        self.checked = 0
        self.fixed = 0
        self.synced = 0
        self.errors = 0
        self._details: list[Discrepancy] = []

    def report(self, found: Iterable[Discrepancy], *, fixed: bool = False) -> bool:
        """Count what was found, and keep the first; whether there was anything."""
        count = 0
        for discrepancy in found:
            count += 1
            if len(self._details) < MOST_DETAILS:
                self._details.append(replace(discrepancy, fixed=fixed))
        self.errors += 0 if fixed else count
        return count > 0

    def advance(self, checked: int) -> None:
        """So many more transactions or accounts are checked."""
        self.checked += checked
        if self._progress is not None:
            self._progress(self.checked, self.total)

    def summary(self) -> Report:
        """The report."""
        return Report(
            checked=self.checked,
            synced=self.synced,
            fixed=self.fixed,
            errors=self.errors,
            details=self._details,
        )
