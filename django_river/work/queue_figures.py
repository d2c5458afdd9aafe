"""What this client sees of its queues: how many jobs ended how, how long they waited and ran, minute by minute.

Who ends an attempt only appends to a list, and counts what is there when it has become long; the keeper counts the rest, and
writes a row per queue that had something to tell.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django_river.histogram import Histogram, places
from django_river.jobs.states import State
from django_river.storage.base import Storage
from django_river.storage.queues import MinuteFigures
from django_river.work.attempts import Attempt
from django_river.work.outcomes import Outcome

#: So many are counted at once, before the keeper comes: to remember all of some seconds would take megabytes.
MANY_ENDS = 5000


#: How an attempt ended: its queue, whether it failed, and how long it waited and ran, in seconds. A plain tuple, for
#: there is one for every job.
End = tuple[str, bool, float, float]


@dataclass(slots=True)
class _Counts:
    completed: int = 0
    failed: int = 0
    waits: Histogram = field(default_factory=Counter)
    runs: Histogram = field(default_factory=Counter)

    def add(self, ends: Sequence[End]) -> None:
        """As a whole: there may be thousands, and what is done here the jobs' threads wait for."""
        _, failures, waited, ran = zip(*ends, strict=True)
        failed = sum(failures)
        self.failed += failed
        self.completed += len(ends) - failed
        self.waits.update(places(waited))
        self.runs.update(places(ran))

    def merge(self, other: _Counts) -> None:
        """Put another's counts to these."""
        self.completed += other.completed
        self.failed += other.failed
        self.waits.update(other.waits)
        self.runs.update(other.runs)


class QueueFigures:
    """Counts of this minute, by queue."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        #: Appended to by any thread.
        self.ends: deque[End] = deque()

        # Guarded by the lock: what has been counted since the keeper was here.
        self._lock = threading.Lock()
        self._fresh: dict[str, _Counts] = {}
        # Written by the keeper: the minute of the database's clock, what was seen in it, and of which queues that has not
        # been written.
        self._minute: datetime | None = None
        self._counts: dict[str, _Counts] = {}
        self._changed: set[str] = set()

    def note(self, attempt: Attempt, outcome: Outcome, at: float) -> None:
        """Remember an attempt that has succeeded or failed then; one that was put off or handed back tells nothing."""
        has_failed = outcome.error is not None
        if not has_failed and outcome.state is not State.COMPLETED:
            return
        job, context = attempt.job, attempt.context
        # Without a context it has failed before it began: nobody knows its kind.
        ran = 0.0 if context is None else at - context.began_at
        self.ends.append((job.queue, has_failed, job.waited, ran))
        if len(self.ends) >= MANY_ENDS:
            self._count()

    def write(self, storage: Storage) -> int:
        """Count what has ended, and write down the queues in which something has; how many queues.

        What could not be written is written the next time.
        """
        if not (self.ends or self._fresh or self._changed):
            return 0
        minute = storage.queue_minute()
        if minute != self._minute:
            self._put(storage)
            self._minute, self._counts = minute, {}
            storage.queue_minute_prune()
        self._take_fresh()
        return self._put(storage)

    def _put(self, storage: Storage) -> int:
        if self._minute is None or not self._changed:
            return 0
        rows = list(self._rows())
        storage.queue_minute_put(self._minute, self.client_id, rows)
        self._changed.clear()
        return len(rows)

    def _count(self) -> None:
        ended: defaultdict[str, list[End]] = defaultdict(list)
        with self._lock:
            for _ in range(len(self.ends)):
                end = self.ends.popleft()
                ended[end[0]].append(end)
            for queue, ends in ended.items():
                self._fresh.setdefault(queue, _Counts()).add(ends)

    def _take_fresh(self) -> None:
        self._count()
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        for queue, counts in fresh.items():
            self._counts.setdefault(queue, _Counts()).merge(counts)
        self._changed.update(fresh)

    def _rows(self) -> Iterator[MinuteFigures]:
        for queue in sorted(self._changed):
            counts = self._counts[queue]
            yield MinuteFigures(queue, counts.completed, counts.failed, counts.waits, counts.runs)
