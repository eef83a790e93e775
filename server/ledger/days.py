"""Calendar days: how they are written, and the instants between which one lasts in a time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from .errors import InvalidRequest

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def parse_day(text: object, name: str, *, pointer: str | None = None) -> date:
    """The day that `text` (YYYY-MM-DD) names; raises InvalidRequest, which calls it `name`."""
    try:
        if isinstance(text, str):
            day = date.fromisoformat(text)
            # fromisoformat() alone takes every form of ISO 8601.
            if day.isoformat() == text:
                return day
    except ValueError:
        pass
    raise InvalidRequest(f"{name} is a date, YYYY-MM-DD", pointer=pointer)


@lru_cache(maxsize=1 << 10)
def start_of(day: date, timezone: str) -> datetime:
    """
    The first instant (UTC) at which the calendar in `timezone` (an IANA name) shows `day` or a
    later one. Midnight comes twice in some years, and in others not at all.
    """
    zone = ZoneInfo(timezone)
    midnight = datetime.combine(day, time(), zone)
    try:
        start = midnight.astimezone(UTC)
        if start.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
            return start
        # The clocks skip midnight (PEP 495), after `before` and by `start` at the latest.
        before = midnight.replace(fold=1).astimezone(UTC)
        while start - before > _SECOND:
            middle = before + (start - before) // _SECOND // 2 * _SECOND
            if middle.astimezone(zone).date() < day:
                before = middle
            else:
                start = middle
        return start
    except OverflowError:
        return _FIRST


def end_of(day: date, timezone: str) -> datetime:
    """The first instant (UTC) after `day` in `timezone`: where the next day starts."""
    return _LAST if day == date.max else start_of(day + timedelta(days=1), timezone)
