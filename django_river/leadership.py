"""Who runs maintenance: one client, by River's lease row.

    follower ──elected──► leader ──cannot renew in time, row gone──► follower
                             └──────────────resign──────────────────► follower

What the database decides: who holds the row, and until when (its own clock). What this process decides: how long it may
still believe that (:data:`TRUST_MARGIN` less than the lease, by the monotonic clock, counted from before the statement
that won it). A term is named by leader *and* time of election, so a late renewal of an old term touches no newer one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django_river.chance import chance
from django_river.storage.base import LeaderTerm, Storage

logger = logging.getLogger(__name__)

#: The leader stops trusting its lease so many seconds before it ends.
TRUST_MARGIN = 1.0
#: A lease is renewed so many times in its life.
RENEWALS = 3


@dataclass(frozen=True, slots=True)
class Term:
    """The name of a term: who leads, and since when. A write of the leader's carries it, and counts only while it lasts.

    >>> Term("host-1-a", datetime(2026, 3, 1, 12, tzinfo=UTC))             # doctest: +SKIP
    """

    leader_id: str
    #: By the database's clock, to the microsecond.
    elected_at: datetime


class Elector:
    """Seeks and keeps the lease. Used by one thread, the keeper's; it never waits."""

    def __init__(
        self,
        *,
        storage: Storage,
        client_id: str,
        ttl: float,
        on_gain: Callable[[], None],
        on_loss: Callable[[], None],
    ) -> None:
        self.storage = storage
        self.client_id = client_id
        self.ttl = timedelta(seconds=ttl)
        self.on_gain = on_gain
        self.on_loss = on_loss

        self.term: LeaderTerm | None = None
        self._trusted_until = 0.0

    @property
    def is_leader(self) -> bool:
        """Whether this client leads, and may still believe so."""
        return self.term is not None and time.monotonic() < self._trusted_until

    def attempt(self) -> float:
        """Renew our term, or try to begin one; answer in how many seconds to do it again."""
        try:
            if self.term is None:
                self._elect()
            else:
                self._renew(self.term)
        finally:
            # Also when the database did not answer: then time alone decides.
            if self.term is not None and not self.is_leader:
                self._lose("its lease could not be renewed in time")
        interval = self.ttl.total_seconds() / RENEWALS
        return interval if self.term is not None else interval + chance.uniform(0, interval / 5)

    def resign(self) -> None:
        """End our term, if there is one, and tell the others."""
        term = self.term
        if term is not None:
            self._lose("it resigned")
            self.storage.leader_resign(term)

    def _elect(self) -> None:
        began = time.monotonic()
        term = self.storage.leader_elect(self.client_id, self.ttl)
        if term is not None:
            self._trust(term, began)
            logger.info("client %s leads since %s", self.client_id, term.elected_at)
            try:
                self.on_gain()
            except Exception:
                logger.exception("client %s cannot do what a leader has to", self.client_id)
                self.resign()

    def _renew(self, term: LeaderTerm) -> None:
        began = time.monotonic()
        renewed = self.storage.leader_renew(term, self.ttl)
        if renewed is None:
            self._lose("its term is over")
        else:
            self._trust(renewed, began)

    def _trust(self, term: LeaderTerm, began: float) -> None:
        self.term = term
        self._trusted_until = began + self.ttl.total_seconds() - TRUST_MARGIN

    def _lose(self, why: str) -> None:
        self.term = None
        logger.info("client %s leads no longer: %s", self.client_id, why)
        self.on_loss()
