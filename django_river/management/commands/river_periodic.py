"""``manage.py river_periodic``: which periodic jobs are in force and how they fare; pause, resume and run them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseProblem
from django.db import connections
from django.utils import timezone

from django_river import periodic_jobs
from django_river.conf import config
from django_river.exceptions import RiverError
from django_river.management.tables import section
from django_river.models import PeriodicJob
from django_river.periodic_jobs import upcoming

#: What ``--json`` says of each.
SHOWN = (
    "name", "kind", "schedule", "next_run_at", "last_run_at", "last_job_id", "last_outcome", "last_finished_at",
    "last_success_at", "error", "paused_at", "expect_success_within", "overdue_since",
)  # fmt: skip


class Command(BaseCommand):
    """Parses, asks :mod:`django_river.periodic_jobs`, prints."""

    help = "List periodic jobs and their next runs; pause, resume and run them."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="All that are in force, and how they fare.")
        planned = verbs.add_parser("next", help="When they run next, in the zone of their schedules.")
        planned.add_argument("names", nargs="*", metavar="NAME", help="By default all.")
        planned.add_argument(
            "-n", type=int, default=5, dest="count", help="So many runs of each (default 5)."
        )
        for shown in (listing, planned):
            shown.add_argument("--json", action="store_true", help="For programs.")
        for verb, told in (
            ("pause", "Enqueue no more runs."),
            ("resume", "Enqueue runs again; those of the meantime are not caught up with."),
            ("run", "Enqueue a run now, besides the schedule."),
        ):
            verbs.add_parser(verb, help=told).add_argument("names", nargs="+", metavar="NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._do(options)
        except RiverError as error:
            raise CommandError(str(error)) from error
        except DatabaseProblem as error:
            using = config().database
            connections[using].close()
            raise CommandError(f"Database {using!r} cannot be read: {error}") from error

    def _do(self, options: dict[str, Any]) -> None:
        verb = options["verb"]
        if verb == "list":
            self._list(is_json=options["json"])
        elif verb == "next":
            self._next(options["names"], options["count"], is_json=options["json"])
        else:
            for name in options["names"]:
                self.stdout.write(_STEER[verb](name))

    def _list(self, *, is_json: bool) -> None:
        rows = _rows()
        if is_json:
            self._print_json([{field: getattr(row, field) for field in SHOWN} for row in rows])
        else:
            self.stdout.write("\n".join(section("Periodic jobs", map(_line, rows))))

    def _next(self, names: Sequence[str], count: int, *, is_json: bool) -> None:
        if count < 1:
            raise CommandError(f"-n must be a number from 1, not {count}.")
        rows = _rows(names)
        if is_json:
            self._print_json({row.name: upcoming(row, count=count) for row in rows})
        else:
            self.stdout.write("\n".join(line for row in rows for line in _runs(row, count)))

    def _print_json(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2, cls=DjangoJSONEncoder))


def _rows(names: Sequence[str] = ()) -> list[PeriodicJob]:
    found = {row.name: row for row in PeriodicJob.objects.using(config().database).order_by("name")}
    unknown = [name for name in names if name not in found]
    if unknown:
        known = ", ".join(found) or "none"
        raise CommandError(f"No periodic job is named {' or '.join(map(repr, unknown))}. In force: {known}.")
    return [found[name] for name in dict.fromkeys(names)] if names else list(found.values())


def _line(row: PeriodicJob) -> tuple[str, ...]:
    runs = upcoming(row, count=1)
    ended = (
        f"{row.last_outcome} {_moment(row.last_finished_at)}" if row.last_finished_at else "no run is over"
    )
    return row.name, row.schedule, f"next {_planned(runs[0])}" if runs else "never", ended, _status(row)


def _status(row: PeriodicJob) -> str:
    parts = []
    if row.paused_at:
        parts.append(f"paused since {_moment(row.paused_at)}")
    if row.overdue_since:
        parts.append(f"OVERDUE since {_moment(row.overdue_since)}")
    if row.error:
        parts.append(f"CANNOT BE ENQUEUED: {row.error}")
    return "; ".join(parts)


def _runs(row: PeriodicJob, count: int) -> Iterator[str]:
    paused = f", paused since {_moment(row.paused_at)}" if row.paused_at else ""
    runs = [(_planned(run),) for run in upcoming(row, count=count)]
    yield from section(f"{row.name}: {row.schedule}{paused}", runs or [("never",)])


def _planned(run: datetime) -> str:
    """In the zone of its schedule."""
    return run.isoformat(" ", "milliseconds" if run.microsecond else "seconds")


def _moment(at: datetime) -> str:
    """In the project's zone."""
    return (timezone.localtime(at) if timezone.is_aware(at) else at).isoformat(" ", "seconds")


def _pause(name: str) -> str:
    return f"Paused {name}." if periodic_jobs.pause(name) else f"{name} was paused already."


def _resume(name: str) -> str:
    return f"Resumed {name}." if periodic_jobs.resume(name) else f"{name} was not paused."


def _run(name: str) -> str:
    job = periodic_jobs.run(name)
    return f"Enqueued {name} as job {job.pk}."


_STEER = {"pause": _pause, "resume": _resume, "run": _run}
