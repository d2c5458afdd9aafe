"""Pause, resume and run periodic jobs by hand; on every client at once, and kept across restarts.

>>> periodic_jobs.pause("shop.nightly_report")                             # doctest: +SKIP
True
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import msgspec
from django.db import transaction
from django.utils import timezone

from django_river import storage
from django_river.chance import chance
from django_river.conf import config
from django_river.enqueue import JobFunction
from django_river.exceptions import UnknownPeriodicJob
from django_river.insert import BuiltJob, insert_many
from django_river.jobs.context import PLANNED_AT
from django_river.jobs.cron import Cron
from django_river.jobs.periodic_registry import PeriodicEntry, schedule_of
from django_river.registration import declared_registry

if TYPE_CHECKING:
    from django_river.models import Job, PeriodicJob


def pause(name: str, *, using: str | None = None) -> bool:
    """Enqueue no more runs of a periodic job; jobs that are enqueued already run.

    Returns whether it was not paused before. Raises :class:`UnknownPeriodicJob`.
    """
    periodic = storage.for_periodic(using or config().database)
    if periodic.periodic_pause(name):
        return True
    if periodic.periodic_get(name) is None:
        raise UnknownPeriodicJob(f"no periodic job is named {name!r}")
    return False


def resume(name: str, *, using: str | None = None) -> bool:
    """Enqueue runs again. Those of the meantime are not caught up with.

    Returns whether it was paused. Raises :class:`UnknownPeriodicJob`.
    """
    using = using or config().database
    periodic = storage.for_periodic(using)
    with transaction.atomic(using=using):
        found = periodic.periodic_get(name)
        if found is None:
            raise UnknownPeriodicJob(f"no periodic job is named {name!r}")
        if not found.is_paused:
            return False
        next_run_at, now = found.next_run_at, periodic.now()
        if next_run_at is not None and next_run_at < now:
            next_run_at = schedule_of(json.loads(found.entry)).after(now, anchor=next_run_at)
        periodic.periodic_resume(name, next_run_at)
    return True


def run(name: str, *, using: str | None = None) -> Job:
    """Enqueue a run now, besides those of the schedule, whether it is paused or not; in the caller's transaction.

    Returns the job. Raises :class:`UnknownPeriodicJob` for a name that this process does not declare.
    """
    entry = declared_registry(config()).entries.get(name)
    if entry is None:
        raise UnknownPeriodicJob(f"this process declares no periodic job {name!r}")
    using = using or config().database
    periodic = storage.for_periodic(using)
    with transaction.atomic(using=using):
        # In the order in which the leader does it: in the other one we could wait for each other.
        job = insert_many([built_run(entry, periodic.now(), using=using, at_once=True)])[0]
        periodic.periodic_note_run(name, job.pk)
    return job


def upcoming(row: PeriodicJob, *, count: int = 5) -> list[datetime]:
    """The next runs of a periodic job, in its schedule's zone, as if it were neither paused nor changed meanwhile.

    Empty if it never runs. What is due already is the first.

    >>> upcoming(PeriodicJob.objects.get(name="shop.nightly_report"))[0]       # doctest: +SKIP
    datetime.datetime(2026, 3, 2, 3, 0, tzinfo=zoneinfo.ZoneInfo(key='Europe/Paris'))
    """
    if row.next_run_at is None:
        return []
    schedule = schedule_of(json.loads(row.entry))
    zone = ZoneInfo(schedule.timezone) if isinstance(schedule, Cron) else timezone.get_default_timezone()
    runs = [_aware(row.next_run_at)]
    while len(runs) < count:
        runs.append(schedule.after(runs[-1], anchor=runs[0]))
    return [run.astimezone(zone) for run in runs[:count]]


def _aware(moment: datetime) -> datetime:
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def built_run(entry: PeriodicEntry, planned_at: datetime, *, using: str, at_once: bool = False) -> BuiltJob:
    """The job of one run: as River marks those of periodic jobs, and with the moment it was planned for.

    Raises what :meth:`JobFunction.enqueue` raises.
    """
    planned_at = planned_at.astimezone(UTC)
    # What @periodic stands at has been made a job by @job.
    function = cast("JobFunction[..., Any]", entry.definition)
    built = function.using(
        queue=entry.queue, priority=entry.priority, run_after=planned_at, database=using
    ).build(**entry.declaration.args)
    built.row.metadata = msgspec.json.encode(
        {
            "periodic": True,
            "river:periodic_job_id": entry.name,
            PLANNED_AT: planned_at.isoformat(),
        }
    )
    if entry.jitter and not at_once:
        built.row.scheduled_at = planned_at + timedelta(
            seconds=chance.uniform(0, entry.jitter.total_seconds())
        )
    return built
