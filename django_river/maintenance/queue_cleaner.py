"""Deletes the rows of queues that nobody uses any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from datetime import timedelta
from threading import Lock

from django.db import DatabaseError

from django_river.maintenance.chore import REST, Chore
from django_river.storage.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: Clients touch the rows of their queues every ten minutes.
UNTOUCHED_FOR = timedelta(hours=24)
INTERVAL = 3600.0


class QueueCleaner(Chore):
    """Never one with a job, a pause, metadata, settings of its own, or a name that the settings have.

    That a queue has no job of any state can only be said by looking at all jobs: page by page, without haste, and only
    if there is a queue that nothing else speaks for.
    """

    def __init__(self, *, upkeep: Upkeep, lock: Lock, keep: Collection[str]) -> None:
        super().__init__("queue-cleaner", upkeep=upkeep, lock=lock)
        self.keep = keep

        # The queues that may be idle, and the last job that we have looked at.
        self._idle: set[str] = set()
        self._after = 0

    def run_once(self) -> float:
        """Look for idle queues, or for their jobs on one page; delete what is idle when the last page has been seen."""
        if not self._idle:
            self._after = 0
            names = self.upkeep.queue_idle(untouched_for=UNTOUCHED_FOR, keep=self.keep, limit=self.batch.size)
            self._idle = set(names)
            return 0.0 if names else INTERVAL
        began = time.monotonic()
        try:
            with self.batch.timed():
                page = self.upkeep.queue_search(sorted(self._idle), after=self._after, limit=self.batch.size)
                self.batch.taken = self.batch.size if page.last_id is not None else 0
        except DatabaseError as error:
            # Not to be tried again at once: the search may be too much for this database just now.
            logger.warning("whether idle queues have jobs could not be found out: %s", error)
            self._idle = set()
            return INTERVAL
        self._idle.difference_update(page.found)
        if page.last_id is None:
            self._clean()
        if not self._idle or page.last_id is None:
            self._idle = set()
            return INTERVAL
        self._after = page.last_id
        return (time.monotonic() - began) * REST

    def _clean(self) -> None:
        for name in self.upkeep.queue_clean(sorted(self._idle), untouched_for=UNTOUCHED_FOR):
            logger.info("queue %s has had neither workers nor jobs for a day: its row is deleted", name)
