"""
When to try a delivery again, and when to give up. Pure.

Exponential backoff with full jitter: the wait is drawn evenly from nothing to a limit that doubles
with each failure, so that many webhooks whose receiver comes back do not come back together.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# The limit of the first wait, and of any, in seconds.
FIRST = 1.0
LONGEST = 900.0
# For how long every attempt may fail before the webhook is paused.
PATIENCE = timedelta(days=1)


def next_attempt(
    attempts: int, draw: float, now: datetime, not_before: datetime | None = None
) -> datetime:
    """
    When to try again after the failure of `attempts` attempts (1 or more) in a row.

    draw: random, 0 to below 1; not_before: what the receiver asked for, heeded up to `LONGEST`
    seconds from `now`.
    """
    limit = min(FIRST * 2.0 ** min(attempts - 1, 30), LONGEST)
    moment = now + timedelta(seconds=draw * limit)
    if not_before is None:
        return moment
    return max(moment, min(not_before, now + timedelta(seconds=LONGEST)))


def is_exhausted(failing_since: datetime, now: datetime) -> bool:
    """Whether attempts that all failed since `failing_since` are enough to pause the webhook."""
    return now - failing_since >= PATIENCE


def retry_after(value: str | None, now: datetime) -> datetime | None:
    """What a ``Retry-After`` header asks for (RFC 9110, section 10.2.3); None where nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Beyond a day is beyond what is heeded, and a huge number is no time at all.
        return now + timedelta(seconds=int(text[:9])) if len(text) < 10 else now + PATIENCE
    try:
        moment = parsedate_to_datetime(text)
    # OverflowError: a number that no date has.
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
