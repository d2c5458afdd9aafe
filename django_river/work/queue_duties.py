"""What a client does for its queues, besides working them: follows rows and pauses, says that it works them, scales."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from threading import Lock

from django_river.storage.base import QueueState
from django_river.work.autoscaler import INTERVAL as SCALE_SECONDS
from django_river.work.keeper import Keeper
from django_river.work.queue_figures import QueueFigures
from django_river.work.queue_set import QueueSet

#: How often queue states are polled, in seconds: with notifications arriving, and without.
RECONCILE_LISTENING = 30.0
RECONCILE_POLLING = 2.0
#: How often what is said of queues is looked for: with notifications arriving, and without.
ROWS_LISTENING = 30.0
ROWS_POLLING = 1.0
#: Many changes that come one after the other are applied together, so often at most; with thousands of queues, which take
#: longer to go by, as seldom as the second says.
ROWS_SPACING = 0.1
LONGEST_ROWS_SPACING = 0.5
#: Part of the time that may be spent on it: jobs' threads wait for the interpreter meanwhile.
ROWS_SHARE = 0.1
#: Queue rows say that somebody works the queue.
TOUCH_SECONDS = 600.0
FIGURES_SECONDS = 5.0
RECONCILE, ROWS = "reconcile", "queue rows"


class QueueDuties:
    """Duties of the keeper. Pauses are also heard in the notifier's thread."""

    def __init__(
        self,
        *,
        keeper: Keeper,
        queue_set: QueueSet,
        figures: QueueFigures,
        client_id: str,
        is_listening: Callable[[], bool],
        on_change: Callable[[], object],
    ) -> None:
        self.keeper = keeper
        self.queue_set = queue_set
        self.figures = figures
        self.client_id = client_id
        self.is_listening = is_listening
        #: Called when queues have come or gone.
        self.on_change = on_change

        self._rows_applied_at = float("-inf")
        self._rows_spacing = ROWS_SPACING
        # Guards which queues are paused, and counts how often we were told.
        self._pausing = Lock()
        self._pauses_heard = 0

    def begin(self) -> None:
        """Before the first claim: go by the rows, and say that these queues are worked."""
        self._apply_rows()
        self._touch()

    def take_on(self) -> None:
        """Hand them to the keeper."""
        self.keeper.add("touch queues", self._touch, after=TOUCH_SECONDS)
        self.keeper.add(RECONCILE, self._reconcile, after=RECONCILE_POLLING)
        self.keeper.add(ROWS, self._apply_rows, after=ROWS_POLLING)
        self.keeper.add("scale queues", self._scale)
        self.keeper.add("figures", self._write_figures)

    def end(self) -> None:
        """After the last result: write down what has been counted since."""
        self._write_figures()

    def hear_pause(self, queue: str, is_paused: bool) -> None:  # noqa: FBT001  (called by the notifier)
        """A queue, or all of them, is not to be claimed from, or is again."""
        with self._pausing:
            self._pauses_heard += 1
            for name in self.queue_set.producers if queue == "*" else (queue,):
                self.queue_set.set_paused(name, is_paused=is_paused)

    def hear_change(self) -> None:
        """Something was said of some queue."""
        self.keeper.hurry(ROWS)

    def hear_resumption(self) -> None:
        """A pause may have ended."""
        self.keeper.hurry(RECONCILE)

    def hear_unknown(self, queues: Collection[str]) -> None:
        """There are jobs in queues that we do not work: they may match a pattern of the settings."""
        layers = self.queue_set.config.queue_layers
        if any(layers.has_pattern_for(name) for name in queues):
            self.keeper.hurry(ROWS)

    def _touch(self, names: Collection[str] | None = None) -> float:
        self._follow_pauses(self.keeper.storage.queue_touch, names)
        if names is None:
            self.queue_set.say_again()
        return TOUCH_SECONDS

    def _reconcile(self) -> float:
        """Find what notifications would have said of our queues."""
        self._follow_pauses(self.keeper.storage.queue_list)
        return RECONCILE_LISTENING if self.is_listening() else RECONCILE_POLLING

    def _follow_pauses(
        self, read: Callable[[Sequence[str]], Sequence[QueueState]], names: Collection[str] | None = None
    ) -> None:
        """Take over what the rows say. What we have heard while they were read is newer: then they are read again."""
        while True:
            heard = self._pauses_heard
            rows = read(sorted(self.queue_set.producers if names is None else names))
            with self._pausing:
                if heard == self._pauses_heard:
                    for row in rows:
                        self.queue_set.set_paused(row.name, is_paused=row.is_paused)
                    return

    def _apply_rows(self) -> float:
        """Find what was said of queues at run time, and which new ones have jobs; tell the others."""
        began = time.monotonic()
        soon = self._rows_applied_at + self._rows_spacing - began
        if soon > 0:
            return soon
        storage = self.keeper.storage
        changed = self.queue_set.look(storage)
        if self.queue_set.config.queue_layers.patterns:
            changed |= self.queue_set.find(storage, storage.job_queues())
        if changed:
            self._touch(changed & self.queue_set.producers.keys())
            self.on_change()
        self.queue_set.say(storage, self.client_id)
        self._rows_applied_at = time.monotonic()
        took = self._rows_applied_at - began
        self._rows_spacing = min(LONGEST_ROWS_SPACING, max(ROWS_SPACING, took / ROWS_SHARE))
        return ROWS_LISTENING if self.is_listening() else ROWS_POLLING

    def _scale(self) -> float:
        if self.queue_set.is_scaled:
            self.queue_set.scale(self.keeper.storage, now=time.monotonic())
        return SCALE_SECONDS

    def _write_figures(self) -> float:
        self.figures.write(self.keeper.storage)
        return FIGURES_SECONDS
