"""A judge for each term of a client, who knows whether the client was away or cut off itself of late."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from django_river.maintenance.judge import RECOVERY, Judge


class Judges:
    """Makes them, and shakes the one in office when the client's session breaks, or its heartbeat comes late."""

    def __init__(
        self,
        *,
        own_id: str,
        client_timeout: float,
        heartbeat_interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.own_id = own_id
        self.client_timeout = client_timeout
        self.heartbeat_interval = heartbeat_interval
        self.clock = clock

        # Guards both: a session may break while a term begins.
        self._lock = Lock()
        self._shaken_at: float | None = None
        self._judge: Judge | None = None

    def new(self) -> Judge:
        """The judge of a new term."""
        judge = Judge(
            own_id=self.own_id,
            client_timeout=self.client_timeout,
            heartbeat_interval=self.heartbeat_interval,
            clock=self.clock,
        )
        with self._lock:
            self._judge = judge
            if self._shaken_at is not None and self.clock() - self._shaken_at < RECOVERY:
                # What has cut us off may have cut off the others, too.
                judge.shake()
        return judge

    def shake(self) -> None:
        """We were cut off, or away."""
        with self._lock:
            self._shaken_at = self.clock()
            if self._judge is not None:
                self._judge.shake()
