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
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseProblem

from django_river.conf import Config
from django_river.exceptions import JobTimeout
from django_river.jobs.context import CancelReason, JobContext
from django_river.jobs.definition import Definition, seconds
from django_river.jobs.registry import Registry
from django_river.signals import job_started
from django_river.work import connections, outcomes
from django_river.work.attempts import Attempt
from django_river.work.batches import BatchCall, BatchExecutor, TellStored
from django_river.work.outcomes import Outcome

logger = logging.getLogger(__name__)

#: How many forks lie between the process that imported us and this one. To ask for the process's id after every job
#: would cost more than many a job.
_generation = 0


def _count_fork() -> None:
    global _generation  # noqa: PLW0603  (there is nobody to keep it)
    _generation += 1


os.register_at_fork(after_in_child=_count_fork)

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
    ) -> None:
        self.client_id = client_id
        self.config = config
        self.registry = registry
        self.settle = settle

        self.batches = BatchExecutor(self, tell_stored=tell_stored)
        self._generation = _generation

    def is_async(self, attempt: Attempt) -> bool:
        """Whether the attempt belongs on the event loop."""
        definition = self.registry.get(attempt.job.kind)
        return definition is not None and definition.is_async

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
        try:
            # A copy: what a job sets in context variables (language, time zone) must not meet the next one.
            contextvars.copy_context().run(definition.arguments.call, definition.function, values, context)
        except BaseException as error:
            self.end_if_forked()
            return self.settle(attempt, outcomes.raised(error, attempt.job, definition, context))
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
        except BaseException as error:
            was_ours = self.settle(attempt, self.raised(error, attempt, definition, context))
            await self.tidy_after(error)
            return was_ours
        return self.settle(attempt, outcomes.SUCCESS)

    def timeout_of(self, attempt: Attempt) -> float | None:
        """Seconds this attempt may take."""
        definition = self.registry.get(attempt.job.kind)
        return None if definition is None else self.timeout(definition, attempt)

    def timeout(self, definition: Definition[..., Any], attempt: Attempt) -> float | None:
        """Seconds an attempt of this job may take: as the job says, or its queue, or the settings."""
        own = definition.options.timeout
        if own is not None:
            return seconds(own)
        of_queue = attempt.producer.config.timeout
        return self.config.job_timeout if of_queue is None else of_queue

    def context_of(self, attempt: Attempt) -> JobContext:
        """What the job is to know about an attempt whose deadline is set."""
        job = attempt.job
        return JobContext(
            id=job.id,
            kind=job.kind,
            queue=job.queue,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            metadata=job.metadata,
            deadline=attempt.deadline,
            max_output_bytes=self.config.max_args_bytes,
        )

    def raised(
        self, error: BaseException, attempt: Attempt, definition: Definition[..., Any], context: JobContext
    ) -> Outcome:
        """What an exception makes of an attempt; a cancelled task may have been too slow."""
        if isinstance(error, asyncio.CancelledError) and context.cancel_reason is CancelReason.TIMEOUT:
            late = JobTimeout(f"took longer than its timeout of {self.timeout(definition, attempt):g} s")
            late.__cause__ = error
            return outcomes.failed(late, attempt.job, definition, trace=outcomes.trace_of(error))
        return outcomes.raised(error, attempt.job, definition, context)

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
        began = attempt.began = time.monotonic()
        definition = self.registry.get(job.kind)
        if definition is None:
            return outcomes.unknown_kind(job)
        timeout = self.timeout(definition, attempt)
        attempt.deadline = None if timeout is None else began + timeout
        attempt.context = context = self.context_of(attempt)
        if attempt.cancel_reason is not None:
            # It was to stop before it began. If it was cancelled its row says so, and is not made available.
            return outcomes.INTERRUPTED
        if job_started.receivers and job_started.has_listeners(definition):
            job_started.send_robust(definition, job=job, client_id=self.client_id)
        try:
            values = definition.arguments.decode(job.args)
        except Exception as error:
            return outcomes.failed(error, job, definition, trace="")
        return definition, values, context
