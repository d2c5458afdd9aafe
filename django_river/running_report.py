"""What runs now, since when, how far it is and how long its kind takes; and what has gone wrong. Read for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import F, Sum
from django.db.models.functions import Now

from django_river.conf import Config
from django_river.faults import Fault
from django_river.jobs.run_times import percentile
from django_river.jobs.states import State
from django_river.models import FaultCount, Job, RunTime

#: Samples of a kind that are read for what is usual: the newest.
READ = 500
SUSPICIOUS_KEY = "django_river:suspicious"


@dataclass(frozen=True, slots=True)
class Running:
    """A running job. Spans are in seconds."""

    id: int
    kind: str
    queue: str
    attempt: int
    #: The client that runs it; empty for a row that names none.
    owner: str
    age: float | None
    #: Since it last gave a sign of life; ``None`` if it never has.
    last_beat: float | None
    progress: float | None
    note: str | None
    #: What half of its kind take, and 99 of 100; ``None`` if nothing is known.
    usual: float | None
    at_most: float | None
    #: Why it should be looked at, if at all: :attr:`Fault.STUCK` or :attr:`Fault.SUSPICIOUS`.
    trouble: Fault | None

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Faults:
    """How often something went wrong with a kind."""

    kind: str
    what: str
    #: Whether the machinery is to blame, and not the job.
    is_ours: bool
    count: int

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def running(config: Config, *, stuck: bool = False) -> Iterator[Running]:
    """All running jobs, or those in trouble; the oldest ids first."""
    jobs: Any = Job.objects.using(config.database).in_state(State.RUNNING).annotate(now=Now()).order_by("id")
    known: dict[str, list[float]] = {}
    for job in jobs.defer("args", "errors").iterator(chunk_size=1000):
        trouble = _trouble(job)
        if stuck and trouble is None:
            continue
        if job.kind not in known:
            known[job.kind] = _run_times(config, job.kind)
        yield _described(job, job.now, known[job.kind], trouble)


def faults(config: Config, *, days: int) -> list[Faults]:
    """Counts of the last so many days (UTC), the most frequent first."""
    today = FaultCount.objects.using(config.database).order_by("-day").values_list("day", flat=True).first()
    since = date.min if today is None else today - timedelta(days=days - 1)
    counts = (
        FaultCount.objects.using(config.database)
        .filter(day__gte=since)
        .values("kind", "what")
        .annotate(total=Sum(F("count")))
        .order_by("-total", "kind", "what")
    )
    return [Faults(row["kind"], row["what"], _is_ours(row["what"]), row["total"]) for row in counts]


def _described(job: Job, now: datetime, known: list[float], trouble: Fault | None) -> Running:
    said = job.heartbeat
    return Running(
        id=job.pk,
        kind=job.kind,
        queue=job.queue,
        attempt=job.attempt,
        owner=job.attempted_by[-1] if job.attempted_by else "",
        age=_since(job.attempted_at, now),
        last_beat=_since(said.at, now) if said is not None else None,
        progress=None if said is None else said.progress,
        note=None if said is None else said.note,
        usual=percentile(known, 0.5) if known else None,
        at_most=percentile(known, 0.99) if known else None,
        trouble=trouble,
    )


def _trouble(job: Job) -> Fault | None:
    said = job.heartbeat
    if said is not None and said.is_stuck:
        return Fault.STUCK
    suspicious = job.metadata.get(SUSPICIOUS_KEY) if isinstance(job.metadata, dict) else None
    is_flagged = isinstance(suspicious, dict) and suspicious.get("attempt") == job.attempt
    return Fault.SUSPICIOUS if is_flagged else None


def _run_times(config: Config, kind: str) -> list[float]:
    samples = RunTime.objects.using(config.database).filter(kind=kind, was_cut_off=False).order_by("-at")
    return list(samples.values_list("seconds", flat=True)[:READ])


def _since(moment: datetime | None, now: datetime) -> float | None:
    if moment is None:
        return None
    if (moment.tzinfo is None) != (now.tzinfo is None):
        # A project without time zones: what stands in metadata is in UTC all the same.
        now, moment = now.astimezone(), moment.astimezone()
    return max(0.0, (now - moment).total_seconds())


def _is_ours(what: str) -> bool:
    return what in set(Fault) and Fault(what).is_ours


def lines(found: Iterable[Running]) -> Iterator[str]:
    """A table for people."""
    rows = [("id", "kind", "attempt", "age", "last beat", "progress", "expected", "owner", "")]
    rows += [
        (
            str(job.id),
            job.kind,
            str(job.attempt),
            _span(job.age),
            _span(job.last_beat),
            "-" if job.progress is None else f"{job.progress:.0%}",
            "-" if job.usual is None else f"{_span(job.usual)}, at most {_span(job.at_most)}",
            job.owner or "-",
            f"{job.trouble or ''} {job.note or ''}".strip(),
        )
        for job in found
    ]
    if len(rows) == 1:
        yield "Nothing runs."
        return
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
