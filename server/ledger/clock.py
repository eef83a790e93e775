"""Wall time and ids, injected everywhere so that a simulation can supply its own."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

IdSource = Callable[[], str]

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


class Clock(Protocol):
    """Where the time of day comes from."""

    def now(self) -> datetime:
        """The current time, aware, UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, aware, UTC."""
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`moment` (aware) as RFC 3339 in UTC with microseconds and ``Z``: 27 characters, sortable."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """The aware time that `text` (RFC 3339, any offset) names. Raises ValueError."""
    # fromisoformat() alone takes every form of ISO 8601.
    if _RFC3339.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time with an offset")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999") from error


def uuid7_source(clock: Clock, random_bits: Callable[[int], int] = secrets.randbits) -> IdSource:
    """A source of version 7 UUIDs (RFC 9562, section 5.7) on the given time and randomness."""

    def new_id() -> str:
        milliseconds = int(clock.now().timestamp() * 1000) & (2**48 - 1)
        value = (milliseconds << 80) | (0x7 << 76) | (random_bits(12) << 64)
        return str(UUID(int=value | (0b10 << 62) | random_bits(62)))

    return new_id
