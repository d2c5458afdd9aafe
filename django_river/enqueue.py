"""``@job`` and the verbs of a job: what the caller says → a checked row; ``insert`` stores it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import sync_to_async
from django.conf import settings as project
from django.utils import timezone

from django_river.conf import config
from django_river.exceptions import ArgumentTypeError, DefinitionError
from django_river.insert import BuiltJob, StoredJobs, insert_many, insert_one
from django_river.jobs.batch import Batch, JobBatch
from django_river.jobs.context import JobContext
from django_river.jobs.definition import Definition, JobOptions, check_options
from django_river.jobs.json import encode_json
from django_river.jobs.options import CALL_CHECKS, taken_once
from django_river.jobs.registry import registry
from django_river.jobs.retry import RetryPolicy
from django_river.jobs.unique import Unique
from django_river.known_queues import known_queues
from django_river.storage.base import JobInsert

if TYPE_CHECKING:
    from django_river.models import Job

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class JobFunction(Definition[P, R]):
    """A function that can be enqueued. Calling it calls the function, here and now.

    >>> send_receipt.enqueue(order_id=7)                                   # doctest: +SKIP
    >>> send_receipt.using(run_after=timedelta(hours=1)).enqueue(7)        # doctest: +SKIP
    """

    @cached_property
    def _request(self) -> JobRequest[P]:
        """A job with no options of its own."""
        return JobRequest(self)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Store a job that calls this function with these arguments, and wake a worker.

        Inside a transaction the job becomes visible when it commits, and never if it rolls back. Returns the stored
        job; ``skipped_as_duplicate`` is true if it is an older one with the same unique key.

        Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError` for wrong arguments,
        :class:`UnknownQueue`, and :class:`QueueClosed`; nothing is stored then.
        """
        return self._request.enqueue(*args, **kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue` for async callers."""
        return await self._request.aenqueue(*args, **kwargs)

    def build(self, *args: P.args, **kwargs: P.kwargs) -> BuiltJob:
        """Check the arguments and keep them for :func:`enqueue_many`."""
        return self._request.build(*args, **kwargs)

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
        return self._request.using(
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


class BatchFunction(JobFunction[P, R]):
    """A function that is called with many jobs; each is enqueued by itself, as if the function took it alone.

    >>> index.enqueue("river", document_id=7)                              # doctest: +SKIP
    >>> index([Word("river", 7), Word("bank", 7)])                         # doctest: +SKIP
    """

    def __call__(self, batch: JobBatch[Any] | Iterable[Any]) -> R:  # type: ignore[override]
        """Call the function, here and now, with a batch or with plain values that one is made of."""
        return self.function(batch if isinstance(batch, JobBatch) else JobBatch.of(batch))  # type: ignore[call-arg,arg-type]


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
            given["tags"] = taken_once(given["tags"])
        check_options(
            queue=given.get("queue"),
            priority=given.get("priority"),
            max_attempts=given.get("max_attempts"),
            tags=given.get("tags"),
        )
        for name, check in CALL_CHECKS.items():
            if name in given:
                check(given[name])
        if "unique" in given:
            self.function.check_unique(given["unique"])
        return replace(self, **given)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Store the job; see :meth:`JobFunction.enqueue`."""
        return insert_one(self.build(*args, **kwargs))

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
            tags=options.tags if self.tags is None else self.tags,
            pending=self.pending,
        )
        if row.queue not in settings.queues:
            known_queues.check(row.queue, settings, using=self.database or settings.database, kind=row.kind)
        own = self.max_attempts or options.max_attempts
        row.max_attempts = own or settings.max_attempts_of(row.queue)
        row.inherits_max_attempts = own is None
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
    return insert_many(jobs) if jobs else StoredJobs([], [])


@overload
def job(
    *,
    batch: Batch,
    item: Callable[P, Any],
    kind: str | None = None,
    aliases: Iterable[str] = (),
    queue: str = "default",
    priority: int = 1,
    max_attempts: int | None = None,
    timeout: timedelta | float | None = None,
    soft_timeout: timedelta | float | None = None,
    heartbeat: timedelta | float | bool | None = None,
    auto_heartbeat: bool = False,
    on_stuck: Literal["retry", "discard", "cancel", "flag"] = "retry",
    on_suspicious: Literal["flag", "cancel", "rescue", "ignore"] | None = None,
    retry: RetryPolicy | None = None,
    tags: Iterable[str] = (),
    unique: Unique | None = None,
) -> Callable[[Callable[[JobBatch[Any]], R]], BatchFunction[P, R]]: ...
@overload
def job(
    *,
    batch: Batch,
    kind: str | None = None,
    aliases: Iterable[str] = (),
    queue: str = "default",
    priority: int = 1,
    max_attempts: int | None = None,
    timeout: timedelta | float | None = None,
    soft_timeout: timedelta | float | None = None,
    heartbeat: timedelta | float | bool | None = None,
    auto_heartbeat: bool = False,
    on_stuck: Literal["retry", "discard", "cancel", "flag"] = "retry",
    on_suspicious: Literal["flag", "cancel", "rescue", "ignore"] | None = None,
    retry: RetryPolicy | None = None,
    tags: Iterable[str] = (),
    unique: Unique | None = None,
) -> _BatchDecorator: ...
@overload
def job(
    *,
    kind: str | None = None,
    aliases: Iterable[str] = (),
    queue: str = "default",
    priority: int = 1,
    max_attempts: int | None = None,
    timeout: timedelta | float | None = None,
    soft_timeout: timedelta | float | None = None,
    interrupt: bool = False,
    isolation: Literal["process"] | None = None,
    heartbeat: timedelta | float | bool | None = None,
    auto_heartbeat: bool = False,
    on_stuck: Literal["retry", "discard", "cancel", "flag"] = "retry",
    on_suspicious: Literal["flag", "cancel", "rescue", "ignore"] | None = None,
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
    ``soft_timeout``
        The same, but the job is only asked to come to an end: it has until ``timeout`` to do so.
    ``interrupt``
        Raise :class:`JobInterrupted` in the thread of a sync job that is to stop, wherever it is in Python code.
    ``isolation``
        ``"process"``: run its jobs in child processes, which are killed when a job must stop.
    ``heartbeat``
        The job promises to call :meth:`JobContext.heartbeat` at least this often; ``True``: as ``HEARTBEATS`` says.
    ``auto_heartbeat``
        Signs of life are given in the job's name, for as long as its code runs.
    ``on_stuck``
        What becomes of a job that breaks its promise and does not stop: ``"retry"``, ``"discard"``, ``"cancel"``, or
        ``"flag"`` to let it run on and only say so.
    ``on_suspicious``
        What becomes of a job that runs far longer than its kind, instead of ``ADAPTIVE_RESCUE["POLICY"]``.
    ``retry``
        A policy: see :mod:`django_river.jobs.retry`.
    ``unique``
        A :class:`Unique`: which jobs count as the same.
    ``batch``, ``item``
        A :class:`Batch`: the function is called with many jobs at once. Each of them has the arguments of the class
        that ``item`` gives, or that the function's annotation names: ``batch: JobBatch[Word]``.

    Raises :class:`DefinitionError`, :class:`ValueError` or :class:`TypeError` when something cannot be.
    """

    def decorate(function: Callable[..., Any]) -> JobFunction[..., Any]:
        if isinstance(function, type | Definition) or not hasattr(function, "__qualname__"):
            raise DefinitionError(f"@job must stand at a function, got {function!r}")
        cls = JobFunction if options.get("batch") is None else BatchFunction
        definition = cls(
            function, kind=kind, aliases=aliases, options=JobOptions(tags=taken_once(tags), **options)
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

    class _BatchDecorator(Protocol):
        def __call__(self, function: Callable[[JobBatch[T]], R], /) -> BatchFunction[..., R]: ...


def _aware(moment: datetime) -> datetime:
    if timezone.is_aware(moment):
        return moment
    if project.USE_TZ:
        raise ValueError(f"run_after must be aware (it has no time zone), got {moment!r}")
    return timezone.make_aware(moment)


def _planned(row: JobInsert) -> datetime:
    return row.scheduled_at or datetime.now(UTC) + (row.delay or timedelta(0))
