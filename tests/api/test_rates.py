"""Rate limits on a clock of the test's own."""

from __future__ import annotations

import pytest
from tallywire.api.rates import Limited, RateLimits
from tallywire.auth import Principal

ALICE = Principal("alice", "user", 0, 0)


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_bucket_holds_one_second_and_fills_again() -> None:
    time = Time()
    limits = RateLimits(4, time)
    left = [limits.take(ALICE)["RateLimit"] for _ in range(4)]
    assert left == ['"user";r=3;t=1', '"user";r=2;t=1', '"user";r=1;t=1', '"user";r=0;t=1']
    with pytest.raises(Limited) as refused:
        limits.take(ALICE)
    assert refused.value.headers["RateLimit-Policy"] == '"user";q=4;w=1'
    time.seconds += 0.25
    limits.take(ALICE)
    with pytest.raises(Limited):
        limits.take(ALICE)


def test_waiting_longer_gives_no_more_than_a_second() -> None:
    time = Time()
    limits = RateLimits(2, time)
    limits.take(ALICE)
    time.seconds += 3600
    limits.take(ALICE)
    limits.take(ALICE)
    with pytest.raises(Limited):
        limits.take(ALICE)


def test_each_user_has_a_bucket() -> None:
    limits = RateLimits(1, Time())
    limits.take(ALICE)
    limits.take(Principal("bob", "user", 0, 0))
    with pytest.raises(Limited):
        limits.take(ALICE)


@pytest.mark.parametrize("role", ["admin", "superadmin", "auditor"])
def test_other_roles_are_not_limited(role: str) -> None:
    limits = RateLimits(1, Time())
    assert [limits.take(Principal("root", role, 0, 0)) for _ in range(3)] == [{}] * 3


def test_zero_is_no_limit() -> None:
    assert RateLimits(0, Time()).take(ALICE) == {}


def test_buckets_of_users_who_went_away_are_forgotten() -> None:
    time = Time()
    limits = RateLimits(1, time)
    for number in range(10_000):
        limits.take(Principal(f"user-{number}", "user", 0, 0))
    time.seconds += 5
    limits.take(ALICE)
    assert len(limits._buckets) == 1
