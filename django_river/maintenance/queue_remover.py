"""Brings removals of queues to their end, and looks after what comes late."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from datetime import timedelta
from threading import Lock

from django_river.maintenance.chore import REST, Chore
from django_river.queue_removal import clear_batch
from django_river.storage.base import Storage
from django_river.storage.queues import QueueRow
from django_river.storage.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: How often to look, in seconds.
INTERVAL = 1.0
#: For so long after its end a removed queue is looked after: longer than transactions that enqueue last.
KEPT_FOR = timedelta(hours=1)
#: How often to look for those that are over for so long, in seconds.
PRUNE_SECONDS = 60.0


class QueueRemover(Chore):
    """Moves, deletes or waits for what is left in queues that are being removed, and forgets them in the end.

    Queues that the settings name are kept as removed, or they would be back.
    """

    def __init__(
        self,
        *,
        upkeep: Upkeep,
        lock: Lock,
        storage: Storage,
        named: Collection[str],
        is_needed: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__("queue-remover", upkeep=upkeep, lock=lock)
        #: On the session of ``upkeep``.
        self.storage = storage
        self.named = sorted(named)
        #: Whether any row says that its queue is being removed, or was: the client follows the rows anyway.
        self.is_needed = is_needed

        self._prune_at = float("-inf")

    def run_once(self) -> float:
        """Look after every removal, and clear a batch of each."""
        if not self.is_needed():
            return INTERVAL
        began = time.monotonic()
        closing = [row for row in self.storage.queue_row_list() if row.removal]
        if not closing:
            return INTERVAL
        filled = self.storage.queue_open([row.name for row in closing])
        # All of them: a queue with much to move keeps no other from its turn.
        cleared = [self._clear(row) for row in closing if row.name in filled]
        for row in closing:
            if row.is_removed is (row.name in filled):
                self._settle(row.name, is_removed=not row.is_removed)
        self._prune(closing)
        return 0.0 if any(cleared) else max(INTERVAL, (time.monotonic() - began) * REST)

    def _clear(self, row: QueueRow) -> int:
        count = self.upkeep.in_term(lambda: clear_batch(self.storage, row)) or 0
        if count:
            logger.info("queue %s is being removed: %s of %d jobs", row.name, row.removal, count)
        return count

    def _settle(self, name: str, *, is_removed: bool) -> None:
        self.upkeep.in_term(lambda: self.storage.queue_row_set_removed(name, is_removed=is_removed))

    def _prune(self, closing: Collection[QueueRow]) -> None:
        may_go = any(row.is_removed and row.name not in self.named for row in closing)
        if may_go and time.monotonic() >= self._prune_at:
            self.upkeep.in_term(lambda: self.storage.queue_row_prune(self.named, KEPT_FOR))
            self._prune_at = time.monotonic() + PRUNE_SECONDS
