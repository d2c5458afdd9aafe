"""A job's definition: its function, its kind and its options. Pure; ``enqueue.py`` adds the verbs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from django_river.exceptions import DefinitionError
from django_river.jobs.arguments import Arguments, type_hints
from django_river.jobs.batch import Batch
from django_river.jobs.items import check_takes_one, item_type
from django_river.jobs.retry import RetryPolicy
from django_river.jobs.unique import Unique
from django_river.names import kind_problem, queue_problem, tag_problem

P = ParamSpec("P")
R = TypeVar("R")

MAX_ATTEMPTS_LIMIT = 32_767
#: What may become of a job that gives no sign of life.
ON_STUCK = ("retry", "discard", "cancel", "flag")
#: And of one that runs far longer than its kind.
ON_SUSPICIOUS = ("flag", "cancel", "rescue", "ignore")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What ``@job`` was told; ``None`` means "as the settings say"."""

    queue: str = "default"
    priority: int = 1
    max_attempts: int | None = None
    timeout: timedelta | float | None = None
    soft_timeout: timedelta | float | None = None
    interrupt: bool = False
    isolation: Literal["process"] | None = None
    heartbeat: timedelta | float | bool | None = None
    auto_heartbeat: bool = False
    on_stuck: Literal["retry", "discard", "cancel", "flag"] = "retry"
    on_suspicious: Literal["flag", "cancel", "rescue", "ignore"] | None = None
    retry: RetryPolicy | None = None
    tags: tuple[str, ...] = ()
    unique: Unique | None = None
    batch: Batch | None = None
    #: The class of a batch's items, if the function's annotation does not name it.
    item: type | None = None

    def __post_init__(self) -> None:
        check_options(
            queue=self.queue, priority=self.priority, max_attempts=self.max_attempts, tags=self.tags
        )
        for name in ("timeout", "soft_timeout"):
            value = getattr(self, name)
            if value is not None and not _is_span(value):
                raise ValueError(f"{name} must be a timedelta or seconds above 0, got {value!r}")
        if self.timeout and self.soft_timeout and seconds(self.soft_timeout) >= seconds(self.timeout):
            raise ValueError(
                f"soft_timeout must be shorter than timeout ({self.timeout!r}), got {self.soft_timeout!r}"
            )
        for name in ("interrupt", "auto_heartbeat"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r}")
        if self.heartbeat is not None and self.heartbeat is not True and not _is_span(self.heartbeat):
            raise ValueError(
                f"heartbeat must be a timedelta or seconds above 0, or True, got {self.heartbeat!r}"
            )
        if self.on_suspicious is not None and self.on_suspicious not in ON_SUSPICIOUS:
            raise ValueError(
                f"on_suspicious must be one of {', '.join(ON_SUSPICIOUS)}, got {self.on_suspicious!r}"
            )
        if self.on_stuck not in ON_STUCK:
            raise ValueError(f"on_stuck must be one of {', '.join(ON_STUCK)}, got {self.on_stuck!r}")
        if self.isolation not in {None, "process"}:
            raise ValueError(f"isolation must be 'process' or None, got {self.isolation!r}")
        if self.retry is not None and not callable(self.retry):
            raise TypeError(f"retry must be callable, got {self.retry!r}")
        if self.unique is not None and not isinstance(self.unique, Unique):
            raise TypeError(f"unique must be a Unique, got {self.unique!r}")
        self._check_batch()

    def _check_batch(self) -> None:
        if self.batch is not None and not isinstance(self.batch, Batch):
            raise TypeError(f"batch must be a Batch, got {self.batch!r}")
        if self.item is not None and not isinstance(self.item, type):
            raise TypeError(f"item must be a class, got {self.item!r}")
        if self.item is not None and self.batch is None:
            raise ValueError(f"item must stand beside batch, got {self.item!r} alone")


class Definition(Generic[P, R]):
    """A function that is a job. Calling it calls the function."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        kind: str | None = None,
        aliases: Iterable[str] = (),
        options: JobOptions,
    ) -> None:
        if not _is_function(function):
            raise DefinitionError(f"@job must stand at a function, got {function!r}")
        if isinstance(aliases, str):
            raise TypeError(f"aliases must be a list of kinds, got {aliases!r}")
        self.function = function
        self.kind = default_kind(function) if kind is None else kind
        self.aliases = tuple(aliases)
        self.options = options
        self.is_async = inspect.iscoroutinefunction(function)
        self.is_isolated = options.isolation is not None
        self.is_on_loop = self.is_async and not self.is_isolated
        # Both need somebody beside the thread that runs them. Asked before every job, so it is one question.
        self.is_escorted = self.is_isolated or options.interrupt
        for name in (self.kind, *self.aliases):
            problem = kind_problem(name)
            if problem:
                raise DefinitionError(f"{self.place}: {problem}")
        if options.interrupt and self.is_async:
            raise DefinitionError(
                f"{self.place}: interrupt is for sync jobs; async ones are cancelled anyway"
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise DefinitionError(f"{self.place}: a generator function cannot be a job")
        if options.batch is not None:
            self._check_batch(options.batch)
        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, attribute, getattr(function, attribute, None))
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind}>"

    @cached_property
    def arguments(self) -> Arguments:
        """The typed arguments; built when first asked for, so annotations may name what comes later.

        Raises :class:`DefinitionError` if they cannot be stored, or lack one that ``unique`` names.
        """
        batch = self.options.batch
        arguments = Arguments(self.function if batch is None else self.item, kind=self.kind)
        if batch is not None and isinstance(batch.by, str) and batch.by not in arguments.fields:
            raise DefinitionError(
                f"{self.kind}: by must name an argument ({', '.join(arguments.fields) or 'none'}), got {batch.by!r}"
            )
        if self.options.unique is not None:
            self.check_unique(self.options.unique, arguments)
        return arguments

    @cached_property
    def item(self) -> type:
        """The class of a batch's items. Raises :class:`DefinitionError` if nothing says it."""
        if self.options.item is not None:
            return self.options.item
        return item_type(self.function, type_hints(self.function, self.kind), kind=self.kind)

    def check_unique(self, unique: Unique, arguments: Arguments | None = None) -> None:
        """Refuse a choice of arguments that the function does not take: every job would be the same."""
        known = (arguments or self.arguments).fields
        for path in unique.by_args if isinstance(unique.by_args, tuple) else ():
            if path.split(".")[0] not in known:
                raise DefinitionError(
                    f"{self.kind}: unique by_args must name its arguments ({', '.join(known) or 'none'}), got {path!r}"
                )

    def _check_batch(self, batch: Batch) -> None:
        check_takes_one(self.function, place=self.place)
        if self.is_escorted:
            raise DefinitionError(
                f"{self.place}: isolation and interrupt are for single jobs, not for batches"
            )
        if batch.complete_in_transaction and self.is_async:
            raise DefinitionError(
                f"{self.place}: complete_in_transaction needs a sync function; transactions do not work in async code"
            )

    @property
    def place(self) -> str:
        """Where the function is defined, for error messages."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


def check_options(
    *,
    queue: str | None = None,
    priority: int | None = None,
    max_attempts: int | None = None,
    tags: Iterable[str] | None = None,
) -> None:
    """Check options that may stand at ``@job`` and at ``using``; ``None`` is "not given".

    Raises :class:`ValueError` or :class:`TypeError` with the option's name, the rule and the value.
    """
    problem = queue_problem(queue) if queue is not None else None
    if problem:
        raise ValueError(problem)
    if priority is not None and not _is_whole(priority, 1, 4):
        raise ValueError(f"priority must be an int from 1 (first) to 4 (last), got {priority!r}")
    if max_attempts is not None and not _is_whole(max_attempts, 1, MAX_ATTEMPTS_LIMIT):
        raise ValueError(f"max_attempts must be an int from 1 to {MAX_ATTEMPTS_LIMIT}, got {max_attempts!r}")
    if isinstance(tags, str):
        raise TypeError(f"tags must be a list of texts, got {tags!r}")
    for tag in tags or ():
        problem = tag_problem(tag)
        if problem:
            raise ValueError(problem)


def default_kind(function: Callable[..., Any]) -> str:
    """The short form of a function's path: what stands around a module named ``jobs``.

    ``shop.jobs.send_receipt`` and ``site.apps.shop.jobs.send_receipt`` are both ``shop.send_receipt``;
    ``shop.jobs.mail.send`` is ``shop.mail.send``; without a module ``jobs`` it is the whole path.
    """
    path = function.__module__.split(".")
    name = function.__qualname__.replace(".<locals>", "")
    if "jobs" in path:
        at = path.index("jobs")
        path = [*path[max(at - 1, 0) : at], *path[at + 1 :]]
    return ".".join([*path, name])


def seconds(span: timedelta | float) -> float:
    """A span in seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


def _is_function(function: object) -> bool:
    if inspect.isclass(function) or isinstance(function, Definition):
        return False
    return callable(function) and hasattr(function, "__qualname__") and hasattr(function, "__module__")


def _is_span(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, timedelta | int | float):
        return False
    return 0 < seconds(value) < float("inf")


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
