"""Writes results in batches through the fence: nothing is lost while the database is away.

While one batch is being written the next one gathers, so the batches grow with the load and a lone result is written
at once. A batch that fails because of the database stays and is tried again; one that fails because of a row is
written row by row, so a row harms itself only. What the fence refuses is logged and signalled, never applied.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import timedelta

import msgspec
from django.db import DatabaseError, InterfaceError, OperationalError

from django_river.jobs.registry import Registry
from django_river.jobs.states import State
from django_river.service import Service
from django_river.signals import job_finished, job_result_refused
from django_river.storage.base import JobSetState, Storage, StoredState
from django_river.work.attempts import Attempt, Attempts
from django_river.work.outcomes import MAX_ERROR, storable

logger = logging.getLogger(__name__)

#: Results written in one transaction.
MAX_BATCH = 2000
#: With so many results waiting, nothing more is fetched until half of them are written.
BACKLOG_LIMIT = 10_000

Result = tuple[Attempt, JobSetState]


class Completer(Service):
    """Takes results from any thread, and stores them."""

    def __init__(self, *, storage: Storage, client_id: str, attempts: Attempts, registry: Registry) -> None:
        super().__init__("completer")
        self.storage = storage
        self.client_id = client_id
        self.attempts = attempts
        self.registry = registry

        # Written by the threads that settle attempts; deque operations are atomic.
        self._results: deque[Result] = deque()
        # Written in our thread only: taken from the deque and not stored yet.
        self._batch: list[Result] = []
        self._tries = 0
        self._is_choked = False
        self._written = threading.Condition()

    def put(self, attempt: Attempt, change: JobSetState) -> None:
        """Store this result soon."""
        self._results.append((attempt, change))
        self.wake()

    @property
    def is_choked(self) -> bool:
        """Whether so many results wait that nothing more should be fetched."""
        limit = BACKLOG_LIMIT // 2 if self._is_choked else BACKLOG_LIMIT
        self._is_choked = self.backlog > limit
        return self._is_choked

    @property
    def backlog(self) -> int:
        """Results that are not stored yet."""
        return len(self._results) + len(self._batch)

    def flush(self, timeout: float) -> bool:
        """Wait until all results are stored; false if some are not within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._written:
            while self.backlog and self.is_running:
                self.wake()
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._written.wait(min(left, 0.1))
        return not self.backlog

    def step(self) -> float:
        while self._batch or self._results:
            while self._results and len(self._batch) < MAX_BATCH:
                self._batch.append(self._results.popleft())
            self._write()
        return 60.0

    def cleanup(self) -> None:
        if self.backlog:
            logger.error("%d results could not be stored; their jobs will be rescued", self.backlog)
        self.storage.close()

    def _write(self) -> None:
        self._tries += 1
        try:
            stored = self.storage.job_set_state_many(self.client_id, [change for _, change in self._batch])
        except (OperationalError, InterfaceError):
            # The database is away, or made us wait too long: the batch stays.
            self.storage.close()
            raise
        except DatabaseError:
            logger.exception("a batch of %d results was refused, writing them one by one", len(self._batch))
            stored = [row for result in self._batch for row in self._write_alone(result)]
        batch, self._batch = self._batch, []
        was_tried, self._tries = self._tries > 1, 0
        self.attempts.discard(attempt for attempt, _ in batch)
        with self._written:
            self._written.notify_all()
        self._tell(batch, stored, may_be_stored=was_tried)

    def _write_alone(self, result: Result) -> list[StoredState]:
        attempt, change = result
        try:
            return self.storage.job_set_state_many(self.client_id, [change])
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError as error:
            logger.exception("the result of job %d cannot be stored; its attempt fails instead", change.id)
            return self.storage.job_set_state_many(self.client_id, [_unstorable(attempt, change, error)])

    def _tell(self, batch: list[Result], stored: list[StoredState], *, may_be_stored: bool) -> None:
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
            elif may_be_stored:
                logger.info(
                    "job %d: its result was stored by a write whose answer was lost, or refused", job.id
                )
            else:
                logger.warning(
                    "job %d (%s): the result of attempt %d was refused, the row has changed meanwhile",
                    job.id, job.kind, job.attempt,
                )  # fmt: skip
                job_result_refused.send_robust(definition, job=job, client_id=self.client_id)


def _unstorable(attempt: Attempt, change: JobSetState, error: DatabaseError) -> JobSetState:
    text = storable(f"the result could not be stored: {error}", MAX_ERROR)
    entry = msgspec.json.encode({"attempt": change.attempt, "error": text, "trace": ""})
    last = attempt.job.attempt >= attempt.job.max_attempts
    state = State.DISCARDED if last else State.RETRYABLE
    return JobSetState(
        id=change.id, attempt=change.attempt, state=state, delay=timedelta(minutes=1), error=entry
    )
