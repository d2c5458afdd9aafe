"""Makes scheduled and retryable jobs available when they are due."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock

from django_river.service import Service
from django_river.storage.base import Storage

#: Jobs moved in one statement.
BATCH = 1000
#: A job that is scheduled while we wait for a later one is found after this many seconds at most.
LONGEST_WAIT = 1.0
#: Our clock and the database's may tick a little apart.
SHORTEST_WAIT = 0.005
#: What is due and cannot be moved is held by somebody's transaction.
FRUITLESS_WAIT = 0.1


class JobScheduler(Service):
    """Wakes when the next job is due, not by a fixed scan."""

    def __init__(
        self, *, storage: Storage, lock: Lock, on_available: Callable[[Collection[str]], None]
    ) -> None:
        super().__init__("job-scheduler")
        self.storage = storage
        self.lock = lock
        self.on_available = on_available

    def step(self) -> float:
        with self.lock:
            return self.run_once()

    def run_once(self) -> float:
        """Move what is due; answer in how many seconds more will be."""
        due_in = self.storage.job_seconds_until_due()
        if due_in is None or due_in > 0:
            return LONGEST_WAIT if due_in is None else min(LONGEST_WAIT, max(SHORTEST_WAIT, due_in))
        moved = self.storage.job_schedule(BATCH)
        if moved:
            self.on_available([queue for queue, _ in moved])
        return 0.0 if moved else FRUITLESS_WAIT
