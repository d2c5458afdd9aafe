"""When to look for jobs, and in which queues: after a hint, when jobs are due, and at every poll. No thread."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Collection, Mapping

from django_river.chance import chance
from django_river.hints import LOOK_AGAIN
from django_river.polls import Poll
from django_river.storage.base import Storage
from django_river.work.attempts import Attempts
from django_river.work.gatherer import Gatherer
from django_river.work.producer import Producer

#: What is left to others to poll we poll ourselves if they are so much later than we would be, as a factor.
LEFT_TO_OTHERS = 1.25
#: With others it takes no more than this part of the time: among many queues of other clients, or where a long transaction
#: keeps dead rows, it is dear, and what it goes with is not to fail by it. One that got no answer counts as the longest.
RIDING_PART = 0.02
LONGEST_ALONE = 30.0
#: So many moments are kept in mind at which jobs are due; beyond that, polls find them.
MOST_DUE = 1000
#: More queues than these are not asked one by one whether they have work.
MANY_QUEUES = 50


class Lookout:
    """Marks the producers that may have work, and wakes the fetcher for them; claims nothing.

    What it is told may come from any thread. While nothing is here to be worked, others poll for it who ask the database
    something every second anyway (docs: adr/0031).
    """

    def __init__(
        self,
        *,
        storage: Storage,
        producers: Mapping[str, Producer],
        attempts: Attempts,
        gatherer: Gatherer | None = None,
        poll_interval: float,
    ) -> None:
        #: The fetcher's, used in its thread.
        self.storage = storage
        #: By name, the newest that there are; replaced as a whole, at any moment.
        self.producers = producers
        self.attempts = attempts
        #: Only if there are batch kinds.
        self.gatherer = gatherer
        self.poll_interval = poll_interval
        #: Set by the fetcher: ends its wait.
        self.wake: Callable[[], None]
        #: Told of queues that we know nothing of. Set by the client.
        self.on_unknown: Callable[[Collection[str]], None] = lambda queues: None

        # Written by whoever has polled.
        self._poll_at = 0.0
        # When others were last asked to poll for us, and from when on they are again.
        self._asked_at = self._ride_at = 0.0
        # Guarded by the lock: when to look again for what hints left out, and for what homes leave to others.
        self._lock = threading.Lock()
        self._look_again: dict[str, float] = {}
        self._look_late: dict[str, float] = {}
        # When jobs are due that we have put off ourselves, the next one first.
        self._due: list[tuple[float, str]] = []

    def hint(self, queues: Collection[str]) -> None:
        """These queues may have work (all, if none is named): look now, and again when left-out hints are due."""
        producers = self.producers
        names = [name for name in queues or producers if name in producers]
        if len(names) < len(queues):
            self.on_unknown(queues)
        if not names:
            return
        look_at = time.monotonic() + LOOK_AGAIN
        with self._lock:
            for name in names:
                producers[name].may_have_work = producers[name].bookmark.has_news = True
                self._look_again[name] = look_at
                if self.gatherer is not None and (patience := self.gatherer.patience(name)):
                    self._look_late.setdefault(name, look_at + patience)
        self.wake()

    def due_in(self, queue: str, seconds: float) -> None:
        """A job of this queue is due then: look at that moment, and not at the next poll after it."""
        with self._lock:
            if queue in self.producers and len(self._due) < MOST_DUE:
                heapq.heappush(self._due, (time.monotonic() + seconds, queue))
        self.wake()

    @property
    def poll(self) -> Poll:
        """Our poll, for others to take along."""
        return Poll(is_wanted=self._is_to_ride, answer=self._hear_poll)

    def look(self) -> None:
        """Mark the queues whose time has come; in the fetcher's thread."""
        now = time.monotonic()
        if now >= self._poll_at:
            for producer in self._poll():
                producer.may_have_work = True
            self._poll_at = now + self.poll_interval * chance.uniform(0.9, 1.1)
        with self._lock:
            for looks in (self._look_again, self._look_late):
                for name in [name for name, look_at in looks.items() if look_at <= now]:
                    del looks[name]
                    self.mark(name)
            while self._due and self._due[0][0] <= now:
                self.mark(heapq.heappop(self._due)[1])

    def mark(self, queue: str) -> None:
        """Have this queue looked into by the next claim, if it is still there."""
        producer = self.producers.get(queue)
        if producer is not None:
            producer.may_have_work = producer.bookmark.has_news = True

    @property
    def next_at(self) -> float:
        """When to look next, if nobody wakes us before; monotonic."""
        with self._lock:
            looks = (*self._look_again.values(), *self._look_late.values())
            return min([self._poll_at, *looks, *(at for at, _ in self._due[:1])])

    def _poll(self) -> Collection[Producer]:
        """Queues that may have work, though nobody has said so: few are asked one and all, of many one statement finds
        those with jobs. Under load that takes it tens of milliseconds, and there are few."""
        producers = self.producers
        quiet = [producer for producer in producers.values() if not producer.may_have_work]
        if len(quiet) <= MANY_QUEUES:
            return quiet
        return [producers[name] for name in self.storage.job_queues() if name in producers]

    def _is_to_ride(self) -> bool:
        now = time.monotonic()
        # Whoever has work looks by itself: others are not to wait for that.
        if len(self.attempts) or now < self._ride_at:
            return False
        self._asked_at, self._ride_at = now, now + LONGEST_ALONE
        return True

    def _hear_poll(self, queues: Collection[str]) -> None:
        now = time.monotonic()
        self._ride_at = now + min(LONGEST_ALONE, (now - self._asked_at) / RIDING_PART)
        self._poll_at = now + self.poll_interval * LEFT_TO_OTHERS
        producers = self.producers
        found = [producers[name] for name in queues if name in producers]
        for producer in found:
            producer.may_have_work = True
        if found:
            self.wake()
