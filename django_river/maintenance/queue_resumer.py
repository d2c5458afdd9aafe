"""Resumes queues that were paused until a moment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

from django_river.service import Service
from django_river.storage.base import Storage

logger = logging.getLogger(__name__)

#: How often to look, in seconds.
INTERVAL = 0.5


class QueueResumer(Service):
    """Looks whether a pause is over."""

    def __init__(self, *, storage: Storage, lock: Lock, on_resume: Callable[[], None]) -> None:
        super().__init__("queue-resumer")
        self.storage = storage
        self.lock = lock
        self.on_resume = on_resume

    def step(self) -> float:
        with self.lock:
            if not self.is_stopping:
                self.run_once()
        return INTERVAL

    def cleanup(self) -> None:
        # Another one may still need it, and opens it again.
        with self.lock:
            self.storage.close()

    def run_once(self) -> list[str]:
        """Resume what is to be resumed by now; the queues."""
        names = self.storage.queue_resume_due()
        if names:
            logger.info("resumed by the clock: %s", ", ".join(names))
            self.on_resume()
        return names
