"""From checked jobs to rows and hints: in the caller's transaction, and its workers woken when it commits."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, overload

import msgspec
from django.apps import apps
from django.db import Error as DatabaseProblem
from django.db import connections, transaction
from django.db.models.base import ModelState

from django_river import storage
from django_river.conf import config, of_django
from django_river.hints import hints
from django_river.known_queues import known_queues
from django_river.storage.base import TOPIC_INSERT, InsertedJob, JobInsert, Storage
from django_river.storage.payloads import insert_payload

if TYPE_CHECKING:
    from django_river.models import Job

logger = logging.getLogger(__name__)

_decode = msgspec.json.Decoder().decode


class BuiltJob(msgspec.Struct, frozen=True, gc=False):
    """A job whose arguments are checked, not stored yet."""

    row: JobInsert
    database: str = "default"


class StoredJobs(Sequence["Job"]):
    """The answer of :func:`enqueue_many`: a list whose jobs are made when they are looked at."""

    def __init__(self, built: Sequence[BuiltJob], rows: Sequence[InsertedJob]) -> None:
        self._built = built
        self._rows = rows

    @property
    def ids(self) -> list[int]:
        """The ids, in order."""
        return [row.id for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> StoredJobs: ...
    def __getitem__(self, index: int | slice) -> Job | StoredJobs:
        if isinstance(index, slice):
            return StoredJobs(self._built[index], self._rows[index])
        return _model(self._built[index], self._rows[index])


def insert_one(built: BuiltJob) -> Job:
    """Store a job as :func:`insert_many` does."""
    return _model(built, _inserted((built,))[0])


def insert_many(jobs: Sequence[BuiltJob]) -> StoredJobs:
    """Store jobs of one database, all or none, and say when it is time that there is work.

    Raises :class:`~django_river.exceptions.QueueClosed` if a queue is being removed, and then the caller's transaction can
    go on.
    """
    return StoredJobs(jobs, _inserted(jobs))


def _inserted(jobs: Sequence[BuiltJob]) -> list[InsertedJob]:
    using = jobs[0].database
    store = storage.for_caller(using)
    queues = {built.row.queue for built in jobs if _may_run_now(built.row)}
    connection = connections[using]
    if connection.connection is None:
        # What there is to know of it is known when it is open.
        connection.ensure_connection()
    if connection.in_atomic_block:
        rows = _insert(store, jobs)
        if queues:
            # Robust: what is committed is not to be answered with an error because a hint could not be sent.
            transaction.on_commit(lambda: _tell(using, queues), using=using, robust=True)
    elif not connection.autocommit:
        # The caller commits by hand: on_commit would refuse, but the database keeps notifications until the commit.
        rows = _insert(store, jobs, notify=queues if _may_notify(store) else ())
    else:
        began = time.monotonic()
        due = hints.due(using, queues, at=began) if _may_notify(store) else set()
        rows = _insert(store, jobs, notify=due)
        if due:
            hints.sent(using, due, at=began)
            hints.wake(using, due)
        if left_out := queues - due:
            # A hint had just been sent, but it may have taken long to commit: then they need their own.
            try:
                _tell(using, left_out)
            except DatabaseProblem:
                logger.warning("jobs are stored, but their workers could not be woken", exc_info=True)
    return rows


def _insert(store: Storage, jobs: Sequence[BuiltJob], notify: Collection[str] = ()) -> list[InsertedJob]:
    """Of one job, the statement need not look at the queue's row if we have just seen one like it go in."""
    if len(jobs) > 1:
        return store.job_insert_many([built.row for built in jobs], notify=notify)
    using, row = jobs[0].database, jobs[0].row
    seen = known_queues.found_open(row.queue, using=using)
    if seen is not None and (not row.inherits_max_attempts or seen.given == row.max_attempts):
        if row.inherits_max_attempts and seen.stored != row.max_attempts:
            row = msgspec.structs.replace(row, max_attempts=seen.stored)
        return store.job_insert_many([row], notify=notify, are_open=True)
    stored = store.job_insert_many([row], notify=notify)
    if row.inherits_max_attempts and stored[0].max_attempts is not None:
        known_queues.take_note(row.queue, using=using, given=row.max_attempts, stored=stored[0].max_attempts)
    elif seen is None and not stored[0].skipped:
        known_queues.take_note(row.queue, using=using)
    return stored


def _tell(using: str, queues: Collection[str]) -> None:
    """Wake the workers of these queues, here and in other processes, unless they will look again anyhow."""
    if not queues:
        # To name none would mean all.
        return
    hints.wake(using, queues)
    now = time.monotonic()
    due = hints.due(using, queues, at=now, is_visible=True)
    store = storage.for_caller(using) if due else None
    if store is not None and _may_notify(store):
        store.notify_many(TOPIC_INSERT, [insert_payload(queue) for queue in sorted(due)])
        hints.sent(using, due, at=now)


def _may_notify(store: Storage) -> bool:
    return store.can_notify and config().notify


def _may_run_now(row: JobInsert) -> bool:
    if row.pending or (row.delay is not None and row.delay > timedelta(0)):
        return False
    return row.scheduled_at is None or row.scheduled_at <= datetime.now(UTC)


def _model(built: BuiltJob, row: InsertedJob) -> Job:
    if row.skipped:
        # Its row can be gone by now: then the job is made of what we know of it.
        job = _job_model().objects.using(built.database).filter(pk=row.id).first() or _made(built, row)
        job.skipped_as_duplicate = True
        return job
    return _made(built, row)


def _made(built: BuiltJob, row: InsertedJob) -> Job:
    """The stored job, made as unpickling makes one: ``__init__`` takes a tenth of the time that storing does."""
    request = built.row
    model = _job_model()
    job = model.__new__(model)
    state = ModelState()
    state.adding = False
    state.db = built.database
    job.__dict__ = {
        "_state": state,
        "id": row.id,
        "state": row.state,
        "attempt": row.attempt,
        "attempted_at": None,
        "attempted_by": None,
        "max_attempts": row.max_attempts or request.max_attempts,
        "scheduled_at": _as_read(row.scheduled_at),
        "created_at": _as_read(row.created_at),
        "finalized_at": None,
        "priority": request.priority,
        "args": _decode(request.args),
        "kind": request.kind,
        "errors": None,
        "metadata": _decode(request.metadata),
        "queue": request.queue,
        "tags": list(request.tags),
        "unique_key": request.unique_key,
        "unique_states": request.unique_states,
    }
    return job


@cache
def _job_model() -> type[Job]:
    # Models can be had when all apps are ready, and jobs are defined before.
    return apps.get_model("django_river", "Job")


def _as_read(moment: datetime) -> datetime:
    """A moment as a model reads it."""
    return moment if of_django("USE_TZ") else moment.replace(tzinfo=None)
