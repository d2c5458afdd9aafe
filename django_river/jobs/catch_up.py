"""Which runs of a periodic job are to be enqueued now, when some may have been missed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django_river.jobs.cron import Cron
from django_river.jobs.periodic import OnMissed
from django_river.jobs.schedules import Interval

#: A run is missed when it is later than this, or later than the next run was due, but never before a second is over:
#: a leader that is replaced, or a disk that stalls, must not cost the nightly report.
LONGEST_GRACE = timedelta(minutes=1)
SHORTEST_GRACE = timedelta(seconds=1)
#: So many runs of the shortest interval fall into the shortest grace.
MOST_ON_TIME = 11


@dataclass(frozen=True, slots=True)
class Plan:
    """The runs to enqueue, the oldest first, and when there will be more."""

    runs: Sequence[datetime]
    next_run_at: datetime
    #: Whether any run has been left out.
    has_skipped: bool = False


def plan(
    schedule: Cron | Interval,
    planned: datetime,
    now: datetime,
    *,
    on_missed: OnMissed = "skip",
    max_catch_up: int = 100,
) -> Plan:
    """What to do about a run that was planned for a moment which has come.

    >>> hourly, noon = Interval(timedelta(hours=1)), datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> plan(hourly, noon, noon + timedelta(seconds=2)).runs == [noon]
    True
    >>> plan(hourly, noon, noon + timedelta(hours=5, minutes=30)).runs
    []
    """
    planned, now = planned.astimezone(UTC), now.astimezone(UTC)
    following = schedule.after(planned, anchor=planned)
    grace = min(LONGEST_GRACE, max(SHORTEST_GRACE, following - planned))
    if following > now:
        due, next_run_at = [planned], following
    else:
        most = MOST_ON_TIME + (max_catch_up if on_missed == "all" else 0)
        due, next_run_at = schedule.due(planned, now, most), schedule.after(now, anchor=planned)
    missed = [run for run in due if now - run > grace]
    on_time = due[len(missed) :]
    if on_missed == "all":
        missed_to_run = missed[-max_catch_up:]
    elif on_missed == "once" and not on_time:
        missed_to_run = missed[-1:]
    else:
        missed_to_run = []
    runs = [*missed_to_run, *on_time]
    return Plan(runs, next_run_at, has_skipped=runs[:1] != [planned])


def put_back(schedule: Cron | Interval, planned: datetime, now: datetime) -> datetime | None:
    """A new time for a run that was planned by a clock which has been put back since.

    An interval begins anew, in step with what it was; a time of day comes again, and has had its run: ``None``.
    """
    if isinstance(schedule, Interval) and planned > now + schedule.every:
        return schedule.after(now, anchor=planned)
    return None
