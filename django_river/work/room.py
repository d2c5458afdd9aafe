"""How many jobs the client can take now, and of which queues: what a claim asks for. No thread, no connection."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping

from django_river.storage.base import Demand
from django_river.work import shares
from django_river.work.attempts import Attempt
from django_river.work.gatherer import Gatherer
from django_river.work.producer import Producer, Rate

#: So many queues are enough for a claim, if their jobs will fill the room.
ENOUGH_QUEUES = 50


class Room:
    """Fits what producers demand into the slots of the client, and wakes the fetcher when there is room again.

    Used in the fetcher's thread; told of slots that become free from any.
    """

    def __init__(self, *, producers: Mapping[str, Producer], slots: int) -> None:
        #: How many jobs the client works at once. Written by the keeper.
        self.slots = slots
        #: By name; replaced between two claims.
        self.producers = producers
        #: Those that hold jobs, as of the last look.
        self.loaded: list[Producer] = []
        #: Set by the fetcher: what ends its wait, what runs attempts that have been given a slot, and what gathers batches,
        #: if there are any.
        self.wake: Callable[[], None]
        self.start: Callable[[Collection[Attempt]], None]
        self.gatherer: Gatherer | None = None

        # Whether some queues have slots of their own, or more weight than others.
        self._is_shared_out = False
        self.adopt(producers)
        # Which of several queues that want jobs is asked first.
        self._first = 0
        # How fast jobs end, in all queues. Counted by the threads in which they end; a counter is atomic.
        self._rate = Rate()
        self._finished = itertools.count()
        self._counted = -1
        # For how many more slots we wait. Guarded by the lock.
        self._lock = threading.Lock()
        self._awaited = 0

    def adopt(self, producers: Mapping[str, Producer]) -> None:
        """Ask these from now on."""
        self.producers = producers
        self._is_shared_out = shares.are_needed(producers.values(), self.slots)
        if not self._is_shared_out:
            for producer in producers.values():
                producer.allowance = None

    def freed(self, producer: Producer) -> None:
        """A slot has become free: look if its queue wants more, or if another waits for room in the client."""
        next(self._finished)
        has_room = False
        if self._awaited > 0:
            with self._lock:
                self._awaited -= 1
                has_room = self._awaited == 0
        if has_room or producer.wants_more or (self.gatherer is not None and self.gatherer.is_held_up):
            self.wake()

    def taken_by(self, producers: Iterable[Producer]) -> None:
        """Jobs of these queues have been claimed."""
        self.loaded = list({*self.loaded, *producers})

    @property
    def free(self) -> int:
        """Slots that no job holds or waits for; below 0 if more wait than there are."""
        return self.slots - sum(producer.load for producer in self.loaded)

    def demands(self) -> tuple[list[Demand], int]:
        """What producers can take, and how many jobs together; another comes first each time."""
        if self._is_shared_out:
            return self._shared_demands()
        room, missing = self._measure()
        wanted, following = self._wanted(room)
        if not wanted:
            self._awaited = 0
            return [], 0
        if missing > 0:
            with self._lock:
                self._awaited = missing
            # Once more: a slot that became free before we said that we wait for it has told nobody.
            room, missing = self._measure()
            if missing > 0:
                return [], 0
        self._awaited = 0
        self._first = following
        return wanted, room

    def _measure(self) -> tuple[int, int]:
        """How many jobs may be claimed now, and how many too few that is: a little later is better than very few."""
        # Each look counts itself, too.
        counted, self._counted = self._counted, next(self._finished)
        self._rate.add(self._counted - counted - 1)
        self._rate.measure()
        self.loaded = [producer for producer in self.loaded if producer.load]
        prefetch = self._rate.prefetch
        room = self.free + prefetch
        return room, max(1, prefetch // 2) - room

    def _wanted(self, room: int) -> tuple[list[Demand], int]:
        """Demands in turn, of so many queues that their jobs will fill the room; and whose turn it is after this."""
        producers = list(self.producers.values())
        wanted: list[Demand] = []
        following, total = self._first, 0
        for place in [*range(self._first, len(producers)), *range(min(self._first, len(producers)))]:
            producer = producers[place]
            if not producer.may_have_work or (size := producer.demand()) <= 0:
                continue
            if not wanted:
                following = place + 1
            wanted.append(Demand(queue=producer.name, limit=size))
            total += size
            if len(wanted) >= ENOUGH_QUEUES and total >= 2 * room:
                following = place + 1
                break
        return wanted, following % len(producers) if producers else 0

    def _shared_demands(self) -> tuple[list[Demand], int]:
        """The same where slots have to be shared out: each queue is told how many it may have, and asked for those."""
        with self._lock:
            # Before we look: a slot that becomes free meanwhile must not be missed.
            self._awaited = 1
        found = shares.of(self.producers.values())
        shares.share_out([share for _, share in found], self.slots)
        demands: list[Demand] = []
        reserved: list[Demand] = []
        for producer, share in found:
            producer.allowance = share.allowance
            if share.granted and producer.load > producer.running:
                self.start(producer.admit([]))
            size = shares.size_of_claim(producer, share)
            if size > 0:
                kept = share.granted and share.running < share.reserved
                (reserved if kept else demands).append(Demand(queue=producer.name, limit=size))
        # Those for whom slots are kept do not wait for a claim of hundreds.
        demands = reserved or demands
        if all(share.running + share.granted >= share.fair for _, share in found):
            self._awaited = 0
        return demands, sum(demand.limit for demand in demands)
