"""Where claimed jobs run: sync ones in threads, async ones on the event loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from django_river.conf import Config
from django_river.exceptions import JobTimeout
from django_river.jobs.context import CancelReason
from django_river.jobs.registry import Registry
from django_river.jobs.states import State
from django_river.signals import job_result_refused
from django_river.storage.base import StoredState
from django_river.work import outcomes
from django_river.work.attempts import Attempt, Attempts
from django_river.work.batches import BatchCall, Result
from django_river.work.completer import Completer
from django_river.work.event_loop import EventLoop
from django_river.work.executor import Executor
from django_river.work.isolation import Isolation
from django_river.work.outcomes import INTERRUPTED, Outcome
from django_river.work.producer import Producer
from django_river.work.queue_figures import QueueFigures
from django_river.work.threads import WorkerThreads, stack_of

logger = logging.getLogger(__name__)


class Workers:
    """Runs attempts and passes their outcomes to the completer; sees to those that do not stop."""

    def __init__(
        self,
        *,
        client_id: str,
        config: Config,
        registry: Registry,
        attempts: Attempts,
        completer: Completer,
        slots: int,
        on_room: Callable[[Producer], None],
    ) -> None:
        self.client_id = client_id
        self.config = config
        self.registry = registry
        self.attempts = attempts
        self.completer = completer
        self.on_room = on_room
        self.figures = QueueFigures(client_id)

        self.isolation = Isolation(limit=config.isolation.processes, memory=config.isolation.memory)
        self.executor = Executor(
            client_id=client_id,
            config=config,
            registry=registry,
            settle=self.settle,
            tell_stored=self.tell_stored,
            isolation=self.isolation,
        )
        self.threads = WorkerThreads(self.executor, size=slots, finished=self.finished, pass_on=self.start)
        self.event_loop = EventLoop(self.executor, finished=self.finished, pass_on=self.start)

    def start(self, *attempts: Attempt) -> None:
        """Run attempts that have a slot; ``RuntimeError`` if the event loop cannot be started for the async ones."""
        by_loop = [attempt for attempt in attempts if self.is_async(attempt)]
        by_threads = [attempt for attempt in attempts if not self.is_async(attempt)] if by_loop else attempts
        if by_threads:
            self.threads.submit(*by_threads)
        if by_loop:
            self.event_loop.submit(*by_loop)

    def resize(self, slots: int) -> None:
        """Have so many threads at most from now on; those that there are stay."""
        self.threads.size = slots

    def is_async(self, attempt: Attempt) -> bool:
        """Whether the attempt belongs on the event loop."""
        return self.executor.is_async(attempt)

    def settle(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Pass an attempt's outcome on to be stored; false if somebody else has settled it."""
        if isinstance(attempt, BatchCall):
            return self._settle_members(attempt, outcome)
        if not attempt.take():
            job = attempt.job
            logger.warning(
                "job %d (%s) ended after its attempt %d was given up: the result is not stored",
                job.id, job.kind, job.attempt,
            )  # fmt: skip
            job_result_refused.send_robust(self.registry.get(job.kind), job=job, client_id=self.client_id)
            return False
        if outcome.error is not None:
            _log(attempt, outcome)
        self.completer.put(attempt, outcome)
        return True

    def tell_stored(self, results: Sequence[Result], stored: Sequence[StoredState]) -> None:
        """Take results that a batch has stored itself, in its own transaction."""
        ours = [(attempt, outcome, change) for attempt, outcome, change in results if attempt.take()]
        now = time.monotonic()
        for attempt, outcome, _ in ours:
            _log(attempt, outcome)
            self.figures.note(attempt, outcome, now)
        self.completer.put_stored([(attempt, change) for attempt, _, change in ours], stored)

    def finished(self, attempt: Attempt) -> Attempt | None:
        """An attempt has left its slot; the one that gets the slot, if its queue has one waiting."""
        following = attempt.producer.release()
        self.on_room(attempt.producer)
        return following

    def take_waiting(self, *, longer_than: float = -1.0) -> list[Attempt]:
        """Take back attempts that have a slot, and have waited for a thread or the loop for so many seconds."""
        return self.threads.take_waiting(longer_than=longer_than) + self.event_loop.take_waiting(
            longer_than=longer_than
        )

    def hand_back(self, attempt: Attempt) -> None:
        """Give back an attempt that has a slot and cannot begin soon, and those that would follow in its slot."""
        following: Attempt | None = attempt
        while following is not None:
            self.settle(following, INTERRUPTED)
            following = self.finished(following)

    def give_up_overdue(self) -> None:
        """Settle attempts that have not stopped long after their timeout, and give their slots to others."""
        for attempt in self.attempts.started():
            if attempt.is_overdue(self.config.stuck_after) and attempt.take():
                job, definition = attempt.job, self.registry.get(attempt.job.kind)
                error = JobTimeout(f"did not stop within {self.config.stuck_after:g} s after its timeout")
                self.executor.on_timeout(attempt)
                self._give_up(attempt, outcomes.failed(error, job, definition, trace=self._where(attempt)))

    def give_up_stuck(self, attempt: Attempt) -> bool:
        """Settle an attempt that gives no sign of life; false if somebody else has settled it."""
        definition = self.registry.get(attempt.job.kind)
        if definition is None or not attempt.take():
            return False
        self._give_up(attempt, self.executor.stuck(attempt, definition, trace=self._where(attempt)))
        return True

    def cancel(self, attempts: Iterable[Attempt], reason: CancelReason) -> None:
        """Ask jobs to stop."""
        for attempt in attempts:
            attempt.cancel(reason)

    def stop(self, timeout: float) -> bool:
        """End the threads, the loop and the processes; false if jobs still run in threads or on the loop."""
        self.isolation.stop()
        threads_ended = self.threads.stop(timeout)
        return self.event_loop.stop(timeout if threads_ended else 0.1) and threads_ended

    def _settle_members(self, call: BatchCall, outcome: Outcome) -> bool:
        for member in call.members:
            if not member.is_settled:
                self.settle(member, outcome)
        return call.take()

    def _give_up(self, attempt: Attempt, outcome: Outcome) -> None:
        job = attempt.job
        logger.error("job %d (%s) is stuck: its attempt is given up, its slot replaced", job.id, job.kind)
        self.completer.put(attempt, outcome)
        if attempt.call is not None:
            if not attempt.call.take():
                return
            attempt = attempt.call
        if attempt.thread is not None:
            self.threads.count_out(attempt.thread)
        following = self.finished(attempt)
        if following is not None:
            self.start(following)

    def _where(self, attempt: Attempt) -> str:
        """Where a stuck job stands now, as a traceback."""
        if attempt.thread is not None:
            return stack_of(attempt.thread)
        task = (attempt.call or attempt).task
        return self.event_loop.stack_of(task) if task is not None else ""


def _log(attempt: Attempt, outcome: Outcome) -> None:
    """A failure that will be tried again is a warning; one that ends the job is an error, with its traceback."""
    job = attempt.job
    if outcome.error is None or outcome.state is State.CANCELLED:
        return
    place = f"job {job.id} ({job.kind})"
    if outcome.state is State.DISCARDED:
        logger.error(
            "%s is discarded after attempt %d: %s\n%s", place, job.attempt, outcome.error, outcome.trace
        )
    else:
        logger.warning(
            "%s failed in attempt %d of %d, again in %s: %s",
            place, job.attempt, job.max_attempts, outcome.delay, outcome.error,
        )  # fmt: skip
