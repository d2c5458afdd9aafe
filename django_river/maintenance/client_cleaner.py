"""Deletes the rows of clients that are long gone: those that were killed, and could not do it themselves."""

from __future__ import annotations

import logging
from datetime import timedelta
from threading import Lock

from django_river.maintenance.chore import Chore
from django_river.storage.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: Long enough for somebody to see in the admin what has happened.
KEPT_FOR = timedelta(hours=24)
INTERVAL = 600.0


class ClientCleaner(Chore):
    """A client that comes back after so long makes its row anew with its next heartbeat."""

    def __init__(self, *, upkeep: Upkeep, lock: Lock, client_timeout: float) -> None:
        super().__init__("client-cleaner", upkeep=upkeep, lock=lock)
        self.gone_for = max(KEPT_FOR, timedelta(seconds=2 * client_timeout))

    def run_once(self) -> float:
        """Delete a batch."""
        limit = self.batch.size
        with self.batch.timed():
            gone = self.upkeep.client_clean(gone_for=self.gone_for, limit=limit)
            self.batch.taken = len(gone)
        for id in gone:
            logger.info("client %s has not been heard of for a day: its row is deleted", id)
        return 0.0 if len(gone) >= limit else INTERVAL
