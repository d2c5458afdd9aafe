"""Brings removals of queues to their end, and looks after what comes late."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta
from threading import Lock

from django_river.queue_removal import clear, settle
from django_river.service import Service
from django_river.storage.base import Storage
from django_river.storage.queues import Removal

logger = logging.getLogger(__name__)

#: How often to look, in seconds.
INTERVAL = 1.0
#: For so long after its end a removed queue is looked after: longer than transactions that enqueue last.
KEPT_FOR = timedelta(hours=1)


class QueueRemover(Service):
    """Moves, deletes or waits for what is left in queues that are being removed, and forgets them in the end.

    Queues that the settings name are kept as removed, or they would be back.
    """

    def __init__(self, *, storage: Storage, lock: Lock, named: Collection[str]) -> None:
        super().__init__("queue-remover")
        self.storage = storage
        self.lock = lock
        self.named = sorted(named)

    def step(self) -> float:
        with self.lock:
            if not self.is_stopping:
                self.run_once()
        return INTERVAL

    def cleanup(self) -> None:
        # Another one may still need it, and opens it again.
        with self.lock:
            self.storage.close()

    def run_once(self) -> int:
        """Look after every removal; how many jobs were moved or deleted."""
        done = 0
        for row in self.storage.queue_row_list():
            if row.removal:
                count = clear(self.storage, row.name, Removal(row.removal), to=row.moved_to)
                if count:
                    logger.info("queue %s is being removed: %s of %d jobs", row.name, row.removal, count)
                done += count
                settle(self.storage, row.name)
        self.storage.queue_row_prune(self.named, KEPT_FOR)
        return done
