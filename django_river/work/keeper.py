"""What a client owes the others, and itself: a heartbeat, the state of its queues, cancels, its lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django_river.service import Backoff, Service
from django_river.storage.base import Storage


@dataclass(slots=True)
class Duty:
    """Something to do again and again; ``run`` answers in how many seconds."""

    name: str
    run: Callable[[], float]
    due_at: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)


class Keeper(Service):
    """One thread and one connection for several small duties, each at its own time.

    A duty that fails does not keep the others from their turn.
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
            self._duties[name].due_at = 0.0
        self.wake()

    def step(self) -> float:
        failed: list[Exception] = []
        for duty in self._duties.values():
            now = time.monotonic()
            if duty.due_at > now or self.is_stopping:
                continue
            # Before it runs: who hurries it meanwhile must not be forgotten.
            duty.due_at = now + 60.0
            try:
                pause = duty.run()
                duty.backoff.reset()
            except Exception as error:
                failed.append(error)
                pause = duty.backoff.next()
            if duty.due_at != 0.0:
                duty.due_at = time.monotonic() + pause
        if failed:
            raise failed[0]
        return max(0.0, min(duty.due_at for duty in self._duties.values()) - time.monotonic())

    def cleanup(self) -> None:
        self.storage.close()
