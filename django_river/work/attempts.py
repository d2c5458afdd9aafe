"""What this client has claimed and must answer for."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django_river.jobs.context import CancelReason, JobContext
from django_river.storage.base import ClaimedJob

if TYPE_CHECKING:
    from django_river.work.producer import Producer


logger = logging.getLogger(__name__)


class Attempt:
    """One attempt at one job, from claim to stored result.

    Exactly one party settles it: the thread that ran it, the watch over stuck attempts, or the shutdown.
    """

    __slots__ = (
        "_token",
        "cancel_reason",
        "context",
        "deadline",
        "is_elsewhere",
        "is_waiting",
        "job",
        "producer",
        "stopper",
        "task",
        "thread",
    )

    #: The call that this attempt is worked in, if it is not one by itself.
    call: Attempt | None = None

    def __init__(self, job: ClaimedJob, producer: Producer) -> None:
        self.job = job
        self.producer = producer

        # Written by the executor when the attempt begins, read by the keeper and the shutdown.
        self.context: JobContext | None = None
        self.deadline: float | None = None
        self.thread: threading.Thread | None = None
        self.task: asyncio.Task[Any] | None = None
        # Whether it runs in another process, and whether it still waits for one.
        self.is_elsewhere = self.is_waiting = False
        # Called when it is to stop, where that takes more than to say so.
        self.stopper: Callable[[CancelReason], None] | None = None
        # Written by whoever wants it to stop, read by the executor when the attempt begins.
        self.cancel_reason: CancelReason | None = None
        self._token = threading.Lock()

    def take(self) -> bool:
        """Become the one who settles this attempt; false if somebody else is."""
        return self._token.acquire(blocking=False)

    @property
    def remains(self) -> dict[str, bytes] | None:
        """What the job has left for its metadata, whatever became of it."""
        return None if self.context is None else self.context.remains

    @property
    def is_settled(self) -> bool:
        """Whether somebody has taken it."""
        return self._token.locked()

    def is_overdue(self, grace: float) -> bool:
        """Whether it should have ended ``grace`` seconds ago."""
        return self.deadline is not None and time.monotonic() >= self.deadline + grace

    def cancel(self, reason: CancelReason) -> None:
        """Ask the job to stop: its context says so, and an async job is cancelled; one that waits does not begin.

        The same reason again changes nothing: it would cut short what an async job does to clean up.
        """
        if self.cancel_reason is reason:
            return
        # Before we look for the context: the executor makes it, and then looks for the reason.
        self.cancel_reason = reason
        context, task, stopper = self.context, self.task, self.stopper
        if context is not None:
            context.cancel(reason)
        if task is not None:
            # A loop that is closed has ended its tasks.
            with suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(task.cancel)
        if stopper is not None:
            stopper(reason)


class Attempts:
    """All attempts of this client whose results are not stored yet, by job id."""

    def __init__(self) -> None:
        # Written by the fetcher (add) and the completer (discard); dict operations are atomic.
        self._attempts: dict[int, Attempt] = {}
        self._empty = threading.Condition()

    def add(self, attempts: Iterable[Attempt]) -> None:
        """Answer for these from now on. An older attempt at one of these jobs has been taken from us: it is told to stop."""
        new = {attempt.job.id: attempt for attempt in attempts}
        if not self._attempts.keys().isdisjoint(new):
            for job_id in self._attempts.keys() & new:
                _tell_lost(self._attempts[job_id])
        self._attempts.update(new)

    def discard(self, attempts: Iterable[Attempt]) -> None:
        """These are stored. A newer attempt of the same job stays."""
        for attempt in attempts:
            if self._attempts.get(attempt.job.id) is attempt:
                del self._attempts[attempt.job.id]
        if not self._attempts:
            with self._empty:
                self._empty.notify_all()

    def get(self, job_id: int) -> Attempt | None:
        """The attempt at this job, if it is ours."""
        return self._attempts.get(job_id)

    def all(self) -> list[Attempt]:
        """A copy of all."""
        return list(self._attempts.values())

    def ids(self) -> list[int]:
        """Ids of the jobs we answer for."""
        return list(self._attempts)

    def started(self) -> list[Attempt]:
        """Those that run now."""
        return [attempt for attempt in self.all() if attempt.context is not None and not attempt.is_settled]

    def __len__(self) -> int:
        return len(self._attempts)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until nothing is left to answer for; whether that is so."""
        with self._empty:
            return self._empty.wait_for(lambda: not self._attempts, timeout)


def _tell_lost(attempt: Attempt) -> None:
    """We were taken for lost, and have claimed the job again before we found out."""
    if attempt.is_settled:
        return
    job = attempt.job
    logger.warning(
        "job %d (%s) was taken from us and is claimed again: attempt %d is asked to stop",
        job.id, job.kind, job.attempt,
    )  # fmt: skip
    attempt.cancel(CancelReason.LOST)
