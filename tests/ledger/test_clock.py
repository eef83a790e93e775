"""Times and ids."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallywire.ledger.clock import SystemClock, parse_rfc3339, rfc3339, uuid7_source

from .conftest import ManualClock

moments = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=5))]),
)


@given(moments, moments)
def test_times_are_27_characters_and_sort(one: datetime, other: datetime) -> None:
    texts = [rfc3339(one), rfc3339(other)]
    assert [len(text) for text in texts] == [27, 27]
    assert (texts[0] < texts[1]) == (one < other)
    assert parse_rfc3339(texts[0]) == one


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-11-21T09:25:37.123456Z", "2026-11-21T09:25:37.123456Z"),
        ("2026-11-21T09:25:37Z", "2026-11-21T09:25:37.000000Z"),
        ("2026-11-21t09:25:37z", "2026-11-21T09:25:37.000000Z"),
        ("2026-11-21T09:25:37.5+05:30", "2026-11-21T03:55:37.500000Z"),
        ("2026-11-21T09:25:37.1234567Z", "2026-11-21T09:25:37.123456Z"),
        ("0001-06-01T00:00:00Z", "0001-06-01T00:00:00.000000Z"),
    ],
)
def test_reads_rfc_3339(text: str, means: str) -> None:
    assert rfc3339(parse_rfc3339(text)) == means


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-21",
        "2026-11-21T09:25:37",
        "2026-11-21 09:25:37",
        "20261121T092537Z",
        "2026-W47-6T09:25:37Z",
        "2026-11-21T09Z",
        "2026-11-21T09:25Z",
        "2026-11-21T09:25:37,5Z",
        "2026-11-21T09:25:37+0530",
        "2026-13-21T09:25:37Z",
        "2026-11-21T25:25:37Z",
        "2026-11-21T09:25:37Z\n",
        "0001-01-01T00:00:00+14:00",
        "٢٠٢٦-11-21T09:25:37Z",
    ],
)
def test_reads_nothing_else(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_the_systems_clock_is_aware() -> None:
    assert SystemClock().now().tzinfo is UTC


def test_ids_are_version_7_of_the_clocks_time() -> None:
    clock = ManualClock()
    new_id = uuid7_source(clock)
    first = new_id()
    clock.move(seconds=1)
    second = new_id()
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first
    )
    assert UUID(first).int >> 80 == int(clock.now().timestamp() * 1000) - 1000
    assert first < second
    assert len({new_id() for _ in range(1000)}) == 1000
