"""Enqueues the runs of periodic jobs, each exactly once and on time.

A row says when its entry runs next. To enqueue a run and to advance the row is one transaction, guarded by the value that
was seen: whoever comes second finds another one, and rolls back, so two leaders enqueue a run once. The database's
clock decides what is due. Between two looks at the rows, this process counts on from the last look by its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.db import Error as DatabaseProblem

from django_river.exceptions import QueueClosed
from django_river.insert import BuiltJob
from django_river.jobs.catch_up import plan, put_back
from django_river.jobs.periodic_registry import PeriodicEntry, PeriodicRegistry
from django_river.periodic_jobs import built_run
from django_river.service import Backoff, Service
from django_river.storage.base import Storage
from django_river.storage.periodic import DuePeriodic, PeriodicAdvance, PeriodicStorage, PeriodicTake

logger = logging.getLogger(__name__)

#: Rows are read so often, in seconds: what others have changed is noticed then, at the latest.
LOOK_SECONDS = 1.0
#: A look finds what is due until the next one, and a little later.
HORIZON = timedelta(seconds=2 * LOOK_SECONDS)
#: Entries enqueued in one transaction.
BATCH = 1000
#: Later than planned by this, so that no run is early by the database's clock, in seconds.
MARGIN = 0.001
#: The longest pause before an entry that cannot be enqueued is tried again, in seconds.
LONGEST_PAUSE = 60.0
#: So much of an error is kept.
ERROR_LENGTH = 1000


@dataclass(slots=True)
class Failing:
    """An entry that could not be enqueued: when to try again."""

    retry_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.5, longest=LONGEST_PAUSE))


@dataclass(frozen=True, slots=True)
class Due:
    """Runs of an entry to be enqueued: as the row was found, as it is to become, and the jobs."""

    entry: PeriodicEntry
    row: DuePeriodic
    next_run_at: datetime | None
    runs: Sequence[datetime] = ()
    #: Instead of the newest run, if a clock that was put back has to be written down.
    last_run_at: datetime | None = None
    jobs: Sequence[BuiltJob] = ()


class Outrun(Exception):
    """Some entries are not as they were seen, or may not run yet."""


class PeriodicJobEnqueuer(Service):
    """On a connection of its own: what others do at length must make no run late."""

    def __init__(
        self,
        *,
        storage: Storage,
        periodic: PeriodicStorage,
        registry: PeriodicRegistry,
        using: str,
        notifies: bool,
        on_available: Callable[[Collection[str]], None],
    ) -> None:
        super().__init__("periodic-job-enqueuer")
        self.storage = storage
        self.periodic = periodic
        self.registry = registry
        self.using = using
        self.notifies = notifies
        self.on_available = on_available

        self._rows: dict[str, DuePeriodic] = {}
        self._failing: dict[str, Failing] = {}
        # The database's time, and ours when it said so.
        self._now_then: datetime | None = None
        self._then = 0.0
        self._look_at = 0.0

    def step(self) -> float:
        return self.run_once()

    def run_once(self) -> float:
        """Enqueue what is due; answer in how many seconds more will be, or may be."""
        if time.monotonic() >= self._look_at:
            self._look()
        now = self._now()
        due = [found for row in list(self._rows.values()) if (found := self._due(row, now)) is not None]
        for start in range(0, len(due), BATCH):
            self._enqueue(due[start : start + BATCH])
        return self._seconds_until_next()

    def cleanup(self) -> None:
        self.storage.close()

    def _look(self) -> None:
        now, rows = self.periodic.periodic_list_due(HORIZON)
        # Since the answer came, not since it was asked for: a run may be late by the way it took, and never early.
        ended = time.monotonic()
        self._now_then, self._then = now, ended
        self._look_at = ended + LOOK_SECONDS
        # What this process does not declare in the very same way is not its to enqueue.
        entries = self.registry.entries
        self._rows = {
            row.name: row
            for row in rows
            if row.name in entries and entries[row.name].fingerprint == row.fingerprint
        }

    def _now(self) -> datetime:
        assert self._now_then is not None
        return self._now_then + timedelta(seconds=time.monotonic() - self._then)

    def _due(self, row: DuePeriodic, now: datetime) -> Due | None:
        failing = self._failing.get(row.name)
        if failing is not None and time.monotonic() < failing.retry_at:
            return None
        entry = self.registry.entries[row.name]
        extra = [row.extra_run_at] if row.extra_run_at is not None else []
        planned = row.next_run_at
        if planned is not None and planned <= now:
            told = entry.declaration
            # What could not be enqueued was not missed: it is still to run, however late.
            on_missed = "once" if row.has_failed and told.on_missed == "skip" else told.on_missed
            found = plan(entry.schedule, planned, now, on_missed=on_missed, max_catch_up=told.max_catch_up)
            if found.has_skipped:
                logger.warning("periodic job %s: runs since %s were missed", row.name, planned)
            runs = [*extra, *found.runs]
            return Due(entry, row, found.next_run_at, runs if told.overlap else runs[-1:])
        if planned is not None and row.last_run_at is not None and row.last_run_at > now:
            again_at = put_back(entry.schedule, planned, now)
            if again_at is not None:
                logger.warning("periodic job %s: the clock was put back, it begins anew", row.name)
                return Due(entry, row, again_at, extra, last_run_at=now)
        return Due(entry, row, planned, extra) if extra else None

    def _enqueue(self, batch: Sequence[Due]) -> None:
        built = [found for due in batch if (found := self._built(due)) is not None]
        # Those that failed before are tried alone and last, so that nobody waits for them.
        new = [due for due in built if due.row.name not in self._failing]
        again = [due for due in built if due.row.name in self._failing]
        for together in ([new] if new else []) + [[due] for due in again]:
            self._try_to_store(together)

    def _built(self, due: Due) -> Due | None:
        try:
            jobs = [built_run(due.entry, run, using=self.using) for run in due.runs]
        except Exception as error:  # noqa: BLE001  (whatever a job's own types raise)
            self._fail(due.row, error)
            return None
        return replace(due, jobs=jobs)

    def _try_to_store(self, batch: Sequence[Due]) -> None:
        try:
            self._store(batch)
        except (DatabaseProblem, QueueClosed) as error:
            # Raises if it is the database that is away, and none of our entries.
            self.periodic.now()
            if len(batch) == 1:
                self._fail(batch[0].row, error)
                return
            logger.warning("%d periodic jobs could not be enqueued together: %s", len(batch), error)
            for due in batch:
                self._try_to_store([due])

    def _store(self, batch: Sequence[Due]) -> None:
        try:
            self._store_at_once(batch)
        except Outrun:
            self._store_what_is_ours(batch)

    def _store_at_once(self, batch: Sequence[Due]) -> None:
        """As if nobody else were there, which is nearly always so: the jobs come first, and without delay."""
        with self.periodic.atomic():
            advances, queues = self._insert(batch)
            if not self.periodic.periodic_move_many(_taking(batch), advances):
                raise Outrun
        self._announce(queues)
        self._note(batch, batch, advances)

    def _store_what_is_ours(self, batch: Sequence[Due]) -> None:
        with self.periodic.atomic():
            blocked = {taken.name: taken.is_blocked for taken in self.periodic.periodic_take(_taking(batch))}
            taken = [
                replace(due, jobs=()) if blocked[due.row.name] else due
                for due in batch
                if due.row.name in blocked
            ]
            advances, queues = self._insert(taken)
            self.periodic.periodic_advance_many(advances)
        self._announce(queues)
        self._note(batch, taken, advances)

    def _announce(self, queues: Collection[str]) -> None:
        if queues:
            self.on_available(queues)

    def _insert(self, taken: Sequence[Due]) -> tuple[list[PeriodicAdvance], set[str]]:
        rows = [job.row for due in taken for job in due.jobs]
        queues = {row.queue for row in rows}
        inserted = iter(
            self.storage.job_insert_many(rows, notify=queues if self.notifies else ()) if rows else []
        )
        advances = []
        for due in taken:
            ids = [next(inserted).id for _ in due.jobs]
            advances.append(
                PeriodicAdvance(
                    name=due.row.name,
                    next_run_at=due.next_run_at,
                    last_run_at=due.last_run_at or (due.runs[-1] if due.jobs else None),
                    last_job_id=ids[-1] if ids else None,
                )
            )
        return advances, queues

    def _note(self, batch: Sequence[Due], taken: Sequence[Due], advances: Sequence[PeriodicAdvance]) -> None:
        for due, advance in zip(taken, advances, strict=True):
            if self._failing.pop(due.row.name, None) is not None or due.row.has_failed:
                logger.info("periodic job %s can be enqueued again", due.row.name)
            self._rows[due.row.name] = due.row._replace(
                next_run_at=advance.next_run_at,
                extra_run_at=None,
                last_run_at=advance.last_run_at or due.row.last_run_at,
                has_failed=False,
            )
        if len(taken) < len(batch):
            # Somebody else was first, or has changed the rows.
            for name in {due.row.name for due in batch} - {due.row.name for due in taken}:
                self._rows.pop(name, None)
            self._look_at = 0.0

    def _fail(self, row: DuePeriodic, error: Exception) -> None:
        failing = self._failing.setdefault(row.name, Failing())
        pause = failing.backoff.next()
        failing.retry_at = time.monotonic() + pause
        logger.warning(
            "periodic job %s cannot be enqueued, trying again in %.1f s: %s", row.name, pause, error
        )
        self.periodic.periodic_fail(row.name, f"{type(error).__name__}: {error}"[:ERROR_LENGTH])
        self._rows[row.name] = row._replace(has_failed=True)

    def _seconds_until_next(self) -> float:
        now, clock = self._now(), time.monotonic()
        soonest = self._look_at - clock
        for row in self._rows.values():
            failing = self._failing.get(row.name)
            if failing is not None:
                soonest = min(soonest, failing.retry_at - clock)
            elif row.next_run_at is not None:
                soonest = min(soonest, (row.next_run_at - now).total_seconds() + MARGIN)
        return max(0.0, soonest)


def _taking(batch: Sequence[Due]) -> list[PeriodicTake]:
    return [
        PeriodicTake(
            name=due.row.name,
            fingerprint=due.row.fingerprint,
            next_run_at=due.row.next_run_at,
            extra_run_at=due.row.extra_run_at,
            may_overlap=due.entry.declaration.overlap,
        )
        for due in batch
    ]
