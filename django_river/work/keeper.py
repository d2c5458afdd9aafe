"""What a client owes the others, and itself: a heartbeat, the state of its queues, cancels, its lease."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django_river.service import Backoff, Service
from django_river.storage.base import Storage

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Duty:
    """Something to do again and again; ``run`` answers in how many seconds."""

    name: str
    run: Callable[[], float]
    due_at: float = 0.0
    #: Set by whoever wants it done now, from any thread.
    is_hurried: bool = False
    backoff: Backoff = field(default_factory=Backoff)


class Keeper(Service):
    """One thread and one connection for several small duties, each at its own time.

    A duty that fails is tried again after a growing pause of its own; it keeps no other from its turn.
    """

    def __init__(self, *, storage: Storage) -> None:
        super().__init__("keeper")
        self.storage = storage

        self._duties: dict[str, Duty] = {}

    def add(self, name: str, run: Callable[[], float]) -> None:
        """Take on a duty; before the start only."""
        self._duties[name] = Duty(name, run)

    def hurry(self, *names: str) -> None:
        """Do these duties now; from any thread."""
        for name in names:
            self._duties[name].is_hurried = True
        self.wake()

    def step(self) -> float:
        for duty in self._duties.values():
            if self.is_stopping:
                break
            if duty.is_hurried or duty.due_at <= time.monotonic():
                self._do(duty)
        if any(duty.is_hurried for duty in self._duties.values()):
            return 0.0
        return max(0.0, min(duty.due_at for duty in self._duties.values()) - time.monotonic())

    def cleanup(self) -> None:
        self.storage.close()

    def _do(self, duty: Duty) -> None:
        # Before it runs: who hurries it meanwhile must not be forgotten.
        duty.is_hurried = False
        try:
            pause = duty.run()
        except Exception as error:
            pause = duty.backoff.next()
            first = duty.backoff.failures == 1
            logger.warning(
                "%s: %s failed, trying again in %.1f s: %s",
                self.name,
                duty.name,
                pause,
                error,
                exc_info=first or None,
            )
        else:
            if duty.backoff.failures:
                logger.info(
                    "%s: %s works again after %d failures", self.name, duty.name, duty.backoff.failures
                )
                duty.backoff.reset()
        duty.due_at = time.monotonic() + pause
