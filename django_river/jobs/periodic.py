"""What ``@periodic`` and the setting ``PERIODIC`` declare: jobs that enqueue themselves. Pure; the leader does it."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from django_river.exceptions import DefinitionError
from django_river.jobs.cron import Cron
from django_river.jobs.definition import Definition, check_options
from django_river.jobs.schedules import (
    Interval,
    check_interval,
    check_timezone,
    names_a_timezone,
    parse_cron,
)
from django_river.names import periodic_problem

D = TypeVar("D", bound=Definition[..., Any])

OnMissed = Literal["skip", "once", "all"]
ON_MISSED = ("skip", "once", "all")
#: No more runs than this are caught up with, whatever ``max_catch_up`` says.
CATCH_UP_LIMIT = 10_000
LONGEST_SPAN = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One ``@periodic``, or one item of ``PERIODIC``: the options are those of :func:`periodic`."""

    #: The job, or its dotted path.
    job: Definition[..., Any] | str
    #: Where it is declared, for messages.
    place: str = "?"
    name: str | None = None
    cron: str | None = None
    every: timedelta | float | None = None
    timezone: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    on_missed: OnMissed = "skip"
    max_catch_up: int = 100
    overlap: bool = True
    run_on_start: bool = False
    jitter: timedelta | float | None = None
    start_at: datetime | None = None
    enabled: bool = True
    expect_success_within: timedelta | float | None = None

    def __post_init__(self) -> None:
        self._check_identity()
        self._check_schedule()
        check_options(queue=self.queue, priority=self.priority)
        given: Any = self.on_missed
        if given not in ON_MISSED:
            raise ValueError(f"on_missed must be one of {', '.join(map(repr, ON_MISSED))}, got {given!r}")
        if not _is_whole(self.max_catch_up, 1, CATCH_UP_LIMIT):
            raise ValueError(
                f"max_catch_up must be an int from 1 to {CATCH_UP_LIMIT}, got {self.max_catch_up!r}"
            )
        for name in ("overlap", "run_on_start", "enabled"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r}")
        for name in ("jitter", "expect_success_within"):
            if getattr(self, name) is not None:
                span(getattr(self, name), name)

    @classmethod
    def from_setting(cls, item: object, index: int) -> Declaration:
        """An item of ``PERIODIC``. Raises :class:`DefinitionError`, :class:`ValueError` or :class:`TypeError`."""
        if not isinstance(item, Mapping):
            raise TypeError(f"must be a dict, got {item!r}")
        unknown = sorted(str(key) for key in item if key not in SETTING_KEYS)
        if unknown:
            raise DefinitionError(
                f"has unknown keys {', '.join(unknown)}; known are {', '.join(SETTING_KEYS)}"
            )
        if not isinstance(item.get("job"), str):
            raise DefinitionError(f"job must be a dotted path, got {item.get('job')!r}")
        return cls(**item, place=f"DJANGO_RIVER['PERIODIC'][{index}]")

    def schedule(self, *, timezone: str) -> Cron | Interval:
        """When it runs; ``timezone`` is that of the project, for cron expressions without one."""
        if self.cron is not None:
            return parse_cron(self.cron, timezone=self.timezone or timezone)
        assert self.every is not None
        return Interval(check_interval(span(self.every, "every")))

    def definition(self) -> Definition[..., Any]:
        """The job. Raises :class:`DefinitionError` if the dotted path leads to none."""
        if isinstance(self.job, Definition):
            return self.job
        module, _, name = self.job.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # a module may raise anything
            raise DefinitionError(f"job {self.job!r} cannot be imported: {error}") from error
        if not isinstance(found, Definition):
            raise DefinitionError(f"job must lead to a function with @job, but {self.job!r} is {found!r}")
        return found

    def _check_identity(self) -> None:
        problem = None if self.name is None else periodic_problem(self.name)
        if problem:
            raise ValueError(problem)
        given: Any = self.args
        if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
            raise TypeError(f"args must be a dict of arguments by name, got {given!r}")
        # Whoever changes the dict later must not change what is declared.
        object.__setattr__(self, "args", copy.deepcopy(dict(given)))

    def _check_schedule(self) -> None:
        if (self.cron is None) == (self.every is None):
            raise ValueError("say either cron= or every=")
        given: Any = self.cron
        if given is not None and not isinstance(given, str):
            raise TypeError(f"cron must be a text, got {given!r}")
        if self.timezone is not None:
            check_timezone(self.timezone)
            if self.cron is None or names_a_timezone(self.cron):
                raise ValueError(f"timezone goes with a cron= that names none itself, got {self.timezone!r}")
        start: Any = self.start_at
        if start is not None and (not isinstance(start, datetime) or start.utcoffset() is None):
            raise ValueError(f"start_at must be an aware datetime, got {start!r}")
        self.schedule(timezone="UTC")


#: What an item of ``PERIODIC`` may have.
SETTING_KEYS = tuple(field.name for field in fields(Declaration) if field.name != "place")


class Declarations:
    """All that modules declare, in no order that matters. Nothing is refused here: see ``PeriodicRegistry``."""

    def __init__(self) -> None:
        self._declared: list[Declaration] = []

    def add(self, declaration: Declaration) -> None:
        """Note a declaration. Those of an earlier definition of the same job go: it has been reloaded."""
        self._declared = [known for known in self._declared if not _is_reloaded(known, declaration)]
        self._declared.append(declaration)

    def discard(self, job: Definition[..., Any]) -> None:
        """Forget what is declared for a job; for tests."""
        self._declared = [known for known in self._declared if known.job is not job]

    def __iter__(self) -> Iterator[Declaration]:
        return iter(self._declared)


declared = Declarations()


def periodic(
    *,
    cron: str | None = None,
    every: timedelta | float | None = None,
    timezone: str | None = None,
    name: str | None = None,
    args: Mapping[str, Any] | None = None,
    queue: str | None = None,
    priority: int | None = None,
    on_missed: OnMissed = "skip",
    max_catch_up: int = 100,
    overlap: bool = True,
    run_on_start: bool = False,
    jitter: timedelta | float | None = None,
    start_at: datetime | None = None,
    enabled: bool = True,
    expect_success_within: timedelta | float | None = None,
) -> Callable[[D], D]:
    """Enqueue a job again and again, on one client at a time, exactly once per run.

        @periodic(cron="0 3 * * *", timezone="Europe/Paris")
        @job()
        def nightly_report() -> None: ...

    Stands above ``@job``, more than once if the names differ.

    ``cron``, ``timezone``
        A cron expression (see the docs for what it may be), and the zone of its clock; by default the project's.
    ``every``
        Or a span, as a timedelta or in seconds, from 100 ms.
    ``name``
        By default the job's kind. Unique among all periodic jobs.
    ``args``
        The job's arguments, by name.
    ``queue``, ``priority``
        Instead of the job's own.
    ``on_missed``, ``max_catch_up``
        What to do about runs that nobody was there for: ``"skip"`` them, run ``"once"``, or run ``"all"`` of them, the
        newest ``max_catch_up``.
    ``overlap``
        ``False``: leave out a run while the job of the last one is not over.
    ``run_on_start``
        Also run when the first client starts, and with each new release.
    ``jitter``
        Let the job wait for a random part of this span.
    ``start_at``
        No run before this moment; intervals are counted from it.
    ``enabled``
        ``False`` keeps the entry, and its name, without any runs.
    ``expect_success_within``
        Raise an alarm when no run has succeeded for so long.

    Raises :class:`DefinitionError`, :class:`ValueError` or :class:`TypeError` when something cannot be.
    """

    def decorate(job: D) -> D:
        if not isinstance(job, Definition):
            raise DefinitionError(f"@periodic must stand above @job, got {job!r}")
        try:
            declaration = Declaration(
                job=job,
                place=job.place,
                cron=cron,
                every=every,
                timezone=timezone,
                name=name,
                args={} if args is None else args,
                queue=queue,
                priority=priority,
                on_missed=on_missed,
                max_catch_up=max_catch_up,
                overlap=overlap,
                run_on_start=run_on_start,
                jitter=jitter,
                start_at=start_at,
                enabled=enabled,
                expect_success_within=expect_success_within,
            )
        except (ValueError, TypeError) as error:
            raise type(error)(f"{job.place}: @periodic: {error}") from error
        declared.add(declaration)
        return job

    return decorate


def span(value: Any, name: str) -> timedelta:
    """A span that may be given in seconds. Raises :class:`ValueError` naming the option."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_short = is_number and abs(value) <= LONGEST_SPAN.total_seconds()
    found: Any = timedelta(seconds=value) if is_short else value
    if not isinstance(found, timedelta) or not timedelta(0) < found <= LONGEST_SPAN:
        raise ValueError(f"{name} must be a timedelta or seconds above 0, at most ten years, got {value!r}")
    return found


def _is_reloaded(known: Declaration, new: Declaration) -> bool:
    """By place and kind: a function that makes jobs makes all of them at one place."""
    return known.job is not new.job and _identity(known) == _identity(new)


def _identity(declaration: Declaration) -> tuple[str, str]:
    job = declaration.job
    return declaration.place, job.kind if isinstance(job, Definition) else job


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
