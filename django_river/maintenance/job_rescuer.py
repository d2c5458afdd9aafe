"""Makes jobs run again whose client is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from threading import Lock

from django_river.maintenance.chore import Chore
from django_river.storage.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: How often to look, in seconds, unless jobs count as lost sooner.
INTERVAL = 30.0


class JobRescuer(Chore):
    """By age: a job counts as lost when it has been running for long and its client has no living row."""

    def __init__(
        self,
        *,
        upkeep: Upkeep,
        lock: Lock,
        rescue_after: float,
        client_timeout: float,
        known_kinds: Callable[[], list[str]],
    ) -> None:
        super().__init__("job-rescuer", upkeep=upkeep, lock=lock)
        self.rescue_after = timedelta(seconds=rescue_after)
        self.client_timeout = timedelta(seconds=client_timeout)
        self.known_kinds = known_kinds
        self.interval = min(INTERVAL, rescue_after / 2)

    def run_once(self) -> float:
        """Rescue a batch."""
        limit = self.batch.size
        with self.batch.timed():
            rescued = self.upkeep.job_rescue(
                rescue_after=self.rescue_after,
                client_timeout=self.client_timeout,
                known_kinds=self.known_kinds(),
                limit=limit,
            )
            self.batch.taken = len(rescued)
        for job in rescued:
            logger.warning(
                "job %d (%s) was running on a client that is gone: %s", job.id, job.kind, job.state
            )
        return 0.0 if len(rescued) >= limit else self.interval
