"""Resumes queues that were paused until a moment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

from django_river.maintenance.chore import Chore
from django_river.storage.base import Storage
from django_river.storage.upkeep import Upkeep

logger = logging.getLogger(__name__)

NAME = "queue-resumer"
#: How often to look whether there is a pause that ends, in seconds: where nobody tells us of one, and where somebody does.
INTERVAL = 0.5
INTERVAL_IF_TOLD = 30.0
#: Before what should have been resumed is looked at again, in seconds.
AGAIN_SECONDS = 0.5


class QueueResumer(Chore):
    """Waits for the next pause to be over. Woken when something was said of queues."""

    def __init__(
        self,
        *,
        upkeep: Upkeep,
        lock: Lock,
        storage: Storage,
        on_resume: Callable[[], None],
        is_told: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(NAME, upkeep=upkeep, lock=lock)
        #: On the session of ``upkeep``.
        self.storage = storage
        self.on_resume = on_resume
        self.is_told = is_told

    def run_once(self) -> float:
        """Resume what is to be resumed by now; in how many seconds to look again."""
        left = self.storage.queue_seconds_until_resume()
        if left is None or left > 0:
            longest = INTERVAL_IF_TOLD if self.is_told() else INTERVAL
            return longest if left is None else min(left, longest)
        names = self.upkeep.in_term(self.storage.queue_resume_due) or ()
        if not names:
            # It was not paused any more, or our clock is ahead.
            return AGAIN_SECONDS
        logger.info("resumed by the clock: %s", ", ".join(names))
        self.on_resume()
        return 0.0
