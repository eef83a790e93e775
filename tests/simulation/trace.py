"""What happened in a simulation, line by line, and one digest of it all."""

from __future__ import annotations

import asyncio
import hashlib


class Trace:
    """The event log: with the same seed, the same lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._hash = hashlib.sha256()

    def note(self, who: str, what: str) -> None:
        """Add what `who` did now."""
        line = f"{asyncio.get_running_loop().time():10.6f} {who}: {what}"
        self.lines.append(line)
        self._hash.update(line.encode() + b"\n")

    @property
    def digest(self) -> str:
        """SHA-256 of the log so far."""
        return self._hash.hexdigest()


class Violation(AssertionError):
    """Something promised did not hold."""
