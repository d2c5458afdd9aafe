"""Change jobs that are stored: retry, cancel, delete. Every change of a state by hand goes through here.

>>> operations.retry(Job.objects.in_state(State.DISCARDED).of_kind("shop.send_receipt"))   # doctest: +SKIP
Result(changed=[12, 15], skipped={17: 'running'})

Each function takes one id, one job, an iterable of either, or a queryset of jobs. A queryset is read by id and changed
in batches, each a transaction of its own unless the caller holds one; what was changed before an error stays changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from django_river import storage
from django_river.conf import config
from django_river.hints import hints
from django_river.storage.base import ChangedJob, Storage

if TYPE_CHECKING:
    from django_river.models import Job

    Jobs = int | Job | Iterable[int] | Iterable[Job] | QuerySet[Job]

#: Jobs changed in one transaction.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Result:
    """What an operation did."""

    #: Ids of the jobs that were changed.
    changed: list[int] = field(default_factory=list)
    #: Ids of the jobs that were left as they are, with the state that forbade it; ``"missing"`` without a row.
    skipped: dict[int, str] = field(default_factory=dict)


def cancel(jobs: Jobs, *, using: str | None = None) -> Result:
    """Cancel jobs that are not over.

    A running job is asked to stop: it ends as cancelled when its attempt ends with an error, and as completed if it
    succeeds all the same. Completed, cancelled and discarded jobs are skipped.
    """
    return _apply(jobs, using, lambda store, ids: store.job_cancel(ids))


def delete(jobs: Jobs, *, using: str | None = None) -> Result:
    """Delete jobs. Running ones are skipped."""
    return _apply(jobs, using, lambda store, ids: store.job_delete(ids))


def retry(jobs: Jobs, *, using: str | None = None) -> Result:
    """Make jobs available now, whatever became of them, with one attempt more if they have none left.

    Running jobs are skipped, and those whose unique key another job has taken.
    """
    result = _apply(jobs, using, lambda store, ids: store.job_retry(ids))
    if result.changed:
        hints.wake(using or config().database, ())
    return result


def _apply(
    jobs: Jobs, using: str | None, operation: Callable[[Storage, Sequence[int]], list[ChangedJob]]
) -> Result:
    result = Result()
    for ids in _batches(jobs):
        found = operation(storage.for_caller(using or config().database), ids)
        result.changed.extend(job.id for job in found if job.changed)
        result.skipped.update({job.id: job.state for job in found if not job.changed})
        result.skipped.update(dict.fromkeys(set(ids) - {job.id for job in found}, "missing"))
    return result


def _batches(jobs: Jobs) -> Iterator[list[int]]:
    if isinstance(jobs, QuerySet):
        yield from _pages(jobs)
        return
    items: Iterable[Any] = jobs if isinstance(jobs, Iterable) else [jobs]
    ids = sorted({_id(item) for item in items})
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _id(item: Any) -> int:
    id = item if isinstance(item, int) else getattr(item, "pk", None)
    if not isinstance(id, int) or isinstance(id, bool):
        raise TypeError(f"jobs must be ids or jobs, got {item!r}")
    return id


def _pages(jobs: QuerySet[Job]) -> Iterator[list[int]]:
    """Ids in pages, each after the last: rows that leave the queryset on the way shift nothing."""
    if jobs.query.is_sliced:
        yield from _batches(list(jobs.values_list("pk", flat=True)))
        return
    last = 0
    while ids := list(jobs.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield ids
        last = ids[-1]
