"""Claimed jobs, attempts and definitions, without a database."""

from __future__ import annotations

import itertools
from typing import Any

from django_river.conf import Config
from django_river.jobs.definition import Definition, JobOptions
from django_river.jobs.registry import Registry
from django_river.storage.base import ClaimedJob
from django_river.work.attempts import Attempt
from django_river.work.executor import Executor
from django_river.work.producer import Producer

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
