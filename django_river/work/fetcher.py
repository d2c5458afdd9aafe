"""Claims jobs: one statement for all queues that have work and room."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from django_river.chance import chance
from django_river.hints import LOOK_AGAIN
from django_river.polls import Poll
from django_river.service import Service
from django_river.storage.base import ClaimedJob, Demand, Storage
from django_river.storage.batches import LeftOut, Wanted
from django_river.terms import Term
from django_river.work import shares
from django_river.work.attempts import Attempt, Attempts
from django_river.work.batches import Member
from django_river.work.claims import claim
from django_river.work.completer import Completer
from django_river.work.gatherer import Gatherer, OpenBatch
from django_river.work.outcomes import INTERRUPTED
from django_river.work.producer import LONGEST_WAIT, Producer, Rate
from django_river.work.workers import Workers

logger = logging.getLogger(__name__)

#: What is left to others to poll we poll ourselves if they are so much later than we would be, as a factor.
LEFT_TO_OTHERS = 1.25
#: With others it takes no more than this part of the time: among many queues of other clients, or where a long transaction
#: keeps dead rows, it is dear, and what it goes with is not to fail by it. One that got no answer counts as the longest.
RIDING_PART = 0.02
LONGEST_ALONE = 30.0
#: How long to wait for the completer when it has too much to write.
CHOKED_SECONDS = 0.05
#: A claim whose answer was lost may be committed so much later: the time limit of a statement, and a margin.
LATE_SECONDS = 15.0
#: So many moments are kept in mind at which jobs are due; beyond that, polls find them.
MOST_DUE = 1000
#: More queues than these are not asked one by one whether they have work.
MANY_QUEUES = 50


class Fetcher(Service):
    """Asks every producer for its demand, claims, and hands the claimed jobs to the workers.

    It looks when it is woken by a hint, when a slot becomes free while there is work, and at every poll. While nothing
    is here to be worked, others poll for it who ask the database something every second anyway (docs: adr/0031).
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
        #: Replaced in our thread only, between two claims.
        self.producers = producers
        self.attempts = attempts
        self.completer = completer
        self.poll_interval = poll_interval
        self.slots = slots
        #: Set by the client, which builds the workers after us; a gatherer only if there are batch kinds.
        self.workers: Workers
        self.gatherer: Gatherer | None = None
        #: Told of queues that we know nothing of. Set by the client.
        self.on_unknown: Callable[[Collection[str]], None] = lambda queues: None

        # Written by the keeper: the producers from the next step on.
        self._adopted: Mapping[str, Producer] | None = None
        # Whether some queues have slots of their own, or more weight than others.
        self._is_shared_out = False
        self._see_whether_shared()
        # Written by whoever has polled.
        self._poll_at = 0.0
        # When others were last asked to poll for us, and from when on they are again.
        self._asked_at = self._ride_at = 0.0
        # Which of several queues that want jobs is asked first, and who has claimed jobs.
        self._first = 0
        self._loaded: list[Producer] = []
        # How fast jobs end, in all queues. Counted by the threads in which they end; a counter is atomic.
        self._rate = Rate()
        self._finished = itertools.count()
        self._counted = -1
        # Whether the answer to our last claim may have been lost on the way, and until when the server may be at it.
        self._is_uncertain = False
        self._late_until: float | None = None
        #: The same of the leader's queues alone. Written here; read by who wants to resign.
        self.is_claiming_as_leader = False
        # Guarded by the lock: when to look again for what hints left out, and for how many more slots we wait.
        self._lock = threading.Lock()
        self._look_again: dict[str, float] = {}
        self._look_late: dict[str, float] = {}
        # When jobs are due that we have put off ourselves, the next one first.
        self._due: list[tuple[float, str]] = []
        self._awaited = 0

    def hint(self, queues: Collection[str]) -> None:
        """These queues may have work (all, if none is named): look now, and again when left-out hints are due."""
        producers = self._adopted or self.producers
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
                    # What its home leaves to others.
                    self._look_late.setdefault(name, look_at + patience)
        self.wake()

    @property
    def poll(self) -> Poll:
        """Our poll, for others to take along."""
        return Poll(is_wanted=self._is_to_ride, answer=self._hear_poll)

    def adopt(self, producers: Mapping[str, Producer], *, slots: int) -> None:
        """Work these queues, in so many slots, from the next step on; called by one thread at a time."""
        self.slots = slots
        self._adopted = producers
        self.wake()

    def due_in(self, queue: str, seconds: float) -> None:
        """A job of this queue is due then: look at that moment, and not at the next poll after it."""
        with self._lock:
            if queue in self.producers and len(self._due) < MOST_DUE:
                heapq.heappush(self._due, (time.monotonic() + seconds, queue))
        self.wake()

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

    @property
    def is_claiming(self) -> bool:
        """Whether jobs may have been claimed that are not among the attempts yet."""
        return self._is_uncertain

    def step(self) -> float:
        adopted = self._adopted
        if adopted is not None and adopted is not self.producers:
            self.producers = adopted
            self._see_whether_shared()
        if self.completer.is_choked:
            return CHOKED_SECONDS
        self._mark_what_is_due()
        self._hand_back_what_waits()
        if self._is_uncertain or (self._late_until is not None and time.monotonic() >= self._late_until):
            self._hand_back_unknown()
        if self.gatherer is not None:
            self._work_batches(self.gatherer)
        demands, room = self._demands()
        if demands:
            self._fetch(demands, room)
            return 0.0
        return self._pause()

    def cleanup(self) -> None:
        try:
            if self._is_uncertain or self._late_until is not None:
                self._hand_back_unknown()
        finally:
            self.storage.close()

    def _see_whether_shared(self) -> None:
        self._is_shared_out = shares.are_needed(self.producers.values(), self.slots)
        if not self._is_shared_out:
            for producer in self.producers.values():
                producer.allowance = None

    def _mark_what_is_due(self) -> None:
        now = time.monotonic()
        if now >= self._poll_at:
            for name in self._poll():
                self.producers[name].may_have_work = True
            self._poll_at = now + self.poll_interval * chance.uniform(0.9, 1.1)
        with self._lock:
            for looks in (self._look_again, self._look_late):
                for name in [name for name, look_at in looks.items() if look_at <= now]:
                    del looks[name]
                    self._mark(name)
            while self._due and self._due[0][0] <= now:
                self._mark(heapq.heappop(self._due)[1])

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
        producers = self._adopted or self.producers
        found = [producers[name] for name in queues if name in producers]
        for producer in found:
            producer.may_have_work = True
        if found:
            self.wake()

    def _mark(self, name: str) -> None:
        # It may have been removed meanwhile.
        producer = self.producers.get(name)
        if producer is not None:
            producer.may_have_work = producer.bookmark.has_news = True

    def _poll(self) -> Collection[str]:
        """Queues that may have work, though nobody has said so: few are asked one and all, of many one statement finds
        those with jobs. Under load that takes it tens of milliseconds, and there are few."""
        quiet = [name for name, producer in self.producers.items() if not producer.may_have_work]
        if len(quiet) <= MANY_QUEUES:
            return quiet
        return [name for name in self.storage.job_queues() if name in self.producers]

    def _demands(self) -> tuple[list[Demand], int]:
        """What producers can take, and how many jobs together; another comes first each time."""
        if self._is_shared_out:
            return self._shared_demands()
        room, missing = self._room()
        wanted, following = self._wanted(room)
        if not wanted:
            self._awaited = 0
            return [], 0
        if missing > 0:
            with self._lock:
                self._awaited = missing
            # Once more: a slot that became free before we said that we wait for it has told nobody.
            room, missing = self._room()
            if missing > 0:
                return [], 0
        self._awaited = 0
        self._first = following
        return wanted, room

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
                self._start(producer.admit([]))
            size = shares.size_of_claim(producer, share)
            if size > 0:
                kept = share.granted and share.running < share.reserved
                (reserved if kept else demands).append(Demand(queue=producer.name, limit=size))
        # Those for whom slots are kept do not wait for a claim of hundreds.
        demands = reserved or demands
        if all(share.running + share.granted >= share.fair for _, share in found):
            self._awaited = 0
        return demands, sum(demand.limit for demand in demands)

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
            if len(wanted) >= MANY_QUEUES and total >= 2 * room:
                following = place + 1
                break
        return wanted, following % len(producers) if producers else 0

    def _room(self) -> tuple[int, int]:
        """How many jobs may be claimed now, and how many too few that is: a little later is better than very few."""
        # Each look counts itself, too.
        counted, self._counted = self._counted, next(self._finished)
        self._rate.add(self._counted - counted - 1)
        self._rate.measure()
        self._loaded = [producer for producer in self._loaded if producer.load]
        prefetch = self._rate.prefetch
        room = self.slots + prefetch - sum(producer.load for producer in self._loaded)
        return room, max(1, prefetch // 2) - room

    def _fetch(self, demands: list[Demand], room: int) -> None:
        limit = min(sum(demand.limit for demand in demands), room)
        for demand in demands:
            # Before the claim: a hint that comes while it runs must not be forgotten.
            self.producers[demand.queue].may_have_work = False
        demands = [self._placed(demand) for demand in demands]
        try:
            attempts = self._claimed(lambda: self._claim(demands, limit))
        except BaseException:
            for demand in demands:
                self.producers[demand.queue].may_have_work = True
            raise
        by_queue: dict[str, list[Attempt]] = {}
        for attempt in attempts:
            by_queue.setdefault(attempt.job.queue, []).append(attempt)
        is_cut = len(attempts) >= limit
        for demand in demands:
            if self._may_have_more(demand, by_queue.get(demand.queue, []), is_cut=is_cut):
                self.producers[demand.queue].may_have_work = True
        self._loaded = list({*self._loaded, *(self.producers[queue] for queue in by_queue)})
        for queue, claimed in by_queue.items():
            self._admit(self.producers[queue], claimed)

    def _placed(self, demand: Demand) -> Demand:
        """With where the claim is to begin."""
        producer = self.producers[demand.queue]
        return replace(demand, after=producer.bookmark.begin()) if _goes_on(producer) else demand

    def _may_have_more(self, demand: Demand, claimed: list[Attempt], *, is_cut: bool) -> bool:
        """Whether a queue of which this was claimed may have more jobs. ``is_cut`` says that not all have had their turn."""
        producer = self.producers[demand.queue]
        is_full = is_cut or len(claimed) >= demand.limit
        if not _goes_on(producer) or (is_full and not claimed):
            return is_full
        return producer.bookmark.end(claimed[-1].job if is_full else None)

    def _claimed(self, claim: Callable[[], list[ClaimedJob]]) -> list[Attempt]:
        """Claim, and answer for what has been claimed: whether the answer comes or not."""
        self._is_uncertain = True
        try:
            jobs = claim()
        except BaseException:
            self._late_until = time.monotonic() + LATE_SECONDS
            self.storage.close()
            raise
        batched = self.gatherer.kinds if self.gatherer is not None else ()
        attempts = [
            (Member if job.kind in batched else Attempt)(job, self.producers[job.queue]) for job in jobs
        ]
        self.attempts.add(attempts)
        self._is_uncertain = self.is_claiming_as_leader = False
        return attempts

    def _claim(self, demands: list[Demand], limit: int) -> list[ClaimedJob]:
        found = claim(
            self.storage,
            self.client_id,
            demands,
            limit,
            producers=self.producers,
            plain=self._claim_unbound,
            as_leader=self._claim_as_leader,
            term_of=self._term_of,
        )
        for queue, seconds in found.again_in.items():
            self.due_in(queue, seconds)
        return found.jobs

    def _claim_unbound(self, demands: list[Demand], limit: int) -> list[ClaimedJob]:
        left_out = self._left_out(demands)
        if not left_out:
            return self.storage.job_fetch(self.client_id, demands, limit)
        return self.storage.job_fetch_without(self.client_id, demands, limit, left_out)

    def _claim_as_leader(self, term: Term, demands: list[Demand], limit: int) -> list[ClaimedJob]:
        return self.storage.job_fetch_as_leader(term, demands, limit, self._left_out(demands))

    def _left_out(self, demands: list[Demand]) -> Sequence[LeftOut]:
        return (
            self.gatherer.left_out({demand.queue for demand in demands}) if self.gatherer is not None else ()
        )

    def _work_batches(self, gatherer: Gatherer) -> None:
        """Fill batches for which there is a slot, as long as that brings anything, and start those that are ready."""
        while batches := gatherer.to_fill(self._batch_room()):
            self._fill(gatherer, batches)
        for queue in gatherer.let_in():
            self._mark(queue)
        for call in gatherer.start(self._batch_room()):
            self._loaded = list({*self._loaded, call.producer})
            self._start(call.producer.admit([call]))

    def _batch_room(self) -> int:
        return self.slots - sum(producer.load for producer in self._loaded)

    def _fill(self, gatherer: Gatherer, batches: list[OpenBatch]) -> None:
        wanted: Counter[Wanted] = Counter()
        for batch in batches:
            if batch.producer.config.is_limited:
                # What counts against a limit comes by the claims that count.
                batch.was_asked_for_in_vain()
                continue
            want = batch.wanted()
            wanted[replace(want, limit=0)] += want.limit
        if not wanted:
            return
        asked = [replace(want, limit=limit) for want, limit in wanted.items()]
        members = self._claimed(lambda: self._claim_matching(asked))
        self._gather(gatherer, [member for member in members if isinstance(member, Member)])
        if len(members) < wanted.total():
            for batch in batches:
                batch.was_asked_for_in_vain()

    def _claim_matching(self, wanted: list[Wanted]) -> list[ClaimedJob]:
        bound = [want for want in wanted if self.producers[want.queue].is_leader_bound]
        others = [want for want in wanted if want not in bound] if bound else wanted
        jobs = self.storage.job_fetch_matching(self.client_id, others) if others else []
        term = self._term_of(bound[0].queue) if bound else None
        if term is not None:
            jobs += self.storage.job_fetch_matching(self.client_id, bound, term=term)
        return jobs

    def _term_of(self, queue: str) -> Term | None:
        # Before the term is read: who ends it must see that it may be too late for this claim.
        self.is_claiming_as_leader = True
        return self.producers[queue].term

    def _admit(self, producer: Producer, claimed: list[Attempt]) -> None:
        if producer.is_closed:
            # While we claimed.
            for attempt in claimed:
                self.workers.settle(attempt, INTERRUPTED)
            return
        if self.gatherer is not None:
            members = [attempt for attempt in claimed if isinstance(attempt, Member)]
            if members:
                self._gather(self.gatherer, members)
                claimed = [attempt for attempt in claimed if not isinstance(attempt, Member)]
        self._start(producer.admit(claimed))

    def _gather(self, gatherer: Gatherer, members: list[Member]) -> None:
        gatherer.add(members)
        for producer in {member.producer for member in members}:
            if producer.is_closed:
                # While we claimed: who closed it took back what was gathered before.
                for attempt in producer.take_waiting():
                    self.workers.settle(attempt, INTERRUPTED)

    def _start(self, attempts: Collection[Attempt]) -> None:
        try:
            self.workers.start(*attempts)
        except RuntimeError:
            # There is no thread to be had for the event loop; the sync ones have started all the same.
            for attempt in attempts:
                if self.workers.is_async(attempt):
                    self.workers.hand_back(attempt)
            raise

    def _hand_back_what_waits(self) -> None:
        """Jobs claimed to start within milliseconds, which slower jobs keep waiting: others may take them."""
        for producer in self._loaded:
            for attempt in producer.take_waiting(longer_than=LONGEST_WAIT):
                self.workers.settle(attempt, INTERRUPTED)
        for attempt in self.workers.take_waiting(longer_than=LONGEST_WAIT):
            self.workers.hand_back(attempt)

    def _hand_back_unknown(self) -> None:
        """A claim whose answer was lost may have been committed: its jobs are ours without our knowing them.

        We ask once more when the server can no longer be at it.
        """
        now = time.monotonic()
        released = self.storage.job_release_unknown(self.client_id, self.attempts.ids())
        self._is_uncertain = self.is_claiming_as_leader = False
        if self._late_until is not None and now >= self._late_until:
            self._late_until = None
        if released:
            logger.warning(
                "handed back %d jobs that were claimed by a statement without answer", len(released)
            )

    def _pause(self) -> float:
        with self._lock:
            looks = (*self._look_again.values(), *self._look_late.values())
            until = min([self._poll_at, *looks, *(at for at, _ in self._due[:1])])
        if self.gatherer is not None:
            until = min(until, self.gatherer.next_at)
        return max(0.001, until - time.monotonic())


def _goes_on(producer: Producer) -> bool:
    """Whether the claims from a queue go on where the last one ended; those that count begin at the start."""
    return not (producer.config.is_limited or producer.is_leader_bound)
