"""How many workers a queue should have, by what waits and for how long. Pure: no clock of its own, no database.

Up at once, and by doubling, for jobs wait meanwhile. Down only after a while of rest, and a quarter at a time, so that a
queue whose load comes in waves keeps what the next wave needs.
"""

from __future__ import annotations

import math

from django_river.queue_options import Autoscale

#: How often to decide, in seconds.
INTERVAL = 0.5
#: So many seconds must a smaller number have been enough.
REST_SECONDS = 10.0


class Autoscaler:
    """Decides for one queue on one client."""

    def __init__(self, rule: Autoscale, *, workers: int = 0) -> None:
        self.rule = rule
        self.workers = max(rule.minimum, min(rule.maximum, workers))

        self._busiest = 0
        self._rest_since: float | None = None

    def decide(self, now: float, *, running: int, available: int, waiting_seconds: float) -> int:
        """The number from now on; ``now`` is monotonic, ``waiting_seconds`` the longest wait there is."""
        if available and waiting_seconds >= self.rule.target_latency / 2:
            self._rest_since = None
            # So late, so many times as many; but no more than there are jobs.
            factor = max(2.0, min(8.0, waiting_seconds / self.rule.target_latency))
            return self._set(min(math.ceil(self.workers * factor), running + available))
        if available or running >= self.workers:
            # As many as are needed.
            self._rest_since = None
        elif self._rest_since is None:
            self._rest_since, self._busiest = now, running
        else:
            self._busiest = max(self._busiest, running)
            if now - self._rest_since >= REST_SECONDS:
                self._rest_since = None
                return self._set(max(self._busiest, math.floor(self.workers * 0.75)), is_less=True)
        return self.workers

    def _set(self, workers: int, *, is_less: bool = False) -> int:
        if not is_less:
            workers = max(workers, self.workers)
        self.workers = max(self.rule.minimum, min(self.rule.maximum, workers))
        return self.workers
