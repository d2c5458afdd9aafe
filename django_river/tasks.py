"""The backend for Django's own tasks: ``@task`` functions, worked as jobs (Django 6.0 and newer).

    TASKS = {"default": {"BACKEND": "django_river.tasks.RiverBackend"}}

A task is a job of a kind of its own, registered when ``@task`` is met: no path that stands in a row is ever imported.
Its row is stored in the caller's transaction, and worked, retried, watched and shown like that of any other job.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import msgspec
from asgiref.sync import sync_to_async
from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus, task_backends
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TASK_REFRESH_ATTRS, TaskError
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.utils.json import normalize_json

from django_river import exceptions
from django_river.conf import config
from django_river.enqueue import JobFunction
from django_river.exceptions import UnknownQueue
from django_river.jobs.beats import Heartbeat
from django_river.jobs.context import JobContext
from django_river.jobs.definition import JobOptions, default_kind
from django_river.jobs.registry import registry
from django_river.jobs.states import FINAL, State
from django_river.names import queue_problem
from django_river.signals import job_finished, job_started
from django_river.storage.base import ClaimedJob

if TYPE_CHECKING:
    from django_river.models import Job

#: The key of a job's metadata under which stands what Django knows of the task and River does not.
TASK_KEY = "django_river:task"
#: No id is larger.
MAX_ID = 2**63 - 1

_STATUS = {
    State.RUNNING: TaskResultStatus.RUNNING,
    State.COMPLETED: TaskResultStatus.SUCCESSFUL,
    State.CANCELLED: TaskResultStatus.FAILED,
    State.DISCARDED: TaskResultStatus.FAILED,
}
_NOT_FOR_TASKS = {"queue", "priority", "batch", "item"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RiverTask(Task):
    """A task that is a job.

    ``job``
        Options of :func:`django_river.job`, beside or instead of those in the backend's ``OPTIONS``.

    >>> @task(job={"timeout": 60, "max_attempts": 3})                      # doctest: +SKIP
    ... def send(address): ...
    """

    job: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        Task.__post_init__(self)
        known = registry.get(default_kind(self.func))
        # A copy, made by `using`, is a task of the same kind.
        if not isinstance(known, TaskJob) or known.task.func is not self.func:
            registry.add(TaskJob(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class RiverTaskResult(TaskResult):  # type: ignore[misc]  # the stubs take it for one that can be changed
    """A task's result, and how far it is.

    >>> result = import_pages.get_result(id)                               # doctest: +SKIP
    >>> result.progress, result.note
    (0.4, 'page 40 of 100')
    """

    #: What the task has said with ``context.job.heartbeat``; ``progress`` is from 0.0 to 1.0.
    progress: float | None = None
    note: str | None = None
    data: Any = None
    #: How many attempts count, the present one included: those that were handed back do not.
    attempt: int = 0

    @property
    def attempts(self) -> int:
        """How many attempts count."""
        return self.attempt

    def refresh(self) -> None:
        """Read the row once more. Raises :class:`TaskResultDoesNotExist` if it is gone."""
        self._become(self.task.get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        """:meth:`refresh` for async callers."""
        self._become(await self.task.get_backend().aget_result(self.id))

    def _become(self, other: object) -> None:
        for name in (*TASK_REFRESH_ATTRS, "progress", "note", "data", "attempt"):
            object.__setattr__(self, name, getattr(other, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class RiverTaskContext(TaskContext):  # type: ignore[misc]  # likewise
    """What a task that takes a context gets."""

    #: The running job: heartbeats, cancellation, steps.
    job: JobContext

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self.job.attempt


class TaskJob(JobFunction[..., None]):
    """The kind of a task's jobs. Their arguments are the lists and objects that Django's tasks take."""

    def __init__(self, task: RiverTask) -> None:
        self.task = task
        backend = task.get_backend()
        given = {**getattr(backend, "job_options", {}), **(task.job or {})}
        super().__init__(
            _function(self, task),
            kind=default_kind(task.func),
            options=_options(queue=task.queue_name, priority=river_priority(task.priority), **given),
        )

    def context(self, job: JobContext) -> RiverTaskContext:
        """What the task gets as its first argument; asks the database."""
        return RiverTaskContext(
            task_result=_backend_of(self.task, job.metadata).get_result(str(job.id)), job=job
        )


class RiverBackend(BaseTaskBackend):
    """Enqueues tasks as jobs, and reads their results.

    ``OPTIONS`` are those of :func:`django_river.job`, for all tasks of this backend: ``{"max_attempts": 5}``.
    """

    task_class = RiverTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        # Without QUEUES all those of DJANGO_RIVER are meant.
        self.queues = set(params.get("QUEUES", ()))
        self.job_options: dict[str, Any] = dict(self.options)
        try:
            _options(**self.job_options)
        except (TypeError, ValueError) as error:
            raise InvalidTaskBackend(f"TASKS[{alias!r}]['OPTIONS']: {error}") from error

    def validate_task(self, task: Task) -> None:
        """Raise :class:`InvalidTask` for a task that cannot be a job."""
        super().validate_task(task)
        if problem := queue_problem(task.queue_name):
            raise InvalidTask(f"{problem[0].upper()}{problem[1:]}.")
        try:
            _options(**(getattr(task, "job", None) or {}))
        except (TypeError, ValueError) as error:
            raise InvalidTask(f"{task.module_path}: job: {error}") from error

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> RiverTaskResult:
        """Store a job that runs the task, in the caller's transaction if there is one.

        Raises :class:`InvalidTask`, and :class:`TypeError` or :class:`ValueError` for arguments that JSON cannot hold.
        """
        self.validate_task(task)
        definition = registry.get(default_kind(task.func))
        if not isinstance(definition, TaskJob):
            raise InvalidTask(
                f"{task.module_path} must be declared with @task(backend={self.alias!r}), or its workers do not know it."
            )
        request = definition.using(
            queue=task.queue_name, priority=river_priority(task.priority), run_after=task.run_after
        )
        # Not by `using`: the key is one of ours.
        request = replace(request, metadata={TASK_KEY: {"backend": self.alias, "priority": task.priority}})
        try:
            job = request.enqueue(args=normalize_json(list(args)), kwargs=normalize_json(dict(kwargs)))
        except UnknownQueue as error:
            raise InvalidTask(str(error)) from error
        result = _result(job, task, self.alias)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> RiverTaskResult:
        """Read a job as the result of its task. Raises :class:`TaskResultDoesNotExist`."""
        from django_river.models import Job  # noqa: PLC0415  (tasks may be imported before the models are ready)

        number = int(result_id) if str(result_id).isdecimal() else 0
        jobs = Job.objects.using(config().database).filter(pk=number) if 0 < number <= MAX_ID else ()
        for job in jobs:
            definition = registry.get(job.kind)
            if isinstance(definition, TaskJob):
                return _result(job, _enqueued(definition.task, job), self.alias)
        raise TaskResultDoesNotExist(result_id)


def river_priority(priority: int) -> int:
    """Django's priorities (100 comes first, 0 is usual) as River's (1 comes first)."""
    if priority >= 0:
        return 1 if priority > 0 else 2
    return 3 if priority >= -50 else 4


def _options(**given: Any) -> JobOptions:
    """Raises :class:`TypeError` or :class:`ValueError` for what ``@job`` would not take."""
    if given.keys() & _NOT_FOR_TASKS - {"queue", "priority"}:
        raise TypeError("a task cannot be a batch")
    if "tags" in given:
        given["tags"] = tuple(given["tags"])
    return JobOptions(**given)


def _function(definition: TaskJob, task: RiverTask) -> Callable[..., Any]:
    """What a worker calls."""

    def work(context: JobContext, args: list[Any], kwargs: dict[str, Any]) -> None:
        _keep(context, task.func(*_before(definition, context), *args, **kwargs))

    async def awork(context: JobContext, args: list[Any], kwargs: dict[str, Any]) -> None:
        before = await sync_to_async(_before)(definition, context) if task.takes_context else ()
        _keep(context, await task.func(*before, *args, **kwargs))

    function: Callable[..., Any] = awork if iscoroutinefunction(task.func) else work
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(function, name, getattr(task.func, name))
    return function


def _before(definition: TaskJob, context: JobContext) -> tuple[RiverTaskContext, ...]:
    """The context, for a task that takes one."""
    return (definition.context(context),) if definition.task.takes_context else ()


def _keep(context: JobContext, value: Any) -> None:
    if value is not None:
        context.record_output(normalize_json(value))


def _backend_of(task: Task, metadata: Mapping[str, Any]) -> BaseTaskBackend:
    said = metadata.get(TASK_KEY)
    alias = said.get("backend") if isinstance(said, Mapping) else None
    return task_backends[alias] if alias in task_backends.settings else task.get_backend()


def _enqueued(task: RiverTask, job: Job) -> Task:
    """The task as it was enqueued; as it is declared if that is not possible any more."""
    said = job.metadata.get(TASK_KEY) if isinstance(job.metadata, Mapping) else None
    priority: Any = said.get("priority") if isinstance(said, Mapping) else task.priority
    if (priority, job.queue) == (task.priority, task.queue_name):
        return task
    try:
        return replace(task, priority=priority, queue_name=job.queue)
    except (InvalidTask, TypeError):
        return task


def _result(job: Job, task: Task, alias: str) -> RiverTaskResult:
    metadata = job.metadata if isinstance(job.metadata, Mapping) else {}
    args, kwargs = _arguments(job.args)
    said = job.heartbeat or Heartbeat()
    result = RiverTaskResult(
        task=task,
        id=str(job.pk),
        status=_STATUS.get(State(job.state), TaskResultStatus.READY),
        enqueued_at=job.created_at,
        started_at=_first_attempt(job),
        last_attempted_at=job.attempted_at,
        finished_at=job.finalized_at,
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=[_error(entry) for entry in job.errors or ()],
        worker_ids=list(job.attempted_by or ()),
        progress=said.progress,
        note=said.note,
        data=said.data,
        attempt=job.attempt,
    )
    object.__setattr__(result, "_return_value", metadata.get("output"))
    return result


def _arguments(stored: Any) -> tuple[list[Any], dict[str, Any]]:
    """What the task is called with; nothing where another client has written something else."""
    stored = stored if isinstance(stored, Mapping) else {}
    args, kwargs = stored.get("args"), stored.get("kwargs")
    return (args if isinstance(args, list) else []), (kwargs if isinstance(kwargs, dict) else {})


def _first_attempt(job: Job) -> datetime | None:
    """When the first attempt began that is known of: the row itself knows of the last one only."""
    for entry in job.errors or ():
        try:
            return datetime.fromisoformat(entry["at"])
        except (KeyError, TypeError, ValueError):
            continue
    return job.attempted_at


def _error(entry: Mapping[str, Any]) -> TaskError:
    text, trace = str(entry.get("error", "")), str(entry.get("trace") or "")
    return TaskError(exception_class_path=_class_path(text, trace), traceback=trace or text)


def _class_path(text: str, trace: str) -> str:
    """Where the class of an error is: its text has the name, its traceback the module."""
    name = text.partition(":")[0]
    paths = re.findall(rf"^((?:\w+\.)+{re.escape(name)})(?::|$)", trace, re.MULTILINE)
    if paths:
        return str(paths[-1])
    for module in (exceptions, builtins):
        if isinstance(getattr(module, name, None), type):
            return f"{module.__name__}.{name}"
    return "builtins.Exception"


def _tell(signal: Any, task: RiverTask, job: ClaimedJob, client_id: str, state: State) -> None:
    """Send Django's signal with what is known without asking the database; ``refresh`` asks it."""
    metadata = msgspec.json.decode(job.metadata)
    backend = _backend_of(task, metadata if isinstance(metadata, dict) else {})
    args, kwargs = _arguments(msgspec.json.decode(job.args))
    result = RiverTaskResult(
        task=task,
        id=str(job.id),
        status=_STATUS.get(state, TaskResultStatus.READY),
        enqueued_at=None,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=args,
        kwargs=kwargs,
        backend=backend.alias,
        errors=[],
        worker_ids=[client_id],
        attempt=job.attempt,
    )
    signal.send(type(backend), task_result=result)


def _tell_started(sender: object, *, job: ClaimedJob, client_id: str, **kwargs: Any) -> None:
    if isinstance(sender, TaskJob):
        _tell(task_started, sender.task, job, client_id, State.RUNNING)


def _tell_finished(sender: object, *, job: ClaimedJob, state: State, client_id: str, **kwargs: Any) -> None:
    """Django's signal is for the end of a task; an attempt that is followed by another one is none."""
    if isinstance(sender, TaskJob) and state in FINAL:
        _tell(task_finished, sender.task, job, client_id, state)


job_started.connect(_tell_started, dispatch_uid="django_river.tasks")
job_finished.connect(_tell_finished, dispatch_uid="django_river.tasks")
