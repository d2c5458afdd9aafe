"""Writes results in batches through the fence: nothing is lost while the database is away.

While one batch is being written the next one gathers, so the batches grow with the load and a lone result is written
at once. A batch that fails because of the database is tried again, in smaller and smaller parts, each behind the
others: a row that somebody has locked keeps only itself. One that fails because of a row is written row by row, and
what cannot be stored at all becomes a failed attempt. What the fence refuses is logged and signalled, never applied.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec
from django.db import InterfaceError, OperationalError

from django_river.jobs.registry import Registry
from django_river.jobs.states import State
from django_river.service import Service
from django_river.signals import job_finished, job_result_refused
from django_river.storage.base import ClaimedJob, JobSetState, Storage, StoredState
from django_river.work import connections
from django_river.work.attempts import Attempt, Attempts
from django_river.work.outcomes import MAX_ERROR, Outcome, storable

logger = logging.getLogger(__name__)

#: Results written in one transaction.
MAX_BATCH = 2000
#: What is gathered for under load, in seconds; and how many results are enough not to.
GATHER_SECONDS = 0.003
ENOUGH = 64
#: With so many results waiting, nothing more is fetched until half of them are written.
BACKLOG_LIMIT = 10_000

#: What says nothing about a row: the database is away, or makes us wait too long.
DATABASE_PROBLEMS = (OperationalError, InterfaceError)

Result = tuple[Attempt, JobSetState]


class Completer(Service):
    """Takes results from any thread, and stores them."""

    def __init__(self, *, storage: Storage, client_id: str, attempts: Attempts, registry: Registry) -> None:
        super().__init__("completer")
        self.storage = storage
        self.client_id = client_id
        self.attempts = attempts
        self.registry = registry
        #: Called with a queue, and in how many seconds a job of it that we have stored is due. Set by the client.
        self.on_due_in: Callable[[str, float], None] = lambda queue, seconds: None
        #: Called with an attempt that has ended, how, and when by the monotonic clock. Set by the client.
        self.on_ended: Callable[[Attempt, Outcome, float], None] = lambda attempt, outcome, at: None
        #: Called with results that are stored, from any thread. Set by the client.
        self.on_stored: Callable[[Sequence[Result]], None] = lambda batch: None

        #: Queues of which more may run when a result is stored. Written by the keeper.
        self.makes_room_in: frozenset[str] = frozenset()
        # Written by the threads that settle attempts; deque operations are atomic. What a result makes of its row is
        # worked out in our thread, for many at once: between two jobs that wait it would cost several times as much.
        self._ended: deque[tuple[Attempt, Outcome, float]] = deque()
        # The rest is written in our thread only. What is to be stored, and what is being stored:
        self._results: deque[Result] = deque()
        self._batch: list[Result] = []
        self._batch_limit = MAX_BATCH
        # How many the last batch had; none if there was a pause after it.
        self._written_last = 0
        # Attempts whose result may be stored already: a write of it got no answer.
        self._tried: set[Attempt] = set()
        self._is_choked = False
        # Whether there has been a result after which a job is due again later: most clients never look.
        self._has_delays = False
        self._written = threading.Condition()

    def put(self, attempt: Attempt, outcome: Outcome) -> None:
        """Store this result soon."""
        self._ended.append((attempt, outcome, time.monotonic()))
        self.wake()

    def put_stored(self, results: list[Result], stored: Sequence[StoredState]) -> None:
        """Take results that somebody has stored for us, through the same fence; from any thread."""
        self.attempts.discard(attempt for attempt, _ in results)
        self._say_when_due(results)
        self.on_stored(results)
        self._tell(results, list(stored), set())

    @property
    def is_choked(self) -> bool:
        """Whether so many results wait that nothing more should be fetched."""
        limit = BACKLOG_LIMIT // 2 if self._is_choked else BACKLOG_LIMIT
        self._is_choked = self.backlog > limit
        return self._is_choked

    @property
    def backlog(self) -> int:
        """Results that are not stored yet."""
        return len(self._ended) + len(self._results) + len(self._batch)

    def flush(self, timeout: float) -> bool:
        """Wait until all results are stored; false if some are not within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._written:
            while self.backlog and self.is_running:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._written.wait(min(left, 0.1))
        return not self.backlog

    def step(self) -> float:
        while waiting := len(self._ended) + len(self._results):
            if self._written_last and waiting < max(self._written_last, ENOUGH):
                # Under load: a moment later there are more to be written at the price of one commit.
                self._stopping.wait(GATHER_SECONDS)
            self._gather()
            self._written_last = len(self._batch)
            try:
                self._write()
            except BaseException:
                self._put_back()
                raise
            self._batch_limit = min(MAX_BATCH, 2 * self._batch_limit)
        self._written_last = 0
        return 60.0

    def cleanup(self) -> None:
        try:
            self.step()
        except BaseException as error:
            logger.warning("%s failed at the end: %s", self.name, error)
        if self.backlog:
            logger.error("%d results could not be stored; their jobs will be rescued", self.backlog)
        self.storage.close()
        connections.close()

    def _gather(self) -> None:
        self._take_ended()
        while self._results and len(self._batch) < self._batch_limit:
            # Looked at, then taken: whoever counts meanwhile must find it somewhere.
            self._batch.append(self._results[0])
            self._results.popleft()
        if self._tried:
            self._leave_out_superseded()

    def _take_ended(self) -> None:
        for _ in range(len(self._ended)):
            attempt, outcome, at = self._ended[0]
            self.on_ended(attempt, outcome, at)
            if outcome.delay is not None:
                self._has_delays = True
            self._results.append((attempt, _change(attempt, outcome)))
            self._ended.popleft()

    def _leave_out_superseded(self) -> None:
        """A result whose write got no answer is stored for certain if we have claimed its job again since.

        Written once more it would pass the fence where the attempt was given back, and speak for the new one.
        """
        stored = {attempt for attempt in self._tried if self.attempts.get(attempt.job.id) is not attempt}
        for attempt in stored:
            logger.info("job %d: its result was stored by a write whose answer was lost", attempt.job.id)
        self._tried -= stored
        self._batch = [result for result in self._batch if result[0] not in stored]

    def _write(self) -> None:
        try:
            stored = self._store(self._batch)
        except DATABASE_PROBLEMS:
            raise
        except Exception:
            logger.exception("a batch of %d results was refused, writing them one by one", len(self._batch))
            while self._batch:
                stored = self._store_alone(self._batch[0])
                self._done([self._batch.pop(0)], stored)
        else:
            batch, self._batch = self._batch, []
            self._done(batch, stored)

    def _store(self, batch: list[Result]) -> list[StoredState]:
        return (
            self.storage.job_set_state_many(self.client_id, [change for _, change in batch]) if batch else []
        )

    def _store_alone(self, result: Result) -> list[StoredState]:
        attempt, change = result
        try:
            return self._store([result])
        except DATABASE_PROBLEMS:
            raise
        except Exception as error:
            logger.exception("the result of job %d cannot be stored; its attempt fails instead", change.id)
            instead = attempt, _unstorable(attempt.job, error)
        try:
            return self._store([instead])
        except DATABASE_PROBLEMS:
            raise
        except Exception:
            logger.exception("nor can its failure; job %d will be rescued", change.id)
            return []

    def _put_back(self) -> None:
        """The database is away, or made us wait too long: all is tried again, a smaller part at a time."""
        self._tried.update(attempt for attempt, _ in self._batch)
        self._batch_limit = max(1, len(self._batch) // 4)
        self._results.extend(self._batch)
        self._batch = []
        self.storage.close()

    def _done(self, batch: list[Result], stored: list[StoredState]) -> None:
        tried = {attempt for attempt, _ in batch if attempt in self._tried} if self._tried else set()
        self._tried -= tried
        self.attempts.discard(attempt for attempt, _ in batch)
        if self._has_delays:
            self._say_when_due(batch)
        if self.makes_room_in:
            for queue in {attempt.job.queue for attempt, _ in batch} & self.makes_room_in:
                self.on_due_in(queue, 0.0)
        self.on_stored(batch)
        with self._written:
            self._written.notify_all()
        self._tell(batch, stored, tried)

    def _say_when_due(self, batch: list[Result]) -> None:
        """Jobs that are available again in a moment, after a snooze or a quick retry: no leader will tell of them."""
        for attempt, change in batch:
            if change.delay is not None and change.state is State.AVAILABLE:
                self.on_due_in(attempt.job.queue, change.delay.total_seconds())

    def _tell(self, batch: list[Result], stored: list[StoredState], tried: set[Attempt]) -> None:
        if len(stored) == len(batch) and not job_finished.receivers:
            # As almost always: there is nothing to be said, and nobody who listens.
            return
        states = dict(stored)
        for attempt, _ in batch:
            job = attempt.job
            definition = self.registry.get(job.kind)
            state = states.get(job.id)
            if state is not None:
                if job_finished.has_listeners(definition):
                    job_finished.send_robust(
                        definition, job=job, state=State(state), client_id=self.client_id
                    )
            elif attempt in tried:
                logger.info(
                    "job %d: its result was stored by a write whose answer was lost, or refused", job.id
                )
            else:
                logger.warning(
                    "job %d (%s): the result of attempt %d was refused, the row has changed meanwhile",
                    job.id, job.kind, job.attempt,
                )  # fmt: skip
                job_result_refused.send_robust(definition, job=job, client_id=self.client_id)
        # Receivers may have used the ORM.
        connections.tidy()


def _change(attempt: Attempt, outcome: Outcome) -> JobSetState:
    """What an outcome makes of the row; one that cannot be said in a row keeps no other from being stored."""
    try:
        return outcome.change(attempt.job, attempt.remains)
    except Exception as error:
        logger.exception("the result of job %d cannot be stored; its attempt fails instead", attempt.job.id)
        return _unstorable(attempt.job, error)


def _unstorable(job: ClaimedJob, error: Exception) -> JobSetState:
    text = storable(f"the result could not be stored: {error}", MAX_ERROR)
    entry = msgspec.json.encode({"attempt": job.attempt, "error": text, "trace": ""})
    state = State.DISCARDED if job.attempt >= job.max_attempts else State.RETRYABLE
    return JobSetState(id=job.id, attempt=job.attempt, state=state, delay=timedelta(minutes=1), error=entry)
