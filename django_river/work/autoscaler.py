"""How many workers a queue should have, by what waits and for how long. Pure: no clock of its own, no database.

Up at once, and by doubling, for jobs wait meanwhile. Down only after a while of rest, and a quarter at a time, so that a
queue whose load comes in waves keeps what the next wave needs. When less turns out to be too little, the next rest has to
be twice as long: where the right number lies between two, it is tried ever more seldom.
"""

from __future__ import annotations

import math

from django_river.queue_options import Autoscale

#: How often to decide, in seconds.
INTERVAL = 0.5
#: So many seconds must a smaller number have been enough; and at most so many, after it has been too small.
REST_SECONDS = 10.0
LONGEST_REST_SECONDS = 120.0
#: Parts of the target: who waits for longer than the first wants more, for longer than the second all that there are.
LATE, BUSY = 1 / 2, 1 / 8


class Autoscaler:
    """Decides for one queue on one client, or for the processes of a supervisor."""

    def __init__(self, rule: Autoscale, *, workers: int = 0) -> None:
        self.rule = rule
        self.workers = max(rule.minimum, min(rule.maximum, workers))

        self._busiest = 0
        self._rest_since: float | None = None
        self._rest_seconds = REST_SECONDS
        # When there have last been fewer, unless they have turned out to be too few.
        self._shrunk_at: float | None = None

    def decide(self, now: float, *, running: int, available: int, waiting_seconds: float) -> int:
        """The number from now on; ``now`` is monotonic, ``waiting_seconds`` the longest wait there is."""
        lateness = waiting_seconds / self.rule.target_latency if available else 0.0
        if lateness >= LATE:
            self._rest_since = None
            self._doubt(now)
            # So late, so many times as many; but no more than there are jobs.
            factor = max(2.0, min(8.0, lateness))
            wanted = min(math.ceil(self.workers * factor), running + available)
            return self._set(max(wanted, self.workers))
        if lateness >= BUSY or running >= self.workers:
            # As many as are needed.
            self._rest_since = None
        elif self._rest_since is None:
            self._rest_since, self._busiest = now, running
        else:
            self._busiest = max(self._busiest, running)
            if now - self._rest_since >= self._rest_seconds:
                return self._shrink(now)
        return self.workers

    def _shrink(self, now: float) -> int:
        self._rest_since = None
        if self.workers == self.rule.minimum:
            # Whatever load there was is over, and what was learnt of it.
            self._rest_seconds = REST_SECONDS
            return self.workers
        self._shrunk_at = now
        return self._set(max(self._busiest, math.floor(self.workers * 0.75)))

    def _doubt(self, now: float) -> None:
        """More are wanted: if that comes soon after there have been fewer, those were too few."""
        if self._shrunk_at is not None and now - self._shrunk_at < self._rest_seconds:
            self._rest_seconds = min(LONGEST_REST_SECONDS, 2 * self._rest_seconds)
        self._shrunk_at = None

    def _set(self, workers: int) -> int:
        self.workers = max(self.rule.minimum, min(self.rule.maximum, workers))
        return self.workers
