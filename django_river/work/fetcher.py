"""Claims jobs: one statement for all queues that have work and room."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Collection, Mapping

from django_river.hints import LOOK_AGAIN
from django_river.service import Service
from django_river.storage.base import ClaimedJob, Demand, Storage
from django_river.work.attempts import Attempt, Attempts
from django_river.work.completer import Completer
from django_river.work.outcomes import INTERRUPTED
from django_river.work.producer import LONGEST_WAIT, Producer
from django_river.work.workers import Workers

logger = logging.getLogger(__name__)

#: How long to wait for the completer when it has too much to write.
CHOKED_SECONDS = 0.05


class Fetcher(Service):
    """Asks every producer for its demand, claims, and hands the claimed jobs to the workers.

    It looks when it is woken by a hint, when a slot becomes free while there is work, and at every poll.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        client_id: str,
        producers: Mapping[str, Producer],
        attempts: Attempts,
        completer: Completer,
        poll_interval: float,
        slots: int,
    ) -> None:
        super().__init__("fetcher")
        self.storage = storage
        self.client_id = client_id
        self.producers = producers
        self.attempts = attempts
        self.completer = completer
        self.poll_interval = poll_interval
        self.slots = slots
        #: Set by the client, which builds the workers after us.
        self.workers: Workers

        self._poll_at = 0.0
        # Written by whoever wakes us: when to look again for what a hint left out.
        self._look_again_at: float | None = None
        self._look_again: set[str] = set()
        # Whether the answer to our last claim may have been lost on the way.
        self._is_uncertain = False
        self._first = 0

    def hint(self, queues: Collection[str]) -> None:
        """These queues may have work (all, if none is named): look now, and again when left-out hints are due."""
        names = [name for name in queues or self.producers if name in self.producers]
        for name in names:
            self.producers[name].may_have_work = True
        self._look_again.update(names)
        self._look_again_at = time.monotonic() + LOOK_AGAIN
        self.wake()

    def step(self) -> float:
        if self.completer.is_choked:
            return CHOKED_SECONDS
        self._mark_what_is_due()
        self._hand_back_what_waits()
        if self._is_uncertain:
            self._hand_back_unknown()
        demands = self._demands()
        if demands:
            self._fetch(demands)
        return self._pause()

    def cleanup(self) -> None:
        if self._is_uncertain:
            self._hand_back_unknown()
        self.storage.close()

    def _mark_what_is_due(self) -> None:
        now = time.monotonic()
        if now >= self._poll_at:
            for producer in self.producers.values():
                producer.may_have_work = True
            self._poll_at = now + self.poll_interval * random.uniform(0.9, 1.1)
        if self._look_again_at is not None and now >= self._look_again_at:
            self._look_again_at = None
            while self._look_again:
                self.producers[self._look_again.pop()].may_have_work = True

    def _demands(self) -> list[Demand]:
        """What every producer can take, starting with another one each time so that none is always last."""
        producers = list(self.producers.values())
        if not producers:
            return []
        self._first = (self._first + 1) % len(producers)
        rotated = producers[self._first :] + producers[: self._first]
        wanted = [Demand(queue=p.name, limit=size) for p in rotated if (size := p.demand()) > 0]
        return wanted if self._room(rotated) > 0 else []

    def _room(self, producers: Collection[Producer]) -> int:
        load = sum(producer.load for producer in producers)
        prefetch = sum(producer.prefetch for producer in producers)
        return self.slots + prefetch - load

    def _fetch(self, demands: list[Demand]) -> None:
        limit = min(sum(demand.limit for demand in demands), self._room(self.producers.values()))
        for demand in demands:
            # Before the claim: a hint that comes while it runs must not be forgotten.
            self.producers[demand.queue].may_have_work = False
        self._is_uncertain = True
        try:
            jobs = self.storage.job_fetch(self.client_id, demands, limit)
        except BaseException:
            for demand in demands:
                self.producers[demand.queue].may_have_work = True
            self.storage.close()
            raise
        by_queue: dict[str, list[Attempt]] = {}
        attempts = [Attempt(job, self.producers[job.queue]) for job in sorted(jobs, key=_order)]
        self.attempts.add(attempts)
        self._is_uncertain = False
        for attempt in attempts:
            by_queue.setdefault(attempt.job.queue, []).append(attempt)
        for demand in demands:
            if len(by_queue.get(demand.queue, ())) >= demand.limit or len(jobs) >= limit:
                self.producers[demand.queue].may_have_work = True
        for queue, claimed in by_queue.items():
            for attempt in self.producers[queue].admit(claimed):
                self.workers.start(attempt)

    def _hand_back_what_waits(self) -> None:
        """Jobs claimed to start within milliseconds, which a slower job keeps waiting: others may take them."""
        for producer in self.producers.values():
            for attempt in producer.take_waiting(longer_than=LONGEST_WAIT):
                self.workers.settle(attempt, INTERRUPTED)

    def _hand_back_unknown(self) -> None:
        """A claim whose answer was lost may have been committed: its jobs are ours without our knowing them."""
        released = self.storage.job_release_unknown(self.client_id, self.attempts.ids())
        self._is_uncertain = False
        if released:
            logger.warning(
                "handed back %d jobs that were claimed by a statement without answer", len(released)
            )

    def _pause(self) -> float:
        now = time.monotonic()
        if any(producer.wants_more for producer in self.producers.values()) and self._room(
            self.producers.values()
        ):
            return 0.0
        until = self._poll_at if self._look_again_at is None else min(self._poll_at, self._look_again_at)
        return max(0.001, until - now)


def _order(job: ClaimedJob) -> tuple[int, int]:
    return job.priority, job.id
