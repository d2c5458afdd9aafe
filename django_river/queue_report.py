"""How queues are doing, for people and programs: what waits and for how long, how fast it goes, and where.

What waits is counted by partial indexes, up to a limit; what went through is read from what clients write down each minute.
So it costs the same with a thousand jobs that are over and with ten million.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django_river import queues, storage
from django_river.histogram import percentile
from django_river.storage.overview import AVAILABLE_LIMIT, Overview, QueueDepth, QueueMinutes

#: What went through is told of the last so many minutes.
MINUTES = 5
#: Available jobs are counted up to this, over all queues that are asked for.
MOST_COUNTED = 500_000
LEAST_COUNTED = 100
#: No statement may take longer, in seconds.
READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """So long at most, for half of all, for 95 and for 99 of a hundred, in seconds."""

    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> Spans:
        """From a histogram."""
        return cls(p50=percentile(counts, 0.5), p95=percentile(counts, 0.95), p99=percentile(counts, 0.99))


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """One queue's figures."""

    name: str
    state: str
    available: int
    #: Whether there are no more than that.
    available_is_exact: bool
    running: int
    scheduled: int
    retryable: int
    later_is_exact: bool
    #: For how long the oldest available job has been due, in seconds.
    oldest_seconds: float | None
    #: Attempts that succeeded, a second, over the last minutes.
    per_second: float
    #: Which part of the attempts failed; ``None`` if there were none.
    failure_rate: float | None
    waits: Spans
    runs: Spans
    #: Slots that each client gives to it.
    slots: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def report(using: str, names: Iterable[str] | None = None) -> list[QueueReport]:
    """The figures of these queues, or of all, by name.

    Raises :class:`~django_river.storage.overview.TooSlow` if the database takes too long to say.
    """
    wanted = None if names is None else sorted(set(names))
    infos = [info for info in queues.list(using=using) if wanted is None or info.name in wanted]
    people: Overview = storage.for_people(using)
    limit = max(LEAST_COUNTED, min(AVAILABLE_LIMIT, MOST_COUNTED // max(1, len(infos))))
    with people.time_limit(READ_SECONDS):
        depths = people.queue_depths([info.name for info in infos], available_limit=limit)
        minutes = people.queue_minutes(timedelta(minutes=MINUTES), wanted)
    return [_report(info, depths[info.name], minutes.get(info.name), limit) for info in infos]


def _report(info: queues.QueueInfo, depth: QueueDepth, seen: QueueMinutes | None, limit: int) -> QueueReport:
    ended = 0 if seen is None else seen.completed + seen.failed
    return QueueReport(
        name=info.name,
        state=info.removal or ("paused" if info.is_paused else "active"),
        available=depth.available,
        available_is_exact=depth.available < limit,
        running=depth.running,
        scheduled=depth.scheduled,
        retryable=depth.retryable,
        later_is_exact=depth.later_is_exact,
        oldest_seconds=depth.waiting_seconds,
        per_second=0.0 if seen is None else seen.completed / (60.0 * MINUTES),
        failure_rate=None if seen is None or not ended else seen.failed / ended,
        waits=Spans.of({} if seen is None else seen.waits),
        runs=Spans.of({} if seen is None else seen.runs),
        slots=info.applied_by,
    )
