"""``@job`` and the verbs of a job: what the caller says → a row → storage → a hint to the workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

import msgspec
from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings as project
from django.db import Error as DatabaseProblem
from django.db import connections, transaction
from django.utils import timezone

from django_river import storage
from django_river.conf import Config, config
from django_river.exceptions import ArgumentTypeError, DefinitionError, UnknownQueue
from django_river.hints import hints
from django_river.jobs.context import JobContext
from django_river.jobs.definition import Definition, JobOptions, check_options
from django_river.jobs.json import encode_json
from django_river.jobs.registry import registry
from django_river.jobs.retry import RetryPolicy
from django_river.jobs.states import State
from django_river.jobs.unique import Unique
from django_river.storage.base import TOPIC_INSERT, InsertedJob, JobInsert, Storage
from django_river.storage.payloads import insert_payload

if TYPE_CHECKING:
    from django_river.models import Job

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

#: Metadata keys that belong to River or to us (PROTOCOL 4).
RESERVED_PREFIXES = ("river:", "django_river:")
RESERVED_KEYS = frozenset({"output", "snoozes", "periodic", "cancel_attempted_at", "unique_key_conflict"})

#: What both databases can hold in every time zone.
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)


class JobFunction(Definition[P, R]):
    """A function that can be enqueued. Calling it calls the function, here and now.

    >>> send_receipt.enqueue(order_id=7)                                   # doctest: +SKIP
    >>> send_receipt.using(run_after=timedelta(hours=1)).enqueue(7)        # doctest: +SKIP
    """

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Store a job that calls this function with these arguments, and wake a worker.

        Inside a transaction the job becomes visible when it commits, and never if it rolls back. Returns the stored
        job; ``skipped_as_duplicate`` is true if it is an older one with the same unique key.

        Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError` for wrong arguments, and
        :class:`UnknownQueue`; nothing is stored then.
        """
        return JobRequest(self).enqueue(*args, **kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue` for async callers."""
        return await JobRequest(self).aenqueue(*args, **kwargs)

    def build(self, *args: P.args, **kwargs: P.kwargs) -> BuiltJob:
        """Check the arguments and keep them for :func:`enqueue_many`."""
        return JobRequest(self).build(*args, **kwargs)

    def using(
        self,
        *,
        queue: str | None = None,
        priority: int | None = None,
        run_after: datetime | timedelta | None = None,
        max_attempts: int | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        pending: bool | None = None,
        unique: Unique | None = None,
        database: str | None = None,
    ) -> JobRequest[P]:
        """Say how one job differs from what ``@job`` said. See :class:`JobRequest`."""
        return JobRequest(self).using(
            queue=queue,
            priority=priority,
            run_after=run_after,
            max_attempts=max_attempts,
            tags=tags,
            metadata=metadata,
            pending=pending,
            unique=unique,
            database=database,
        )


@dataclass(frozen=True, slots=True)
class JobRequest(Generic[P]):
    """A job function with options for one call; made by :meth:`JobFunction.using`.

    ``run_after``
        A moment (aware, unless the project has ``USE_TZ = False``), or a span from now by the database's clock.
    ``pending``
        Park the job: it waits until somebody retries it by hand.
    ``database``
        The alias to store the job in, instead of ``DJANGO_RIVER["DATABASE"]``.
    """

    function: JobFunction[P, Any]
    queue: str | None = None
    priority: int | None = None
    run_after: datetime | timedelta | None = None
    max_attempts: int | None = None
    tags: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] | None = None
    pending: bool = False
    unique: Unique | None = None
    database: str | None = None

    def using(self, **options: Any) -> JobRequest[P]:
        """A copy with more options; ``None`` leaves one as it is.

        Raises :class:`ValueError` or :class:`TypeError` naming the option, the rule and the value.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if "tags" in given:
            given["tags"] = _tags(given["tags"])
        check_options(
            queue=given.get("queue"),
            priority=given.get("priority"),
            max_attempts=given.get("max_attempts"),
            tags=given.get("tags"),
        )
        for name, check in _CHECKS.items():
            if name in given:
                check(given[name])
        if "unique" in given:
            self.function.check_unique(given["unique"])
        return replace(self, **given)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Store the job; see :meth:`JobFunction.enqueue`."""
        return _insert([self.build(*args, **kwargs)])[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue` for async callers."""
        return await sync_to_async(self.enqueue)(*args, **kwargs)

    def build(self, *args: P.args, **kwargs: P.kwargs) -> BuiltJob:
        """Check the arguments and keep them for :func:`enqueue_many`."""
        settings, options = config(), self.function.options
        raw = self.function.arguments.encode(args, kwargs, limit=settings.max_args_bytes)
        row = JobInsert(
            kind=self.function.kind,
            args=raw,
            queue=self.queue or options.queue,
            priority=self.priority or options.priority,
            max_attempts=self.max_attempts or options.max_attempts or settings.max_attempts,
            tags=options.tags if self.tags is None else self.tags,
            pending=self.pending,
        )
        _check_queue(row.queue, settings, kind=row.kind)
        if self.metadata:
            row.metadata = encode_json(
                dict(self.metadata), what=f"{row.kind}: metadata", limit=settings.max_args_bytes
            )
        if isinstance(self.run_after, timedelta):
            row.delay = self.run_after
        elif self.run_after is not None:
            row.scheduled_at = _aware(self.run_after)
        unique = self.unique or options.unique
        if unique is not None:
            row.unique_states = unique.mask
            row.unique_key = unique.key(kind=row.kind, args=raw, queue=row.queue, scheduled_at=_planned(row))
        return BuiltJob(row, self.database or settings.database)


@dataclass(frozen=True, slots=True)
class BuiltJob:
    """A job whose arguments are checked, not stored yet."""

    row: JobInsert
    database: str = field(default="default")


def enqueue_many(jobs: Iterable[BuiltJob]) -> StoredJobs:
    """Store many jobs at once, all or none, in the caller's transaction if there is one.

    >>> enqueue_many(send_receipt.build(order.pk) for order in orders)     # doctest: +SKIP

    Returns the stored jobs in the order given; they are made when looked at. All must go to the same database.
    """
    jobs = list(jobs)
    for built in jobs:
        if not isinstance(built, BuiltJob):
            raise ArgumentTypeError(f"enqueue_many takes what build() returns, got {built!r}")
    databases = sorted({built.database for built in jobs})
    if len(databases) > 1:
        raise ValueError(
            f"enqueue_many stores all jobs in one transaction, so they must share a database, "
            f"got {' and '.join(databases)}"
        )
    return _insert(jobs) if jobs else StoredJobs([], [])


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


@overload
def job(
    *,
    kind: str | None = None,
    aliases: Iterable[str] = (),
    queue: str = "default",
    priority: int = 1,
    max_attempts: int | None = None,
    timeout: timedelta | float | None = None,
    retry: RetryPolicy | None = None,
    tags: Iterable[str] = (),
    unique: Unique | None = None,
) -> _Decorator: ...
@overload
def job(function: Callable[Concatenate[JobContext, P], R], /) -> JobFunction[P, R]: ...
@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R]: ...
def job(
    function: Callable[..., Any] | None = None,
    /,
    *,
    kind: str | None = None,
    aliases: Iterable[str] = (),
    tags: Iterable[str] = (),
    **options: Any,
) -> Any:
    """Make a function a job.

        @job(queue="emails", max_attempts=5, timeout=30)
        def send_receipt(order_id: int) -> None: ...

    ``kind``
        The name stored with each job; by default the short form of the function's path (``shop.send_receipt``).
    ``aliases``
        Older kinds that this function still works.
    ``queue``, ``priority``, ``max_attempts``, ``tags``
        Where and how its jobs wait, unless :meth:`JobFunction.using` says otherwise. Priority 1 comes first, 4 last.
    ``timeout``
        Seconds or a timedelta that one attempt may take.
    ``retry``
        A policy: see :mod:`django_river.jobs.retry`.
    ``unique``
        A :class:`Unique`: which jobs count as the same.

    Raises :class:`DefinitionError`, :class:`ValueError` or :class:`TypeError` when something cannot be.
    """

    def decorate(function: Callable[..., Any]) -> JobFunction[..., Any]:
        if isinstance(function, type | Definition) or not hasattr(function, "__qualname__"):
            raise DefinitionError(f"@job must stand at a function, got {function!r}")
        definition = JobFunction(
            function, kind=kind, aliases=aliases, options=JobOptions(tags=_tags(tags), **options)
        )
        registry.add(definition)
        return definition

    return decorate if function is None else decorate(function)


if TYPE_CHECKING:

    class _Decorator(Protocol):
        @overload
        def __call__(self, function: Callable[Concatenate[JobContext, P], R], /) -> JobFunction[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> JobFunction[P, R]: ...


def _insert(jobs: Sequence[BuiltJob]) -> StoredJobs:
    using = jobs[0].database
    store = storage.for_caller(using)
    queues = {built.row.queue for built in jobs if _may_run_now(built.row)}
    connection = connections[using]
    if connection.in_atomic_block:
        rows = store.job_insert_many([built.row for built in jobs])
        if queues:
            # Robust: what is committed is not to be answered with an error because a hint could not be sent.
            transaction.on_commit(lambda: _tell(using, queues), using=using, robust=True)
    elif not connection.get_autocommit():
        # The caller commits by hand: on_commit would refuse, but the database keeps notifications until the commit.
        rows = store.job_insert_many(
            [built.row for built in jobs], notify=queues if _may_notify(store) else ()
        )
    else:
        began = time.monotonic()
        due = hints.due(using, queues, at=began) if _may_notify(store) else set()
        rows = store.job_insert_many([built.row for built in jobs], notify=due)
        hints.sent(using, due, at=began)
        if due:
            hints.wake(using, due)
        # What was left out because a hint had just been sent may have taken long to commit: then it needs its own.
        try:
            _tell(using, queues - due)
        except DatabaseProblem:
            logger.warning("jobs are stored, but their workers could not be woken", exc_info=True)
    return StoredJobs(jobs, rows)


def _tell(using: str, queues: Collection[str]) -> None:
    """Wake the workers of these queues, here and in other processes, unless they have just been woken."""
    if not queues:
        # To name none would mean all.
        return
    hints.wake(using, queues)
    store = storage.for_caller(using)
    now = time.monotonic()
    due = hints.due(using, queues, at=now) if _may_notify(store) else set()
    if due:
        store.notify_many(TOPIC_INSERT, [insert_payload(queue) for queue in sorted(due)])
        hints.sent(using, due, at=now)


def _may_notify(store: Storage) -> bool:
    return store.can_notify and config().notify


def _may_run_now(row: JobInsert) -> bool:
    if row.pending or (row.delay is not None and row.delay > timedelta(0)):
        return False
    return row.scheduled_at is None or row.scheduled_at <= datetime.now(UTC)


def _model(built: BuiltJob, row: InsertedJob) -> Job:
    model: type[Job] = apps.get_model("django_river", "Job")
    if row.skipped:
        # Its row can be gone by now: then the job is made of what we know of it.
        job = model.objects.using(built.database).filter(pk=row.id).first() or _made(model, built, row)
        job.skipped_as_duplicate = True
        return job
    return _made(model, built, row)


def _made(model: type[Job], built: BuiltJob, row: InsertedJob) -> Job:
    request = built.row
    values = {
        "id": row.id,
        "state": row.state,
        "attempt": row.attempt,
        "max_attempts": request.max_attempts,
        "scheduled_at": _as_read(row.scheduled_at),
        "created_at": _as_read(row.created_at),
        "priority": request.priority,
        "args": _decoded(request.args),
        "kind": request.kind,
        "metadata": _decoded(request.metadata),
        "queue": request.queue,
        "tags": list(request.tags),
        "unique_key": request.unique_key,
        "unique_states": request.unique_states,
    }
    job = model(**values)
    job._state.adding = False
    job._state.db = built.database
    return job


def _check_queue(queue: str, settings: Config, *, kind: str) -> None:
    if queue not in settings.queues and not settings.dynamic_queues:
        raise UnknownQueue(
            f"{kind}: queue must be one of {', '.join(sorted(settings.queues)) or 'none'} (DJANGO_RIVER['QUEUES']), "
            f"or DYNAMIC_QUEUES must be on; got {queue!r}"
        )


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, got {metadata!r}")
    for key in metadata:
        if not isinstance(key, str):
            raise TypeError(f"metadata must have text keys, got {key!r}")
        if key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES):
            raise ValueError(f"metadata must not use keys of the queue itself, got {key!r}")


def _check_pending(pending: object) -> None:
    if not isinstance(pending, bool):
        raise TypeError(f"pending must be a bool, got {pending!r}")


def _check_run_after(run_after: object) -> None:
    if not isinstance(run_after, datetime | timedelta):
        raise TypeError(f"run_after must be a datetime or a timedelta, got {run_after!r}")
    now = datetime.now(UTC)
    if isinstance(run_after, timedelta):
        is_storable = _EARLIEST - now < run_after < _LATEST - now
    else:
        is_storable = timezone.is_naive(run_after) or _EARLIEST < run_after < _LATEST
    if not is_storable:
        raise ValueError(f"run_after must be within the years 1 to 9999, got {run_after!r}")


def _check_unique(unique: object) -> None:
    if not isinstance(unique, Unique):
        raise TypeError(f"unique must be a Unique, got {unique!r}")


_CHECKS: Mapping[str, Callable[[object], None]] = {
    "metadata": _check_metadata,
    "pending": _check_pending,
    "run_after": _check_run_after,
    "unique": _check_unique,
}


def _tags(tags: object) -> tuple[Any, ...]:
    """Take them once: they may come from a generator. What each must look like is checked with the others."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise TypeError(f"tags must be a list of texts, got {tags!r}")
    return tuple(tags)


def _aware(moment: datetime) -> datetime:
    if timezone.is_aware(moment):
        return moment
    if project.USE_TZ:
        raise ValueError(f"run_after must be aware (it has no time zone), got {moment!r}")
    return timezone.make_aware(moment)


def _as_read(moment: datetime) -> datetime:
    """A moment as a model reads it."""
    return moment if project.USE_TZ else moment.replace(tzinfo=None)


def _planned(row: JobInsert) -> datetime:
    return row.scheduled_at or datetime.now(UTC) + (row.delay or timedelta(0))


def _decoded(raw: bytes) -> Any:
    return msgspec.json.decode(raw)


__all__ = ["BuiltJob", "JobFunction", "JobRequest", "State", "StoredJobs", "enqueue_many", "job"]
