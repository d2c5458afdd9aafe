"""Looks after what runs here: asks jobs to stop whose time is up, and finds the cancels that nobody was told of."""

from __future__ import annotations

import time

from django_river.jobs.context import CancelReason
from django_river.storage.base import Storage
from django_river.work.attempts import Attempt, Attempts
from django_river.work.workers import Workers

#: How often to look at the clock, in seconds.
LOOK_SECONDS = 0.5
#: How often to ask the database for cancels, in seconds; and how long a job must have run to be asked for. Together they
#: are less than two seconds, within which a cancel arrives whose notification was lost.
CANCEL_SECONDS = 1.2
YOUNG_SECONDS = 0.4


class Watch:
    """Two duties of the keeper."""

    def __init__(self, *, storage: Storage, attempts: Attempts, workers: Workers) -> None:
        self.storage = storage
        self.attempts = attempts
        self.workers = workers

    def look(self) -> float:
        """Ask jobs to stop whose time is up, and give up those that did not; in how many seconds to look again."""
        for attempt in self.attempts.started():
            _stop_if_late(attempt)
        self.workers.give_up_overdue()
        self.workers.isolation.end_idle()
        return LOOK_SECONDS

    def poll_cancels(self) -> float:
        """Ask the database which of our jobs somebody wants to stop. Short jobs are over before that: they cost nothing."""
        began_before = time.monotonic() - YOUNG_SECONDS
        ids = [
            attempt.job.id
            for attempt in self.attempts.started()
            if attempt.context is not None and attempt.context.began_at <= began_before
        ]
        for job_id in self.storage.job_cancel_asked(ids) if ids else ():
            self.cancel(job_id)
        return CANCEL_SECONDS

    def cancel(self, job_id: int) -> None:
        """Ask a job to stop, if it is ours."""
        attempt = self.attempts.get(job_id)
        if attempt is not None:
            attempt.cancel(CancelReason.CANCEL)


def _stop_if_late(attempt: Attempt) -> None:
    reason = attempt.context.cancel_reason if attempt.context is not None else None
    if reason is not None and attempt.cancel_reason in {None, CancelReason.SOFT_TIMEOUT}:
        attempt.cancel(reason)
