"""The queues that only the leader works: open with its term, closed with it.

Claims of these queues carry the term, so that a former leader claims nothing. What it was running when it was killed is
taken over by the next one, as an attempt that failed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing

import msgspec

from django_river.jobs.context import CancelReason
from django_river.jobs.registry import Registry
from django_river.jobs.states import State
from django_river.storage.base import JobSetState, Storage
from django_river.storage.leaders import LeftJob
from django_river.terms import Term
from django_river.work.attempts import Attempt, Attempts
from django_river.work.outcomes import INTERRUPTED
from django_river.work.producer import Producer
from django_river.work.workers import Workers

logger = logging.getLogger(__name__)


class LeaderBound:
    """Opens and closes the producers of leader-bound queues, in the steward's thread or whichever ends a term."""

    def __init__(
        self,
        *,
        producers: Callable[[], Sequence[Producer]],
        attempts: Attempts,
        workers: Workers,
        registry: Registry,
        open_storage: Callable[[], Storage],
        on_open: Callable[[Collection[str]], None],
        is_claiming: Callable[[], bool],
        grace: float,
        poison_after: int,
    ) -> None:
        self._producers = producers
        self.attempts = attempts
        self.workers = workers
        self.registry = registry
        self.open_storage = open_storage
        self.on_open = on_open
        #: Whether jobs of these queues may have been claimed that are not among the attempts yet.
        self.is_claiming = is_claiming
        #: A job that so many leaders were lost with is discarded.
        self.poison_after = poison_after
        #: How long jobs that were asked to stop are waited for, in seconds.
        self.grace = grace

        # When we stop waiting for what runs; set while closed. Written by whoever closes, read by the keeper.
        self._give_back_at: float | None = 0.0
        # While we lead.
        self._term: Term | None = None

    @property
    def producers(self) -> Sequence[Producer]:
        """Those of leader-bound queues, as they are now."""
        return self._producers()

    @property
    def queues(self) -> list[str]:
        """Their names."""
        return [producer.name for producer in self.producers]

    def begin(self, term: Term) -> None:
        """Take over what former leaders have left running, and claim from now on."""
        if self.producers:
            with closing(self.open_storage()) as storage:
                self._take_over(storage)
        self._give_back_at = None
        self._term = term
        for producer in self.producers:
            producer.term = term
        if self.producers:
            # To name none would mean all.
            self.on_open(self.queues)

    def welcome(self, producer: Producer) -> None:
        """A queue has become leader-bound while we may be leading."""
        producer.term = self._term

    def end(self) -> None:
        """Claim no more, and ask what runs to stop. Safe twice."""
        self.close(wait=self.grace)
        self.workers.cancel(self._running(), CancelReason.SHUTDOWN)

    def close(self, *, wait: float = math.inf) -> None:
        """Claim no more, and hand back what has not begun; what runs has so many seconds to finish. Safe twice."""
        if self._give_back_at is None:
            self._give_back_at = time.monotonic() + wait
        self._term = None
        for producer in self.producers:
            producer.term = None
            for attempt in producer.take_waiting():
                self.workers.settle(attempt, INTERRUPTED)

    def let_go(self) -> bool:
        """What a leader asks that wants to resign, until the answer is true: that all is over, and stored."""
        if self._give_back_at is None:
            self.end()
        # In this order: a claim ends when its jobs are among the attempts.
        is_claiming = self.is_claiming()
        running = self._running()
        if running and time.monotonic() >= (self._give_back_at or 0.0):
            self._give_back(running)
        return not running and not is_claiming

    def _give_back(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            if not attempt.is_settled and self.workers.settle(attempt, INTERRUPTED):
                job = attempt.job
                logger.warning(
                    "job %d (%s) did not stop with our term; its attempt is given back", job.id, job.kind
                )

    def _running(self) -> list[Attempt]:
        if not self.producers:
            return []
        return [attempt for attempt in self.attempts.all() if attempt.producer in self.producers]

    def _take_over(self, storage: Storage) -> None:
        for job in storage.job_left_by_leaders(self.queues):
            if self.attempts.get(job.id) is not None:
                # Left by ourselves, in a term before this one, and not over yet.
                continue
            change = self._failure(job)
            stored = storage.job_set_state_many(job.client_id, [change]) if change is not None else []
            for _, state in stored:
                logger.warning(
                    "job %d (%s) was running on a leader that is gone: %s", job.id, job.kind, state
                )

    def _failure(self, job: LeftJob) -> JobSetState | None:
        """What the lost leader would have said; ``None`` for a last attempt at a kind that others may know."""
        is_poison = job.rescues + 1 >= self.poison_after
        is_last = job.attempt >= job.max_attempts or (is_poison and self.registry.get(job.kind) is not None)
        if is_last and self.registry.get(job.kind) is None:
            return None
        text = f"taken over: leader {job.client_id} is gone"
        if is_poison:
            text += f"; quarantined: leaders lost with this job: {job.rescues + 1}"
        error = {"attempt": job.attempt, "error": text, "trace": ""}
        return JobSetState(
            id=job.id,
            attempt=job.attempt,
            state=State.DISCARDED if is_last else State.AVAILABLE,
            error=msgspec.json.encode(error),
            metadata=msgspec.json.encode({"river:rescue_count": job.rescues + 1}),
        )
