"""Moments by cron expressions, on the days on which clocks change too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tallywire.schedules import Schedule, ScheduleError


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def moments(schedule: Schedule, start: str, end: str) -> list[str]:
    """What becomes the newest moment from `start` to `end`, looked at every five minutes."""
    now, found = at(start), []
    newest = schedule.newest(now)
    while (now := now + timedelta(minutes=5)) <= at(end):
        assert newest is not None
        due = schedule.newest(now)
        assert due is not None and newest <= due <= now
        if due != newest:
            found.append(due.strftime("%m-%d %H:%M"))
        newest = due
    return found


@pytest.mark.parametrize(
    ("now", "nightly", "monthly"),
    [
        ("2026-11-21T01:59:59.999999", "2026-11-20T02:00", "2026-11-01T03:00"),
        ("2026-11-21T02:00:00", "2026-11-21T02:00", "2026-11-01T03:00"),
        ("2026-12-01T02:59:59", "2026-12-01T02:00", "2026-11-01T03:00"),
        ("2026-12-01T03:00:00.000001", "2026-12-01T02:00", "2026-12-01T03:00"),
    ],
)
def test_the_newest_moment_is_at_or_before_now(now: str, nightly: str, monthly: str) -> None:
    assert Schedule("0 2 * * *").newest(at(now)) == at(nightly)
    assert Schedule("0 3 1 * *").newest(at(now)) == at(monthly)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        # In Berlin 02:00 to 03:00 is skipped: it is made up for at 03:00, which is 01:00 UTC.
        ("0 2 * * *", ["03-28 01:00", "03-29 01:00", "03-30 00:00"]),
        ("30 2 * * *", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        ("0 3 29 * *", ["03-29 01:00"]),
    ],
)
def test_an_hour_that_is_skipped_is_made_up_for(expression: str, found: list[str]) -> None:
    schedule = Schedule(expression, "Europe/Berlin")
    assert moments(schedule, "2026-03-27T12:00", "2026-03-30T12:00") == found


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        # In Berlin 02:00 to 03:00 comes twice, from 00:00 and from 01:00 UTC: the first counts.
        ("0 2 * * *", ["10-24 00:00", "10-25 00:00", "10-26 01:00"]),
        ("30 2 * * *", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
        ("0 3 25 * *", ["10-25 02:00"]),
    ],
)
def test_an_hour_that_comes_twice_counts_once(expression: str, found: list[str]) -> None:
    schedule = Schedule(expression, "Europe/Berlin")
    assert moments(schedule, "2026-10-23T12:00", "2026-10-26T12:00") == found


def test_what_comes_every_hour_goes_on_while_clocks_change() -> None:
    hourly = Schedule("0 * * * *", "Europe/Berlin")
    for start, end in (
        ("2026-03-28T23:00", "2026-03-29T03:00"),
        ("2026-10-24T23:00", "2026-10-25T03:00"),
    ):
        assert [found[-5:] for found in moments(hourly, start, end)] == [
            "00:00",
            "01:00",
            "02:00",
            "03:00",
        ]


@pytest.mark.parametrize(
    "expression",
    ["", "2", "0 2 * *", "0 0 2 * * *", "60 2 * * *", "0 24 * * *", "0 2 30 2 *", "a b c d e"],
)
def test_what_is_no_schedule_is_refused(expression: str) -> None:
    with pytest.raises(ScheduleError, match=r"cron|never"):
        Schedule.parse(expression, "UTC")
