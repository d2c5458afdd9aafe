"""What others see of a client: its row, kept fresh by heartbeats."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from django_river.conf import Config
from django_river.faults import Fault
from django_river.identity import version
from django_river.signals import client_returned
from django_river.storage.base import ClientInfo, Storage
from django_river.work.queue_set import QueueSet

logger = logging.getLogger(__name__)

#: A heartbeat that is so many seconds late says that we have been away, or the database has.
LATE_SECONDS = 5.0


class Presence:
    """A duty of the keeper; also done at once when something has changed."""

    def __init__(
        self,
        *,
        client_id: str,
        config: Config,
        registry_hash: str,
        storage: Storage,
        queue_set: QueueSet,
        present: Callable[[ClientInfo], ClientInfo],
        troubles: Callable[[], Mapping[str, str]],
        on_away: Callable[[], None],
        on_return: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.storage = storage
        self.queue_set = queue_set
        #: Adds what is known of our candidacy.
        self.present = present
        self.troubles = troubles
        #: Called when we have been away, and so perhaps others.
        self.on_away = on_away
        #: Called when others had taken us for lost.
        self.on_return = on_return
        self.clock = clock
        self.interval = config.heartbeat_interval
        self._beat_at: float | None = None
        self._lasting = ClientInfo(
            id=client_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version(),
            slots=0,
            queues=[],
            labels=config.labels,
            release=config.release,
            registry_hash=registry_hash,
        )

    @property
    def info(self) -> ClientInfo:
        """What there is to say of us just now."""
        return replace(self._lasting, slots=self.queue_set.slots, queues=sorted(self.queue_set.producers))

    def beat(self) -> float:
        """Say that we live; in how many seconds to do so again."""
        why = self.storage.client_beat(self.present(replace(self.info, troubles=dict(self.troubles()))))
        before, self._beat_at = self._beat_at, self.clock()
        if before is not None and self._beat_at - before > self.interval + LATE_SECONDS:
            self.on_away()
        if why:
            self._came_back(why)
        return self.interval

    def _came_back(self, why: str) -> None:
        """Others have taken us for lost, and some of our jobs from us. Those are asked to stop; we go on with the rest."""
        client_id = self._lasting.id
        logger.warning(
            "client %s had been taken for lost (%s) and is back: what was taken from it meanwhile is refused",
            client_id, why, extra={"event": "client_returned", "client_id": client_id},
        )  # fmt: skip
        client_returned.send_robust(type(self), client_id=client_id, why=Fault(why))
        self.on_return()
