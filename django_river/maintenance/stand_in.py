"""Lets jobs go on while nobody leads: retries and scheduled jobs must not stop for long."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from django_river.maintenance.batch_size import BatchSize
from django_river.storage.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: No term may have been in force for so many seconds.
VACANT_SECONDS = 10.0
#: How often to look whether somebody leads; and, while nobody does, for jobs that are due.
LOOK_SECONDS = 5.0
MOVE_SECONDS = 1.0


class StandIn:
    """Makes due jobs of this client's own queues available, in nobody's name. Used by one thread, the keeper's.

    Two clients that do so at once share the work: each skips the rows of the other. The statement itself looks once more
    whether a term is in force.
    """

    def __init__(
        self,
        *,
        upkeep: Upkeep,
        queues: Callable[[], Collection[str]],
        on_available: Callable[[Collection[str]], None],
        is_led: Callable[[], bool] = lambda: False,
    ) -> None:
        self.upkeep = upkeep
        self.queues = queues
        self.on_available = on_available
        #: Whether we know without asking that somebody leads: a candidate looks at the lease all the time.
        self.is_led = is_led

        self.batch = BatchSize()
        self.is_needed = False
        # When we last knew that somebody leads.
        self._led_at = time.monotonic()

    def attempt(self) -> float:
        """Look whether we are needed, and move a batch if so; answer in how many seconds to look again."""
        if self.is_led():
            self._led_at, self.is_needed = time.monotonic(), False
            return LOOK_SECONDS
        lease = self.upkeep.leader_lease()
        if lease is not None and lease > 0:
            self._led_at = time.monotonic()
        # A lease that ran out says when it did, also to a client that has just started.
        vacant_for = max(time.monotonic() - self._led_at, 0.0 if lease is None else -lease)
        if vacant_for < VACANT_SECONDS:
            self.is_needed = False
            return min(LOOK_SECONDS, VACANT_SECONDS - vacant_for)
        if not self.is_needed:
            logger.warning("nobody has led for %.0f s: due jobs of our own queues go on", vacant_for)
            self.is_needed = True
        return self._move()

    def _move(self) -> float:
        limit = self.batch.size
        with self.batch.timed():
            moved = self.upkeep.job_schedule_vacant(sorted(self.queues()), limit)
            self.batch.taken = sum(count for _, count in moved)
        if moved:
            self.on_available([queue for queue, _ in moved])
        return 0.0 if self.batch.taken >= limit else MOVE_SECONDS
