"""Starts the leader's services with its term, and stops them with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from django_river.service import Service
from django_river.storage.base import Storage


class Maintainer:
    """All maintenance services of this client. They share one connection, each step under :attr:`lock`."""

    def __init__(self, *, storage: Storage, services: Callable[[], Sequence[Service]]) -> None:
        self.storage = storage
        self.services = services
        #: Outlives the terms: a service of the last one may still be in a statement when the next ones start.
        self.lock = Lock()

        self._running: Sequence[Service] = ()

    def start(self) -> None:
        """Start all services, each anew."""
        self.stop()
        self._running = self.services()
        for service in self._running:
            service.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop them; safe twice."""
        running, self._running = self._running, ()
        for service in running:
            service.stop(timeout)

    def close(self) -> None:
        """Stop, and close the connection."""
        self.stop()
        self.storage.close()
