"""Looks after what runs here: asks jobs to stop whose time is up, and finds the summons that nobody was told of."""

from __future__ import annotations

import logging
import time

from django_river.jobs.context import CancelReason
from django_river.storage.base import Storage
from django_river.work.attempts import Attempt, Attempts
from django_river.work.workers import Workers

logger = logging.getLogger(__name__)

#: How often to look at the clock, in seconds.
LOOK_SECONDS = 0.5
#: How often to ask the database which jobs should stop, in seconds; and how long a job must have run to be asked for.
#: Together they are less than two seconds, within which a cancel arrives whose notification was lost.
SUMMONS_SECONDS = 1.2
YOUNG_SECONDS = 0.4


class Watch:
    """Two duties of the keeper."""

    def __init__(self, *, storage: Storage, client_id: str, attempts: Attempts, workers: Workers) -> None:
        self.storage = storage
        self.client_id = client_id
        self.attempts = attempts
        self.workers = workers
        # Those that waited to begin at the last look: what is gathered for a batch may do so for long.
        self._waiting: set[Attempt] = set()

    def look(self) -> float:
        """Ask jobs to stop whose time is up, and give up those that did not; in how many seconds to look again."""
        for attempt in self.attempts.started():
            _stop_if_late(attempt)
        self.workers.give_up_overdue()
        self.workers.isolation.end_idle()
        return LOOK_SECONDS

    def look_for_summons(self) -> float:
        """Ask the database which of our jobs should stop. Short ones are over before that: they cost nothing."""
        running = [(attempt.job.id, attempt.job.attempt) for attempt in self._elder()]
        for job_id, number, is_lost in self.storage.job_look(self.client_id, running) if running else ():
            attempt = self.attempts.get(job_id)
            # It may have ended meanwhile, and even been claimed again.
            if attempt is not None and attempt.job.attempt == number and not attempt.is_settled:
                self._summon(attempt, is_lost=is_lost)
        return SUMMONS_SECONDS

    def cancel(self, job_id: int) -> None:
        """Ask a job to stop, if it is ours."""
        attempt = self.attempts.get(job_id)
        if attempt is not None:
            attempt.cancel(CancelReason.CANCEL)

    def _elder(self) -> list[Attempt]:
        """Those that have been here for a while, whether they run or wait."""
        began_before = time.monotonic() - YOUNG_SECONDS
        waited, self._waiting = self._waiting, set()
        elder = []
        for attempt in self.attempts.all():
            if attempt.is_settled:
                continue
            if attempt.context is None:
                self._waiting.add(attempt)
                if attempt in waited:
                    elder.append(attempt)
            elif attempt.context.began_at <= began_before:
                elder.append(attempt)
        return elder

    def _summon(self, attempt: Attempt, *, is_lost: bool) -> None:
        if is_lost and attempt.cancel_reason is not CancelReason.LOST:
            job = attempt.job
            logger.warning(
                "job %d (%s) is not ours any more: attempt %d is asked to stop, its result will be refused",
                job.id, job.kind, job.attempt,
            )  # fmt: skip
        attempt.cancel(CancelReason.LOST if is_lost else CancelReason.CANCEL)


def _stop_if_late(attempt: Attempt) -> None:
    reason = attempt.context.cancel_reason if attempt.context is not None else None
    if reason is not None and attempt.cancel_reason in {None, CancelReason.SOFT_TIMEOUT}:
        attempt.cancel(reason)
