"""When to try again, and when to give up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tallywire.webhooks.backoff import is_exhausted, next_attempt, retry_after

NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)


def seconds(attempts: int, draw: float, not_before: datetime | None = None) -> float:
    return (next_attempt(attempts, draw, NOW, not_before) - NOW).total_seconds()


def test_the_limit_doubles_up_to_a_quarter_of_an_hour() -> None:
    limits = [seconds(attempts, 1.0) for attempts in range(1, 13)]
    assert limits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert seconds(5_000, 1.0) == 900


def test_the_whole_of_it_is_drawn_from() -> None:
    assert [seconds(4, draw) for draw in (0.0, 0.25, 1.0)] == [0, 2, 8]


def test_what_the_receiver_asks_for_is_the_least_within_bounds() -> None:
    assert seconds(1, 1.0, NOW + timedelta(seconds=20)) == 20
    assert seconds(6, 1.0, NOW + timedelta(seconds=20)) == 32
    assert seconds(1, 1.0, NOW - timedelta(days=1)) == 1
    assert seconds(1, 1.0, NOW + timedelta(days=300)) == 900


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 400, 86_400),
        ("Thu, 01 May 2031 12:01:00 GMT", 60),
        ("Thu, 01 May 2031 13:01:00 +0100", 60),
        ("Thu, 99 May 2031 12:01:00 GMT", None),
        ("Thu, 01 May 2031 12:01:00 +" + "9" * 20, None),
        ("Thu, 01 May " + "9" * 20 + " 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, asked: float | None) -> None:
    moment = retry_after(value, NOW)
    assert (None if moment is None else (moment - NOW).total_seconds()) == asked


def test_patience_lasts_a_day() -> None:
    assert not is_exhausted(NOW, NOW + timedelta(hours=23, minutes=59))
    assert is_exhausted(NOW, NOW + timedelta(hours=24))
