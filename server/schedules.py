"""When something is due: a cron expression in a time zone. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

_FIELDS = 5
# Longer than clocks are ever set back: moments within it may not come in the order of the calendar.
_AMBIGUOUS = timedelta(hours=2)


class ScheduleError(ValueError):
    """A schedule that cannot be followed; the message says why."""


class Schedule(Struct, frozen=True):
    """
    Moments by `expression`, the five fields of cron (minute, hour, day of the month, month, day of
    the week), on the clocks of `timezone`, an IANA name.

    Where clocks change it is as in Debian's cron: an hour that is skipped is made up for at its
    end, one that comes twice counts once; but what comes every hour or more often goes on.
    """

    expression: str
    timezone: str = "UTC"

    @classmethod
    def parse(cls, expression: str, timezone: str) -> Schedule:
        """The schedule; raises ScheduleError where it is none, or its moment never comes."""
        if len(expression.split()) != _FIELDS:
            raise ScheduleError(f"{expression!r} is not a cron expression of five fields")
        try:
            next(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise ScheduleError(f"{expression!r} is not a cron expression ({error})") from error
        except StopIteration:
            raise ScheduleError(f"{expression!r} never comes") from None
        return cls(expression, timezone)

    def newest(self, now: datetime) -> datetime | None:
        """The newest moment (UTC) at or before `now`; None where none was within 50 years."""
        start = (now + _AMBIGUOUS).astimezone(ZoneInfo(self.timezone))
        for moment in CronSim(self.expression, start, reverse=True):
            due = moment.astimezone(UTC)
            if due <= now:
                return due
        return None
