"""Change jobs that are stored: retry, cancel, delete. Every change of a state by hand goes through here.

>>> operations.retry(Job.objects.in_state(State.DISCARDED).of_kind("shop.send_receipt"))   # doctest: +SKIP
Result(changed=[12, 15], skipped={17: 'running'})

Each function takes one id, one job, an iterable of either, or a queryset of jobs. A queryset is read by id and changed
in batches, each a transaction of its own unless the caller holds one; what was changed before an error stays changed.
All is read and changed in one database: ``using``, or the one the jobs come from, or ``DJANGO_RIVER["DATABASE"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import router
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
    return _selected(jobs, using).change(lambda store, ids: store.job_cancel(ids))


def delete(jobs: Jobs, *, using: str | None = None) -> Result:
    """Delete jobs. Running ones are skipped."""
    return _selected(jobs, using).change(lambda store, ids: store.job_delete(ids))


def retry(jobs: Jobs, *, using: str | None = None) -> Result:
    """Make jobs available now, whatever became of them, with one attempt more if they have none left.

    Running jobs are skipped, and those whose unique key another job has taken.
    """
    selected = _selected(jobs, using)
    result = selected.change(lambda store, ids: store.job_retry(ids))
    if result.changed:
        hints.wake_on_commit(selected.using, ())
    return result


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which jobs to change, and where."""

    using: str
    batches: Iterator[list[int]]

    def change(self, operation: Callable[[Storage, Sequence[int]], list[ChangedJob]]) -> Result:
        """Change batch by batch, and say what became of each job."""
        result = Result()
        for ids in self.batches:
            found = operation(storage.for_caller(self.using), ids)
            result.changed.extend(job.id for job in found if job.changed)
            result.skipped.update({job.id: job.state for job in found if not job.changed})
            result.skipped.update(dict.fromkeys(set(ids) - {job.id for job in found}, "missing"))
        return result


def _selected(jobs: Jobs, using: str | None) -> _Selection:
    model: type[Job] = apps.get_model("django_river", "Job")
    if isinstance(jobs, QuerySet):
        if not issubclass(jobs.model, model):
            raise TypeError(f"jobs must be a queryset of jobs, got one of {jobs.model.__name__}")
        # What using() said; ``db`` would ask the routers, which know nothing of our setting.
        using = using or getattr(jobs, "_db", None) or config().database
        # Ids of one database mean other jobs in the next.
        return _Selection(using, _pages(jobs.using(using)))
    items: Iterable[Any] = jobs if isinstance(jobs, Iterable) else [jobs]
    ids, databases = set(), set()
    for item in items:
        ids.add(_id(item, model))
        if isinstance(item, model) and item._state.db:
            databases.add(router.db_for_write(model, instance=item))
    if using is None and len(databases) > 1:
        raise ValueError(f"jobs must come from one database, got {' and '.join(sorted(databases))}")
    return _Selection(using or next(iter(databases), config().database), _batches(ids))


def _id(item: Any, model: type[Job]) -> int:
    id = item.pk if isinstance(item, model) else item
    if not isinstance(id, int) or isinstance(id, bool):
        raise TypeError(f"jobs must be ids or jobs, got {item!r}")
    return id


def _batches(ids: Iterable[int]) -> Iterator[list[int]]:
    ids = sorted(ids)
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _pages(jobs: QuerySet[Job]) -> Iterator[list[int]]:
    """Ids in pages, each after the last: rows that leave the queryset on the way shift nothing."""
    query = jobs.query
    if query.is_sliced or query.combinator or query.distinct_fields:
        # Such a queryset cannot be narrowed any more without becoming another one.
        yield from _batches(set(jobs.values_list("pk", flat=True)))
        return
    last = 0
    while ids := list(jobs.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield ids
        last = ids[-1]
