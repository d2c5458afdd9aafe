"""Pause and resume queues, on every client at once and across restarts."""

from __future__ import annotations

from django_river import storage
from django_river.conf import config
from django_river.hints import hints
from django_river.names import queue_problem

ALL = "*"


def pause(name: str = ALL, *, using: str | None = None) -> list[str]:
    """Stop fetching from a queue, or from all as ``*``; running jobs finish.

    Returns the names of the queues that were not paused before. Raises :class:`ValueError` for what is no name.
    """
    return storage.for_caller(_alias(name, using)).queue_pause(name)


def resume(name: str = ALL, *, using: str | None = None) -> list[str]:
    """Fetch from a queue again, or from all as ``*``.

    Returns the names of the queues that were paused. Raises :class:`ValueError` for what is no name.
    """
    alias = _alias(name, using)
    names = storage.for_caller(alias).queue_resume(name)
    if names:
        hints.wake_on_commit(alias, names)
    return names


def _alias(name: str, using: str | None) -> str:
    problem = None if name == ALL else queue_problem(name)
    if problem:
        raise ValueError(problem)
    return using or config().database
