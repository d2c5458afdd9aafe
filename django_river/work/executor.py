"""Runs one attempt: finds the function, decodes the arguments, calls it, and says how it ended. Never raises."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseProblem

from django_river.conf import Config
from django_river.exceptions import JobInterrupted, JobTimeout
from django_river.jobs.context import CancelReason, JobContext
from django_river.jobs.definition import Definition, seconds
from django_river.jobs.registry import Registry
from django_river.signals import job_started
from django_river.work import connections, interrupts, outcomes
from django_river.work.attempts import Attempt
from django_river.work.batches import BatchCall, BatchExecutor, TellStored
from django_river.work.isolation import NO_DEADLINES, Deadlines, Isolation
from django_river.work.outcomes import Outcome
from django_river.work.promises import Promises

logger = logging.getLogger(__name__)

#: How many forks lie between the process that imported us and this one. To ask for the process's id after every job
#: would cost more than many a job.
_generation = 0


def _count_fork() -> None:
    global _generation  # noqa: PLW0603  (there is nobody to keep it)
    _generation += 1


os.register_at_fork(after_in_child=_count_fork)

_TIMED_OUT = frozenset({CancelReason.TIMEOUT, CancelReason.SOFT_TIMEOUT})

#: Takes an attempt's outcome; false if somebody else has settled the attempt.
Settle = Callable[[Attempt, Outcome], bool]


class Executor:
    """Turns attempts into outcomes, and hands them to ``settle``."""

    def __init__(
        self,
        *,
        client_id: str,
        config: Config,
        registry: Registry,
        settle: Settle,
        tell_stored: TellStored = lambda results, stored: None,
        isolation: Isolation | None = None,
    ) -> None:
        self.client_id = client_id
        self.config = config
        self.registry = registry
        self.settle = settle
        #: Where isolated jobs run; ``None`` in the process that is there for them.
        self.isolation = isolation
        self.promises = Promises(config.heartbeats)
        #: Told of attempts that have taken too long. Set by the client.
        self.on_timeout: Callable[[Attempt], None] = lambda attempt: None

        self.batches = BatchExecutor(self, tell_stored=tell_stored)
        self._generation = _generation

    def is_async(self, attempt: Attempt) -> bool:
        """Whether the attempt belongs on the event loop."""
        definition = self.registry.get(attempt.job.kind)
        return definition is not None and definition.is_on_loop

    def execute(self, attempt: Attempt) -> bool:
        """Run a sync job in this thread and settle it; false if somebody else had settled it meanwhile."""
        if isinstance(attempt, BatchCall):
            return self.batches.execute(attempt)
        if attempt.is_settled:
            return False
        attempt.thread = threading.current_thread()
        prepared = self._prepare(attempt)
        if isinstance(prepared, Outcome):
            return self.settle(attempt, prepared)
        definition, values, context = prepared
        if definition.is_escorted:
            return self._escort(attempt, definition, values, context)
        try:
            # A copy: what a job sets in context variables (language, time zone) must not meet the next one.
            contextvars.copy_context().run(definition.arguments.call, definition.function, values, context)
            if context.steps is not None:
                context.steps.finish()
        except BaseException as error:
            self.end_if_forked()
            return self.settle(attempt, self.raised(error, attempt, definition, context))
        self.end_if_forked()
        return self.settle(attempt, outcomes.SUCCESS)

    async def aexecute(self, attempt: Attempt) -> bool:
        """Run an async job in this task and settle it; false if somebody else had settled it meanwhile."""
        if isinstance(attempt, BatchCall):
            return await self.batches.aexecute(attempt)
        if attempt.is_settled:
            return False
        # Before the context: whoever cancels the attempt looks for it there.
        attempt.task = asyncio.current_task()
        prepared = self._prepare(attempt)
        if isinstance(prepared, Outcome):
            return self.settle(attempt, prepared)
        definition, values, context = prepared
        try:
            await definition.arguments.call(definition.function, values, context)
            if context.steps is not None:
                context.steps.finish()
        except BaseException as error:
            was_ours = self.settle(attempt, self.raised(error, attempt, definition, context))
            await self.tidy_after(error)
            return was_ours
        return self.settle(attempt, outcomes.SUCCESS)

    def timers(self, attempt: Attempt) -> list[tuple[float, CancelReason]]:
        """In how many seconds an attempt that begins now is to be asked to stop, and why."""
        definition = self.registry.get(attempt.job.kind)
        if definition is None:
            return []
        hard, soft = self.timeout(definition, attempt), definition.options.soft_timeout
        timers = [] if hard is None else [(hard, CancelReason.TIMEOUT)]
        return timers if soft is None else [*timers, (seconds(soft), CancelReason.SOFT_TIMEOUT)]

    def timeout(self, definition: Definition[..., Any], attempt: Attempt) -> float | None:
        """Seconds an attempt of this job may take: as the job says, or its queue, or the settings."""
        own = definition.options.timeout
        if own is not None:
            return seconds(own)
        of_queue = attempt.producer.config.timeout
        return self.config.job_timeout if of_queue is None else of_queue

    def late(self, definition: Definition[..., Any], context: JobContext) -> JobTimeout:
        """What an attempt has failed with that was stopped because its time was up."""
        if context.cancel_reason is CancelReason.SOFT_TIMEOUT:
            soft = seconds(definition.options.soft_timeout or 0)
            return JobTimeout(f"came to an end at its soft timeout of {soft:g} s")
        # As it was when the attempt began: its queue may say something else by now.
        return JobTimeout(f"took longer than its timeout of {context.timeout or 0:g} s")

    def announce(self, attempt: Attempt) -> None:
        """Tell whom it concerns that an attempt begins."""
        definition = self.registry.get(attempt.job.kind)
        if job_started.has_listeners(definition):
            job_started.send_robust(definition, job=attempt.job, client_id=self.client_id)

    def deadlines(self, definition: Definition[..., Any], attempt: Attempt) -> Deadlines:
        """Until when an attempt that begins now may run, and until when it should have come to an end."""
        timeout, soft = self.timeout(definition, attempt), definition.options.soft_timeout
        if timeout is None and soft is None:
            return NO_DEADLINES
        now = time.monotonic()
        return Deadlines(
            None if timeout is None else now + timeout, None if soft is None else now + seconds(soft), timeout
        )

    def begin(self, attempt: Attempt, deadlines: Deadlines) -> JobContext:
        """Let an attempt begin: what its job is to know, and until when it may run."""
        job = attempt.job
        attempt.deadline, soft_deadline, timeout = deadlines
        attempt.context = JobContext(
            id=job.id,
            kind=job.kind,
            queue=job.queue,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            metadata=job.metadata,
            deadline=attempt.deadline,
            soft_deadline=soft_deadline,
            timeout=timeout,
            max_output_bytes=self.config.max_args_bytes,
        )
        return attempt.context

    def raised(
        self, error: BaseException, attempt: Attempt, definition: Definition[..., Any], context: JobContext
    ) -> Outcome:
        """What an exception makes of an attempt; a job that was stopped may have been too slow."""
        if isinstance(error, asyncio.CancelledError | JobInterrupted) and context.cancel_reason in _TIMED_OUT:
            late = self.late(definition, context)
            late.__cause__ = error
            self.on_timeout(attempt)
            return outcomes.failed(late, attempt.job, definition, trace=outcomes.trace_of(error))
        if context.cancel_reason is CancelReason.STUCK:
            return self.stuck(attempt, definition, trace=outcomes.trace_of(error))
        return outcomes.raised(error, attempt.job, definition, context)

    def stuck(self, attempt: Attempt, definition: Definition[..., Any], *, trace: str) -> Outcome:
        """What becomes of an attempt that has broken its promise of heartbeats."""
        error = self.promises.broken(definition, attempt.job.priority)
        return outcomes.stuck(error, attempt.job, definition, trace=trace)

    async def tidy_after(self, error: BaseException) -> None:
        """The thread in which async jobs use the ORM lives on: what comes next must not meet a dead connection."""
        if isinstance(error, DatabaseProblem):
            with suppress(asyncio.CancelledError):
                await sync_to_async(connections.tidy)()

    def end_if_forked(self) -> None:
        """A job that forks and returns in the child must not go on there as a second worker."""
        if _generation != self._generation:
            os._exit(0)

    def _prepare(self, attempt: Attempt) -> Outcome | tuple[Definition[..., Any], dict[str, Any], JobContext]:
        job = attempt.job
        definition = self.registry.get(job.kind)
        if definition is None:
            return outcomes.unknown_kind(job)
        context = self.begin(attempt, self.deadlines(definition, attempt))
        if attempt.cancel_reason is not None:
            # It was to stop before it began. If it was cancelled its row says so, and is not made available.
            return outcomes.INTERRUPTED
        if job_started.receivers:
            self.announce(attempt)
        try:
            values = definition.arguments.decode(job.args)
        except Exception as error:
            return outcomes.failed(error, job, definition, trace="")
        return definition, values, context

    def _escort(
        self, attempt: Attempt, definition: Definition[..., Any], values: dict[str, Any], context: JobContext
    ) -> bool:
        """Run a job that may be stopped by force, and settle it; false if somebody else had settled it meanwhile."""
        job = partial(definition.arguments.call, definition.function, values, context)
        outcome: Outcome | None = outcomes.SUCCESS
        try:
            if definition.is_isolated and self.isolation is not None:
                outcome = self.isolation.run(
                    attempt,
                    definition,
                    partial(self.deadlines, definition, attempt),
                    on_timeout=self.on_timeout,
                )
            elif definition.options.interrupt:
                interrupts.call(attempt, partial(contextvars.copy_context().run, job))
            else:
                contextvars.copy_context().run(job)
            if context.steps is not None:
                context.steps.finish()
        except BaseException as error:
            outcome = self.raised(error, attempt, definition, context)
        self.end_if_forked()
        return outcome is not None and self.settle(attempt, outcome)
