"""Makes scheduled and retryable jobs available when they are due."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from threading import Lock

from django_river.maintenance.chore import Chore
from django_river.storage.upkeep import Upkeep

#: A job that is scheduled while we wait for a later one is found after this many seconds at most …
LONGEST_WAIT = 1.0
#: … or these, while others look for us every second …
LONGEST_WAIT_IF_TOLD = 1.25
#: … and after this many, for a minute, once a job has come that was due before we looked again.
ATTENTIVE_WAIT = 0.025
ATTENTIVE_SECONDS = 60.0
#: Our clock and the database's may tick a little apart.
SHORTEST_WAIT = 0.005
#: What is due and cannot be moved is held by somebody's transaction.
FRUITLESS_WAIT = 0.1


class JobScheduler(Chore):
    """Wakes when the next job is due, not by a fixed scan. On a connection with those only whose batches are short."""

    def __init__(
        self, *, upkeep: Upkeep, lock: Lock, on_available: Callable[[Collection[str]], None]
    ) -> None:
        super().__init__("job-scheduler", upkeep=upkeep, lock=lock)
        self.on_available = on_available

        # Whether we were waiting: then what is late now was asked for at short notice.
        self._is_waiting = False
        self._attentive_until = 0.0
        # What we were told last is enough to go by until then.
        self._informed_until = 0.0

    def hear(self, due_in: float | None) -> None:
        """Somebody has seen in how many seconds the next job is due, ``None`` without any. Called under our lock."""
        self._informed_until = time.monotonic() + self._wait(due_in, LONGEST_WAIT_IF_TOLD)
        if due_in is not None and due_in < LONGEST_WAIT:
            self.wake()

    def step(self) -> float:
        left = self._informed_until - time.monotonic()
        return left if left > 0 else super().step()

    def run_once(self) -> float:
        """Move what is due; answer in how many seconds more will be."""
        due_in = self.upkeep.job_seconds_until_due()
        now = time.monotonic()
        if due_in is None or due_in > 0:
            self._is_waiting = True
            return self._wait(due_in, LONGEST_WAIT)
        if self._is_waiting and due_in < -ATTENTIVE_WAIT:
            self._attentive_until = now + ATTENTIVE_SECONDS
        self._is_waiting = False
        return 0.0 if self._move() else FRUITLESS_WAIT

    def _wait(self, due_in: float | None, longest: float) -> float:
        if time.monotonic() < self._attentive_until:
            longest = ATTENTIVE_WAIT
        return longest if due_in is None else min(longest, max(SHORTEST_WAIT, due_in))

    def _move(self) -> bool:
        with self.batch.timed():
            moved = self.upkeep.job_schedule(self.batch.size)
            self.batch.taken = sum(count for _, count in moved)
        if moved:
            self.on_available([queue for queue, _ in moved])
        return bool(moved)
