"""What people look at: bounded reads of the job tables. No part of the machinery, and nothing here writes.

Every figure costs what its index costs, however many jobs are over: counts stop at a limit and then mean "at least".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

from django_river.histogram import Histogram, decoded
from django_river.storage.base import Session

#: Available jobs of one queue are counted up to this.
AVAILABLE_LIMIT = 10_000
#: Scheduled and retryable jobs of all queues together are counted up to this.
LATER_LIMIT = 100_000


class TooSlow(Exception):
    """A read took longer than :meth:`Overview.time_limit` allows, and was stopped."""


class QueueDepth(NamedTuple):
    """How much waits in a queue, and for how long."""

    name: str
    #: At least so many, if it is :data:`AVAILABLE_LIMIT`.
    available: int
    running: int
    #: Scheduled or retryable.
    later: int
    #: Whether ``later`` was counted to the end.
    later_is_exact: bool
    #: For how long the oldest available job has been due.
    waiting_seconds: float | None
    #: What ``later`` consists of.
    scheduled: int = 0
    retryable: int = 0


class QueueMinutes(NamedTuple):
    """What all clients saw of a queue over some minutes; spans as :mod:`django_river.histogram` counts them."""

    queue: str
    completed: int
    failed: int
    waits: Histogram
    runs: Histogram


class Overview(ABC):
    """Reads for people, on Django's connection of the calling thread."""

    statements: ClassVar[Any]

    def __init__(self, session: Session, using: str) -> None:
        self.session = session
        self.using = using

    @abstractmethod
    def time_limit(self, seconds: float) -> AbstractContextManager[None]:
        """Stop what takes longer, statement by statement, and raise :class:`TooSlow`."""

    @abstractmethod
    def job_estimate(self) -> int | None:
        """About how many jobs there are by the database's own statistics, if it has any."""

    @abstractmethod
    def queue_depths(
        self, names: Sequence[str], *, available_limit: int | None = None
    ) -> dict[str, QueueDepth]:
        """How full these queues are; available jobs are counted up to a limit (:data:`AVAILABLE_LIMIT`)."""

    @abstractmethod
    def queue_minute_rows(
        self, since: timedelta, names: Sequence[str] | None = None
    ) -> list[tuple[Any, ...]]:
        """What clients wrote down of queues: queue, completed, failed, and two histograms as JSON."""

    def queue_minutes(self, since: timedelta, names: Sequence[str] | None = None) -> dict[str, QueueMinutes]:
        """What clients saw of these queues, or of all, in the minutes that began within this span."""
        completed: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        waits: defaultdict[str, Histogram] = defaultdict(Counter)
        runs: defaultdict[str, Histogram] = defaultdict(Counter)
        # A row for each queue, client and minute: there may be ten thousands.
        for queue, more_completed, more_failed, more_waits, more_runs in self.queue_minute_rows(since, names):
            completed[queue] += more_completed
            failed[queue] += more_failed
            waits[queue].update(decoded(more_waits))
            runs[queue].update(decoded(more_runs))
        return {
            queue: QueueMinutes(queue, completed[queue], failed[queue], waits[queue], runs[queue])
            for queue in completed
        }

    def client_loads(self) -> dict[str, int]:
        """How many jobs each client is running, by its id."""
        return {id: count for id, count in self._run("client_loads") if id is not None}

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        return self.session.execute(self.statements[statement], params)
