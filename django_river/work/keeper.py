"""What a client owes the others, and itself: a heartbeat, the state of its queues, cancels, its lease."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django_river.service import Backoff, Service, trouble_text
from django_river.storage.base import Storage

logger = logging.getLogger(__name__)


#: Duties come so many seconds early, but no more than a part of their pause, if another one is due: to wake up costs more than
#: most of them.
EARLY_SECONDS = 0.1
EARLY_PART = 0.2


@dataclass(slots=True)
class Duty:
    """Something to do again and again; ``run`` answers in how many seconds."""

    name: str
    run: Callable[[], float]
    #: Whether it goes before all others that are due.
    is_urgent: bool = False
    due_at: float = 0.0
    #: From when on it may be done if we are awake anyway.
    ready_at: float = 0.0
    #: Set by whoever wants it done now, from any thread.
    is_hurried: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    #: What failed last; none while it works.
    error: Exception | None = None

    def is_due(self, now: float) -> bool:
        """Whether it is to be done now."""
        return self.is_hurried or self.ready_at <= now

    def rest(self, pause: float) -> None:
        """It is to be done in so many seconds."""
        self.due_at = time.monotonic() + pause
        self.ready_at = self.due_at - min(EARLY_SECONDS, EARLY_PART * pause)

    @property
    def rank(self) -> tuple[bool, float]:
        """Of several that are due, the lowest goes first: an urgent one, then the one that has waited longest."""
        return not self.is_urgent, self.due_at

    @property
    def trouble(self) -> str:
        """As a service has it, with the name of the duty."""
        text = trouble_text(self.error, self.backoff.failures)
        return text and f"{self.name} {text}"


class Keeper(Service):
    """One thread and one connection for several small duties, each at its own time.

    A duty that fails is tried again after a growing pause of its own; it keeps no other from its turn.
    """

    def __init__(self, *, storage: Storage) -> None:
        super().__init__("keeper")
        self.storage = storage

        self._duties: dict[str, Duty] = {}

    def add(
        self, name: str, run: Callable[[], float], *, is_urgent: bool = False, after: float = 0.0
    ) -> None:
        """Take on a duty; before the start only. An urgent one waits for one statement of another duty at most.

        It is done for the first time ``after`` so many seconds: what has just been done need not be done again.
        """
        duty = self._duties[name] = Duty(name, run, is_urgent)
        duty.rest(after)

    def hurry(self, *names: str) -> None:
        """Do these duties now; from any thread."""
        for name in names:
            self._duties[name].is_hurried = True
        self.wake()

    def step(self) -> float:
        now = time.monotonic()
        due = [duty for duty in self._duties.values() if duty.is_due(now)]
        if due:
            self._do(min(due, key=lambda duty: duty.rank))
            return 0.0
        return max(0.0, min(duty.due_at for duty in self._duties.values()) - now)

    def cleanup(self) -> None:
        self.storage.close()

    @property
    def trouble(self) -> str:
        troubles = [super().trouble, *(duty.trouble for duty in self._duties.values())]
        return "; ".join(filter(None, troubles))

    def _do(self, duty: Duty) -> None:
        # Before it runs: who hurries it meanwhile must not be forgotten.
        duty.is_hurried = False
        try:
            pause = duty.run()
        except Exception as error:
            pause = duty.backoff.next()
            duty.error = error
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
                duty.error = None
        duty.rest(pause)
