"""Claimed jobs, attempts and definitions, with and without a database."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from django_river.conf import Config
from django_river.jobs.definition import Definition, JobOptions
from django_river.jobs.registry import Registry
from django_river.storage.base import ClaimedJob, Demand, Storage
from django_river.work.attempts import Attempt
from django_river.work.executor import Executor
from django_river.work.fetcher import Fetcher
from django_river.work.producer import Producer
from tests.factories import JobFactory

_ids = itertools.count(1)


def claimed(**given: Any) -> ClaimedJob:
    """A job as a fetch brings it."""
    values = {
        "id": next(_ids), "kind": "test", "queue": "default", "priority": 1, "attempt": 1, "max_attempts": 25,
        "errors": 0, "args": b"{}", "metadata": b"{}",
    }  # fmt: skip
    return ClaimedJob(**values | given)


def attempt_at(producer: Producer | None = None, **given: Any) -> Attempt:
    """An attempt, not begun."""
    return Attempt(claimed(**given), producer or Producer("default", max_workers=10))


def registry_of(**functions: Any) -> Registry:
    """A registry of its own: kind=function, or kind=(function, options)."""
    registry = Registry()
    for kind, given in functions.items():
        function, options = given if isinstance(given, tuple) else (given, {})
        registry.add(Definition(function, kind=kind, options=JobOptions(**options)))
    return registry


def believe_in_speed(fetcher: Fetcher) -> None:
    """Make it claim ahead of time, as if its jobs were over within a millisecond, whatever they take."""
    for rate in (fetcher.room._rate, *(producer._rate for producer in fetcher.producers.values())):
        rate.per_second, rate._measured_at = 1000.0, float("inf")


class Settled(list[Any]):
    """Takes attempts' outcomes as the workers do: each attempt's first one only."""

    def __call__(self, attempt: Attempt, outcome: Any) -> bool:
        if not attempt.take():
            return False
        self.append((attempt, outcome))
        return True

    @property
    def ids(self) -> list[int]:
        """Ids of the jobs, in the order in which they were settled."""
        return [attempt.job.id for attempt, _ in self]


def executor_of(settle: Settled, *, config: Config | None = None, **functions: Any) -> Executor:
    """An executor that knows these functions."""
    return Executor(
        client_id="me", config=config or Config(), registry=registry_of(**functions), settle=settle
    )


class Unreliable:
    """A real storage whose calls can be watched, held up, and made to fail before or after they take effect."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        #: The arguments of each call of a watched method.
        self.calls: list[tuple[Any, ...]] = []
        #: Called with the arguments before the real method, and after it; may raise.
        self.before: Callable[..., object] = lambda *args: None
        self.after: Callable[..., object] = lambda *args: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def job_set_state_many(self, *args: Any) -> Any:
        return self._call(self.storage.job_set_state_many, *args)

    def job_fetch(self, *args: Any) -> Any:
        return self._call(self.storage.job_fetch, *args)

    def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        self.calls.append(args)
        self.before(*args)
        answer = method(*args)
        self.after(*args)
        return answer


def times(count: int, error: Exception) -> Callable[..., None]:
    """Raises so many times, and then does nothing."""
    left = itertools.count(count, -1)

    def fail(*args: Any) -> None:
        if next(left) > 0:
            raise error

    return fail


def claim(storage: Storage, count: int = 1, *, client_id: str = "me", **given: Any) -> list[Attempt]:
    """Make jobs, and claim them."""
    rows = JobFactory.create_batch(count, available=True, **given)
    queue = rows[0].queue
    jobs = storage.job_fetch(client_id, [Demand(queue=queue, limit=count)], count)
    producer = Producer(queue, max_workers=count)
    return [Attempt(job, producer) for job in jobs]
