"""Claims jobs: one statement for all queues that have work and room."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from django_river.service import Service
from django_river.storage.base import ClaimedJob, Demand, Storage
from django_river.storage.batches import LeftOut, Wanted
from django_river.terms import Term
from django_river.work.attempts import Attempt, Attempts
from django_river.work.batches import Member
from django_river.work.claims import claim
from django_river.work.completer import Completer
from django_river.work.gatherer import Gatherer, OpenBatch
from django_river.work.lookout import Lookout
from django_river.work.outcomes import INTERRUPTED
from django_river.work.producer import LONGEST_WAIT, Producer
from django_river.work.room import Room
from django_river.work.workers import Workers

logger = logging.getLogger(__name__)

#: How long to wait for the completer when it has too much to write.
CHOKED_SECONDS = 0.05
#: A claim whose answer was lost may be committed so much later: the time limit of a statement, and a margin.
LATE_SECONDS = 15.0


class Fetcher(Service):
    """Asks every producer for its demand, claims, and hands the claimed jobs to the workers.

    It does so when the lookout has something to look into, and when a slot becomes free while there is work.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        client_id: str,
        lookout: Lookout,
        room: Room,
        attempts: Attempts,
        completer: Completer,
        workers: Workers,
        gatherer: Gatherer | None = None,
    ) -> None:
        super().__init__("fetcher")
        self.storage = storage
        self.client_id = client_id
        self.lookout = lookout
        self.room = room
        self.attempts = attempts
        self.completer = completer
        self.workers = workers
        #: Only if there are batch kinds.
        self.gatherer = gatherer
        #: The lookout's, replaced in our thread only, between two claims.
        self.producers = lookout.producers

        lookout.wake = room.wake = self.wake
        room.start, room.gatherer = self._start, gatherer
        # Whether the answer to our last claim may have been lost on the way, and until when the server may be at it.
        self._is_uncertain = False
        self._late_until: float | None = None
        #: The same of the leader's queues alone. Written here; read by who wants to resign.
        self.is_claiming_as_leader = False

    def adopt(self, producers: Mapping[str, Producer], *, slots: int) -> None:
        """Work these queues, in so many slots, from the next step on; called by one thread at a time."""
        self.room.slots = slots
        self.lookout.producers = producers
        self.wake()

    @property
    def is_claiming(self) -> bool:
        """Whether jobs may have been claimed that are not among the attempts yet."""
        return self._is_uncertain

    def step(self) -> float:
        adopted = self.lookout.producers
        if adopted is not self.producers:
            self.producers = adopted
            self.room.adopt(adopted)
        if self.completer.is_choked:
            return CHOKED_SECONDS
        self.lookout.look()
        self._hand_back_what_waits()
        if self._is_uncertain or (self._late_until is not None and time.monotonic() >= self._late_until):
            self._hand_back_unknown()
        if self.gatherer is not None:
            self._work_batches(self.gatherer)
        demands, room = self.room.demands()
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
        self.room.taken_by(self.producers[queue] for queue in by_queue)
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
        return producer.bookmark.end(claimed[-1].job.place if is_full else None)

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
            self.lookout.due_in(queue, seconds)
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
        while batches := gatherer.to_fill(self.room.free):
            self._fill(gatherer, batches)
        for queue in gatherer.let_in():
            self.lookout.mark(queue)
        for call in gatherer.start(self.room.free):
            self.room.taken_by([call.producer])
            self._start(call.producer.admit([call]))

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
        for producer in self.room.loaded:
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
        until = self.lookout.next_at
        if self.gatherer is not None:
            until = min(until, self.gatherer.next_at)
        return max(0.001, until - time.monotonic())


def _goes_on(producer: Producer) -> bool:
    """Whether the claims from a queue go on where the last one ended; those that count begin at the start."""
    return not (producer.config.is_limited or producer.is_leader_bound)
