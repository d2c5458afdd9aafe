"""Starts the leader's services with its term, and stops them with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from django_river.service import Service
from django_river.terms import Term


class Maintainer:
    """All maintenance services of this client, made anew for each term. Used by one thread, the steward's."""

    def __init__(self, *, services: Callable[[Term], Sequence[Service]]) -> None:
        self.services = services

        self._running: Sequence[Service] = ()

    @property
    def running(self) -> Sequence[Service]:
        """The services of the present term; none without one."""
        return self._running

    def wake(self, name: str) -> None:
        """Let the service of this name look now, if it runs; from any thread."""
        for service in self._running:
            if service.name == name:
                service.wake()

    def start(self, term: Term) -> None:
        """Start all services for this term. Raises what any of them raises, and then none runs."""
        self.stop()
        self._running = self.services(term)
        try:
            for service in self._running:
                service.start()
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = 5.0) -> None:
        """Stop them all within so many seconds; safe twice.

        One that is in the middle of a statement for longer ends after it; what it writes then does not count.
        """
        running, self._running = self._running, ()
        give_up_at = time.monotonic() + timeout
        for service in running:
            # All are asked first, so that they end at the same time.
            service.stop(0)
        for service in running:
            service.stop(max(0.0, give_up_at - time.monotonic()))
