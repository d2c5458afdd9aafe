"""Deletes finished jobs when they have been kept for long enough.

Completed jobs, nearly all there are, stand in no index but the primary key (docs: adr/0009), so they are found by
walking it. The ids are given out in the order of creation, nearly; so a *front* moves on as jobs grow old, and remembers
where it is: each job is read once. What was not over yet when the front passed, because it waited, ran or was retried for
long, is found by a *sweep*, which begins at the lowest id again and again, and takes its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock

from django_river.conf import Config
from django_river.jobs.states import FINAL, State
from django_river.maintenance.chore import REST, Chore
from django_river.option import KEEP
from django_river.queue_options import QueueConfig
from django_river.storage.upkeep import CleanedPage, Retention, Upkeep

#: How often the front moves on, in seconds; less often where jobs are kept for long: nobody waits for it.
FRONT_INTERVAL = 5.0
LONGEST_FRONT_INTERVAL = 60.0
#: Ids are looked for in spans of as many as a page may have; where they are few and far between, of up to so many times.
LONGEST_STRETCH = 2**40
#: How often to look whether other spans hold, in seconds.
LOOK_SECONDS = 10.0
#: A page that failed keeps no other walk from its turn.
FAILED_WAIT = 30.0


@dataclass(slots=True)
class Walk:
    """Through the jobs in the order of their ids, page by page, up to those that are too young to be over."""

    retention: Retention
    is_sweep: bool = False
    #: Where we are: the last id that was passed.
    after: int = 0
    stretch: int = 1
    due_at: float = 0.0

    @property
    def slack(self) -> timedelta:
        """How long jobs may take from their creation to their end without being left to the sweep."""
        return min(timedelta(minutes=15), max(timedelta(seconds=10), self.retention.kept_for / 100))

    @property
    def interval(self) -> float:
        """From the end of the walk to its next beginning, in seconds."""
        if not self.is_sweep:
            least = self.retention.kept_for.total_seconds() / 1000
            return min(LONGEST_FRONT_INTERVAL, max(FRONT_INTERVAL, least))
        return min(600.0, max(10.0, self.retention.kept_for.total_seconds() / 10))

    def advance(self, page: CleanedPage, *, began: float, is_sparse: bool) -> None:
        """Take note of a page that began so; sparse is one that was quick though it was not full."""
        now = time.monotonic()
        if page.passed_id is not None:
            self.after = page.passed_id
        if page.has_more:
            self.stretch = min(LONGEST_STRETCH, self.stretch * 2) if is_sparse else max(1, self.stretch // 2)
            self.due_at = now + (now - began) * REST * self.is_sweep
        else:
            self.stretch = 1
            self.due_at = now + self.interval
            if self.is_sweep:
                self.after = 0

    def give_way(self, now: float) -> None:
        """Take note of a page that failed: too many ids, perhaps, of jobs that are gone."""
        self.stretch = max(1, self.stretch // 1024)
        self.due_at = now + FAILED_WAIT


class JobCleaner(Chore):
    """A page of one walk at a time, whichever is due first."""

    def __init__(self, *, upkeep: Upkeep, lock: Lock, retentions: Callable[[], Sequence[Retention]]) -> None:
        super().__init__("job-cleaner", upkeep=upkeep, lock=lock)
        #: Asked again and again: what is said of queues changes.
        self.retentions = retentions

        self.walks: list[Walk] = []
        self._look_at = float("-inf")

    def run_once(self) -> float:
        """Clean one page; answer when another is due."""
        began = time.monotonic()
        if began >= self._look_at:
            self.adopt(self.retentions())
            self._look_at = began + LOOK_SECONDS
        if not self.walks:
            return LOOK_SECONDS
        walk = min(self.walks, key=lambda walk: walk.due_at)
        if walk.due_at <= began:
            try:
                self._clean(walk, began)
            except Exception:
                walk.give_way(began)
                raise
        return max(0.0, min(walk.due_at for walk in self.walks) - time.monotonic())

    def adopt(self, retentions: Sequence[Retention]) -> None:
        """Go by these spans from now on. Walks of a span that has held before go on where they are.

        What a queue that has come to such a span has left behind, the sweep finds.
        """
        known = {_walked(walk.retention, is_sweep=walk.is_sweep): walk for walk in self.walks}
        self.walks = []
        for is_sweep in (False, True):
            for retention in retentions:
                walk = known.get(_walked(retention, is_sweep=is_sweep))
                if walk is None:
                    walk = Walk(retention, is_sweep=is_sweep)
                    # The fronts begin at the lowest id themselves.
                    walk.due_at = time.monotonic() + walk.interval if is_sweep else 0.0
                walk.retention = retention
                self.walks.append(walk)

    def _clean(self, walk: Walk, began: float) -> None:
        limit = self.batch.size
        with self.batch.timed():
            page = self.upkeep.job_clean(
                walk.retention,
                after=walk.after,
                span=limit * walk.stretch,
                slack=walk.slack,
                limit=limit,
            )
            self.batch.taken = page.examined
        is_quick = time.monotonic() - began < self.batch.seconds / 3
        walk.advance(page, began=began, is_sparse=is_quick and page.examined < limit)


def retentions(config: Config, queues: Mapping[str, QueueConfig] | None = None) -> list[Retention]:
    """What holds for these queues (those of the settings) and all others, those with the same span together.

    What is kept for ever is left out.
    """
    return [
        retention
        for state in sorted(FINAL)
        for retention in _retentions_of(state, config.retentions(state, queues))
    ]


def _walked(retention: Retention, *, is_sweep: bool) -> tuple[object, ...]:
    return retention.state, retention.kept_for, retention.is_for_others, is_sweep


def _retentions_of(state: State, spans: Mapping[str | None, float]) -> list[Retention]:
    general = spans[None]
    queues = {name: kept for name, kept in spans.items() if name is not None and kept != general}
    found = []
    if general != KEEP:
        others = tuple(sorted(queues))
        found.append(Retention(state=state, kept_for=timedelta(seconds=general), queues=others))
    for kept in sorted({*queues.values()} - {KEEP}):
        names = tuple(sorted(name for name, span in queues.items() if span == kept))
        found.append(
            Retention(state=state, kept_for=timedelta(seconds=kept), queues=names, is_for_others=False)
        )
    return found
