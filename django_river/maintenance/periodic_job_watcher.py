"""Sees how the runs of periodic jobs ended, and raises an alarm for those that should have succeeded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Lock

from django_river.jobs.states import State
from django_river.service import Service
from django_river.signals import periodic_overdue
from django_river.storage.periodic import ExpectedPeriodic, JobOutcome, PeriodicStorage

logger = logging.getLogger(__name__)

#: How often to look, in seconds.
INTERVAL = 1.0
#: Jobs of one entry that are watched at a time: the oldest that are not over, but for those that have failed and wait.
MOST_WATCHED = 100


class PeriodicJobWatcher(Service):
    """Looks at the jobs themselves: so it does not matter which client, in which language, has worked them."""

    def __init__(self, *, periodic: PeriodicStorage, lock: Lock) -> None:
        super().__init__("periodic-job-watcher")
        self.periodic = periodic
        self.lock = lock

        # By name: ids of jobs that were not over when we last looked, and the newest we have heard of.
        self._open: dict[str, list[int]] = {}
        self._newest: dict[str, int] = {}

    def step(self) -> float:
        with self.lock:
            changed = self.run_once()
        # Not under the lock: receivers may take their time.
        for each in changed:
            _tell(each)
        return INTERVAL

    def cleanup(self) -> None:
        # Another one may still need it, and opens it again.
        with self.lock:
            self.periodic.close()

    def run_once(self) -> list[ExpectedPeriodic]:
        """Note outcomes; which entries have become overdue, or are no longer."""
        self._watch()
        self._note_outcomes()
        return self.periodic.periodic_note_overdue()

    def _watch(self) -> None:
        watched = self.periodic.periodic_list_watched()
        self._open = {each.name: self._open.get(each.name, []) for each in watched}
        for each in watched:
            ids = self._open[each.name]
            if self._newest.get(each.name) != each.last_job_id and len(ids) < MOST_WATCHED:
                ids.append(each.last_job_id)
        self._newest = {each.name: each.last_job_id for each in watched}

    def _note_outcomes(self) -> None:
        ids = [id for open_ids in self._open.values() for id in open_ids]
        found = {job.id: job for job in self.periodic.periodic_list_outcomes(ids)} if ids else {}
        over: dict[str, list[JobOutcome]] = {}
        for name, open_ids in self._open.items():
            jobs = [found[id] for id in open_ids if id in found]
            ended = [job for job in jobs if job.finalized_at is not None]
            if ended:
                over[name] = ended
            # Those that are gone will never tell.
            self._open[name] = _worth_watching([job for job in jobs if job.finalized_at is None])
        if over:
            self.periodic.periodic_note_outcomes(over)


def _worth_watching(jobs: Sequence[JobOutcome]) -> list[int]:
    """All, while there is room for more; what has failed may wait for weeks, and must not hide later successes."""
    is_full = len(jobs) >= MOST_WATCHED
    return [job.id for job in jobs if not (is_full and job.state == State.RETRYABLE)]


def _tell(changed: ExpectedPeriodic) -> None:
    if not changed.is_overdue:
        logger.info("periodic job %s is overdue no longer", changed.name)
        return
    logger.error(
        "periodic job %s has not succeeded for more than %g s; its last success: %s",
        changed.name, changed.expect_success_within, changed.last_success_at or "none",
    )  # fmt: skip
    periodic_overdue.send_robust(
        PeriodicJobWatcher,
        name=changed.name,
        kind=changed.kind,
        last_success_at=changed.last_success_at,
        expect_success_within=changed.expect_success_within,
    )
