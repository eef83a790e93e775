"""How many changes a principal may ask for: token buckets on injected time."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..auth import Principal
from .problems import TooManyRequests

_MOST_BUCKETS = 10_000


class RateLimits:
    """
    A bucket per user that holds one second's changes and fills at `per_second` (0: no limit).

    Other roles are not limited. now: seconds of a clock that never goes back.
    """

    def __init__(self, per_second: int, now: Callable[[], float]) -> None:
        self._rate = per_second
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, principal: Principal) -> dict[str, str]:
        """
        Take one change from the principal's bucket.

        The result is the headers that tell of the limit (draft-ietf-httpapi-ratelimit-headers),
        none where there is no limit. Raises TooManyRequests where the bucket is empty; its extra
        `headers` are the same ones.
        """
        if principal.role != "user" or self._rate == 0:
            return {}
        now = self._now()
        level, at = self._buckets.get(principal.user_id, (float(self._rate), now))
        level = min(float(self._rate), level + (now - at) * self._rate)
        allowed = level >= 1
        if allowed:
            level -= 1
        self._buckets[principal.user_id] = (level, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._forget_full(now)
        full_in = math.ceil((self._rate - level) / self._rate)
        headers = {
            "RateLimit-Policy": f'"user";q={self._rate};w=1',
            "RateLimit": f'"user";r={math.floor(level)};t={full_in}',
        }
        if not allowed:
            raise Limited(headers)
        return headers

    def _forget_full(self, now: float) -> None:
        self._buckets = {
            user: bucket for user, bucket in self._buckets.items() if now - bucket[1] < 1
        }


class Limited(TooManyRequests):
    """You ask for more changes than your rate allows."""

    def __init__(self, headers: dict[str, str]) -> None:
        """headers: those that tell of the limit."""
        super().__init__()
        self.headers = headers
