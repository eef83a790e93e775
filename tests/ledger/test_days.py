"""Calendar days as instants: an hour more or less, and midnights that come twice or not at all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallywire.ledger.catalog import Book
from tallywire.ledger.days import end_of, parse_day, start_of
from tallywire.ledger.errors import InvalidRequest

ZONES = (
    "UTC",
    "Asia/Ho_Chi_Minh",
    "America/New_York",
    "Pacific/Kiritimati",
    "Pacific/Apia",
    "America/Havana",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Africa/Cairo",
)


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.sampled_from(ZONES))
def test_a_day_starts_at_the_first_instant_that_the_calendar_shows_it_or_a_later_one(
    day: date, zone: str
) -> None:
    start, shown = start_of(day, zone), ZoneInfo(zone)
    assert start.astimezone(shown).date() >= day
    assert all(
        (start - back).astimezone(shown).date() < day
        for back in (timedelta(microseconds=1), timedelta(minutes=30), timedelta(hours=30))
    )
    assert end_of(day, zone) == start_of(day + timedelta(days=1), zone)


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("UTC", "2024-02-29", "2024-02-29T00:00", 24),
        ("Asia/Ho_Chi_Minh", "2024-11-01", "2024-10-31T17:00", 24),
        ("Pacific/Kiritimati", "2024-11-01", "2024-10-31T10:00", 24),
        ("America/New_York", "2024-03-10", "2024-03-10T05:00", 23),
        ("America/New_York", "2024-11-03", "2024-11-03T04:00", 25),
        # Midnight is skipped, or comes twice, or the whole day is left out.
        ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00", 23),
        ("America/Havana", "2024-11-03", "2024-11-03T04:00", 25),
        ("America/St_Johns", "2009-11-01", "2009-11-01T02:30", 25),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00", 0),
        # Clocks went from half past eleven to half past midnight.
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30", 23.5),
    ],
)
def test_days_that_are_known(zone: str, day: str, start: str, hours: float) -> None:
    first = start_of(date.fromisoformat(day), zone)
    assert first == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert end_of(date.fromisoformat(day), zone) - first == timedelta(hours=hours)


def test_the_calendar_has_a_first_and_a_last_day() -> None:
    for zone in ZONES:
        assert start_of(date.min, zone) < start_of(date(2, 1, 1), zone)
        assert end_of(date.max, zone) > start_of(date.max, zone)


@pytest.mark.parametrize("text", ["2024-1-1", "20240101", "2024-02-30", "2024-W01-1", "", None, 5])
def test_a_day_is_written_in_one_way(text: object) -> None:
    with pytest.raises(InvalidRequest, match="from is a date"):
        parse_day(text, "from")


def test_a_book_is_open_after_its_closed_days_and_from_its_first() -> None:
    book = Book(
        name="x",
        timezone="America/New_York",
        starts_on="2024-03-10",
        closed_through="2024-11-03",
    )
    for open_, at in (
        (False, "2024-03-10T04:59:59.999999Z"),
        (False, "2024-03-10T05:00:00Z"),
        (False, "2024-11-04T04:59:59.999999Z"),
        (True, "2024-11-04T05:00:00Z"),
    ):
        moment = datetime.fromisoformat(at)
        if open_:
            book.check_effective(moment)
        else:
            with pytest.raises(InvalidRequest, match=r"starts on|closed through"):
                book.check_effective(moment)
