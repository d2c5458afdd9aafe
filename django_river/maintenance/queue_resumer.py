"""Resumes queues that were paused until a moment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

from django_river.maintenance.chore import Chore
from django_river.storage.base import Storage
from django_river.storage.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: How often to look, in seconds.
INTERVAL = 0.5


class QueueResumer(Chore):
    """Looks whether a pause is over."""

    def __init__(
        self, *, upkeep: Upkeep, lock: Lock, storage: Storage, on_resume: Callable[[], None]
    ) -> None:
        super().__init__("queue-resumer", upkeep=upkeep, lock=lock)
        #: On the session of ``upkeep``.
        self.storage = storage
        self.on_resume = on_resume

    def run_once(self) -> float:
        """Resume what is to be resumed by now."""
        if self.storage.queue_resume_is_due():
            names = self.upkeep.in_term(self.storage.queue_resume_due) or ()
            if names:
                logger.info("resumed by the clock: %s", ", ".join(names))
                self.on_resume()
        return INTERVAL
