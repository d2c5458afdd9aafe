"""Takes a sample of how long jobs take, for those who judge by it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock

from django_river.chance import chance
from django_river.jobs.states import State
from django_river.storage.base import JobSetState, Storage
from django_river.storage.long_jobs import RunTime
from django_river.work.attempts import Attempt

#: Of a batch of results so many are looked at: thousands a second would tell no more.
LOOKED_AT = 16
#: How often the sample is stored, in seconds; and how many of a kind each time.
STORE_SECONDS = 60.0
OF_A_KIND = 4


class RunTimes:
    """A fair sample of each kind's attempts that went well, a few for each minute."""

    def __init__(self, *, storage: Storage) -> None:
        self.storage = storage

        # Guarded by the lock: how many of each kind have been seen, and those that were kept.
        self._lock = Lock()
        self._seen: dict[str, int] = {}
        self._kept: dict[str, list[float]] = {}

    def note(self, results: Sequence[tuple[Attempt, JobSetState]]) -> None:
        """Look at some of these results, which have just been stored."""
        now = time.monotonic()
        with self._lock:
            for attempt, change in results[:: max(1, len(results) // LOOKED_AT)]:
                if change.state is State.COMPLETED and attempt.context is not None:
                    self._keep(attempt.job.kind, now - attempt.context.began_at)

    def store(self) -> float:
        """Store the sample; in how many seconds to do so again."""
        with self._lock:
            kept, self._kept, self._seen = self._kept, {}, {}
        run_times = [RunTime(kind, seconds) for kind, some in kept.items() for seconds in some]
        if run_times:
            self.storage.run_time_add(run_times)
        return STORE_SECONDS

    def _keep(self, kind: str, seconds: float) -> None:
        """Each has the same chance to be among the few that are kept."""
        seen = self._seen[kind] = self._seen.get(kind, 0) + 1
        kept = self._kept.setdefault(kind, [])
        if len(kept) < OF_A_KIND:
            kept.append(seconds)
        elif (place := int(chance.uniform(0, seen))) < OF_A_KIND:
            kept[place] = seconds
