"""The jobs' pulse: stores what they say of themselves, and finds those that have fallen silent.

Two duties of the keeper. Silence is measured here, on the client that runs the job, by its own monotonic clock: the
client's own heartbeat answers for the client. A job that has broken its promise is told to stop; if it has not after
a grace, its attempt is given up, as its kind wants it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from django_river.faults import Fault
from django_river.jobs.beats import Beat
from django_river.jobs.context import CancelReason, JobContext
from django_river.jobs.registry import Registry
from django_river.signals import job_stuck
from django_river.storage.base import Storage
from django_river.storage.long_jobs import JobBeat
from django_river.work.attempts import Attempt, Attempts
from django_river.work.fault_log import FaultLog
from django_river.work.promises import Promises

logger = logging.getLogger(__name__)

#: How often to feel for it, in seconds.
LOOK_SECONDS = 0.5
#: A look that comes so much later than it should says that we were held up, and so may have been the jobs.
LATE_SECONDS = 1.0
_NO_BEAT = Beat()

#: Settles an attempt that has not stopped, as stuck; false if somebody else has settled it.
GiveUp = Callable[[Attempt], bool]


class Pulse:
    """Feels and stores the pulse of all jobs of a client."""

    def __init__(
        self,
        *,
        storage: Storage,
        client_id: str,
        attempts: Attempts,
        registry: Registry,
        promises: Promises,
        faults: FaultLog,
        interval: float,
        grace: float,
        give_up: GiveUp,
    ) -> None:
        self.storage = storage
        self.client_id = client_id
        self.attempts = attempts
        self.registry = registry
        self.promises = promises
        self.faults = faults
        self.interval = interval
        self.grace = grace
        self.give_up = give_up

        # Used by the keeper's thread only: when the next look should be, since when nothing has held us up, since when
        # which attempts are stuck, and what is stored of which.
        self._look_at = math.inf
        self._awake_since = 0.0
        self._stuck: dict[Attempt, float] = {}
        self._stored: dict[Attempt, tuple[object, ...]] = {}

    def feel(self) -> float:
        """Find jobs that have fallen silent, and those that speak again; in how many seconds to do so again."""
        now = time.monotonic()
        if now > self._look_at + LATE_SECONDS:
            self._awake_since = now
        self._look_at = now + LOOK_SECONDS
        running = self.attempts.started()
        heard = _heard(running)
        for attempt in running:
            self._feel(attempt, heard[attempt.call or attempt])
        if self._stuck:
            present = set(running)
            self._stuck = {attempt: since for attempt, since in self._stuck.items() if attempt in present}
        return LOOK_SECONDS

    def store(self) -> float:
        """Store what is new, for all jobs in one statement; in how many seconds to do so again."""
        now = time.monotonic()
        news = {
            attempt: said
            for attempt in self.attempts.started()
            if (said := self._said(attempt, now)) is not None and said != self._stored.get(attempt)
        }
        if news:
            beats = [self._beat(attempt, now) for attempt in news]
            stored = set(self.storage.job_beat_many(self.client_id, beats))
            self._stored |= {attempt: said for attempt, said in news.items() if attempt.job.id in stored}
        if self._stored:
            present = set(self.attempts.all())
            self._stored = {attempt: said for attempt, said in self._stored.items() if attempt in present}
        return self.interval

    def _feel(self, attempt: Attempt, heard_at: float) -> None:
        definition, context = self.registry.get(attempt.job.kind), attempt.context
        if definition is None or context is None or attempt.is_waiting:
            return
        promised = self.promises.of(definition, attempt.job.priority)
        if promised is None:
            return
        if definition.options.auto_heartbeat:
            _beat_for(attempt, context)
            heard_at = max(heard_at, context.heartbeat_at)
        now, since = time.monotonic(), self._stuck.get(attempt)
        if since is None:
            # What it could not say while we were held up is no silence.
            silent = now - max(heard_at, self._awake_since)
            if silent > promised:
                self._found(attempt, silent)
        elif now - heard_at <= promised:
            del self._stuck[attempt]
            logger.info("job %d (%s) gives signs of life again", attempt.job.id, attempt.job.kind)
        elif definition.options.on_stuck != "flag" and now >= max(since, self._awake_since) + self.grace:
            self.give_up(attempt)

    def _found(self, attempt: Attempt, silent: float) -> None:
        job, definition = attempt.job, self.registry.get(attempt.job.kind)
        self._stuck[attempt] = time.monotonic()
        self.faults.note(
            job.kind,
            Fault.STUCK,
            "job %d (%s) has given no sign of life for %.0f s",
            job.id,
            job.kind,
            silent,
        )
        job_stuck.send_robust(definition, job=job, client_id=self.client_id, seconds=silent)
        if definition is not None and definition.options.on_stuck != "flag":
            attempt.cancel(CancelReason.STUCK)

    def _said(self, attempt: Attempt, now: float) -> tuple[object, ...] | None:
        """What there is to be stored of it; ``None`` for one that has said nothing, or has only begun."""
        context = attempt.context
        if context is None or now - context.began_at < self.interval:
            return None
        if context.heartbeat_at == context.began_at and attempt not in self._stuck:
            return None
        return context.heartbeat_at, context.beat, context.kept, attempt in self._stuck

    def _beat(self, attempt: Attempt, now: float) -> JobBeat:
        context = attempt.context
        assert context is not None
        said = (context.beat or _NO_BEAT).encoded(attempt.job.attempt, is_stuck=attempt in self._stuck)
        kept = {key: msgspec.Raw(value) for key, value in (context.kept or {}).items()}
        age = max(0.0, now - context.heartbeat_at)
        return JobBeat(attempt.job.id, attempt.job.attempt, age, said, msgspec.json.encode(kept))


def _heard(running: Sequence[Attempt]) -> dict[Attempt, float]:
    """When each was last heard of. What works many jobs in one call is heard of with each of them."""
    heard: dict[Attempt, float] = {}
    for attempt in running:
        call = attempt.call or attempt
        for context in (call.context, attempt.context):
            if context is not None:
                heard[call] = max(context.heartbeat_at, heard.get(call, 0.0))
    return heard


def _beat_for(attempt: Attempt, context: JobContext) -> None:
    """A sign of life in the job's name, from where it runs. An isolated job's process gives them by itself."""
    task = (attempt.call or attempt).task
    if task is not None:
        # If the loop is blocked, none comes; one that is closed has ended its tasks.
        with suppress(RuntimeError):
            task.get_loop().call_soon_threadsafe(context.heartbeat)
    elif attempt.thread is not None and attempt.thread.is_alive() and not attempt.is_elsewhere:
        context.heartbeat()
