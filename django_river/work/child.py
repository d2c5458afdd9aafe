"""The process of isolated jobs: ``python -m django_river.work.child SOCKET LEASH KIND MEMORY``.

It runs one job at a time, in its main thread, as the client tells it. It ends when the client does, in whatever way:
the other end of its leash, a pipe on which nothing is ever said, closes then.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import resource
import signal
import socket
import sys

import django

from django_river.conf import config
from django_river.jobs.context import CancelReason, JobContext
from django_river.jobs.registry import registry
from django_river.service import Service
from django_river.storage.base import ClaimedJob
from django_river.work import connections
from django_river.work.attempts import Attempt
from django_river.work.executor import Executor
from django_river.work.line import Ended, Line, News, Ready, Run, Stop
from django_river.work.outcomes import INTERRUPTED, Outcome
from django_river.work.producer import Producer

#: How often it is seen whether the job's time is up, in seconds.
LOOK_SECONDS = 0.2
#: A process that has had nothing to do for so many seconds closes its database connections.
IDLE_SECONDS = 10.0
#: Linux only: which signal a file sends that has become readable.
F_SETSIG = 10


class JobExecutor(Executor):
    """Runs the job right here. Its client has told everybody that it begins."""

    def announce(self, attempt: Attempt) -> None:
        """Say nothing."""


class Ear(Service):
    """Hears the client while the main thread runs a job."""

    def __init__(self, line: Line, *, is_beating: bool) -> None:
        super().__init__("ear")
        self.line = line
        #: Whether to give signs of life in the job's name.
        self.is_beating = is_beating
        #: What to run next.
        self.jobs: queue.SimpleQueue[ClaimedJob] = queue.SimpleQueue()
        #: Written by the main thread.
        self.attempt: Attempt | None = None
        # What the client knows.
        self._told: tuple[object, ...] = (None, None, None, None)

    def step(self) -> float:
        try:
            heard = self.line.hear(LOOK_SECONDS)
        except EOFError:
            # Whatever the job is doing: nobody wants to know any more.
            os._exit(0)
        for message in heard:
            if isinstance(message, Run):
                self.jobs.put(message.claimed)
            elif isinstance(message, Stop) and self.attempt is not None:
                self.attempt.cancel(CancelReason(message.reason))
        attempt = self.attempt
        if attempt is not None and attempt.context is not None:
            self._look_after(attempt, attempt.context)
        return 0.0

    def _look_after(self, attempt: Attempt, context: JobContext) -> None:
        """Ask the job to stop if its time is up, and pass on what it says; that we can do so is a sign of life, too."""
        if self.is_beating:
            context.heartbeat()
        if context.cancel_reason is not None:
            attempt.cancel(context.cancel_reason)
        news = (context, context.heartbeat_at, context.beat, context.kept)
        if any(old is not new for old, new in zip(self._told, news, strict=True)):
            self._told = news
            self.line.say(News.of(context))


class Child:
    """Runs jobs of one kind, one after another, for as long as the client lives."""

    def __init__(self, line: Line, kind: str) -> None:
        definition = registry.get(kind)
        if definition is None:
            raise LookupError(f"no job of kind {kind!r} is registered in this process")
        self.definition = definition
        self.ear = Ear(line, is_beating=definition.options.auto_heartbeat)
        self.line = line
        self.outcome = INTERRUPTED
        self.executor = JobExecutor(
            client_id="isolated", config=config(), registry=registry, settle=self._settle
        )

    def work(self) -> None:
        """Run jobs until we are killed."""
        self.ear.start()
        self.line.say(Ready())
        while True:
            self.line.say(self._run(self._next()))

    def _next(self) -> ClaimedJob:
        try:
            return self.ear.jobs.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            connections.close()
            return self.ear.jobs.get()

    def _run(self, job: ClaimedJob) -> Ended:
        attempt = self.ear.attempt = Attempt(job, Producer(job.queue, max_workers=1))
        # What holds for a job that is cancelled before its first step.
        self.outcome = INTERRUPTED
        try:
            connections.tidy()
            if self.definition.is_async:
                asyncio.run(self._run_async(attempt))
            else:
                self.executor.execute(attempt)
            connections.tidy()
        finally:
            self.ear.attempt = None
        return Ended(self.outcome, News() if attempt.context is None else News.of(attempt.context))

    async def _run_async(self, attempt: Attempt) -> None:
        await self.executor.aexecute(attempt)

    def _settle(self, attempt: Attempt, outcome: Outcome) -> bool:
        self.outcome = outcome
        return attempt.take()


def main() -> None:
    """Become the process of a kind."""
    ours, leash, kind, memory = sys.argv[1:]
    # The client decides about us: a signal to all processes of a group or a service is meant for it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)
    _tie(int(leash))
    django.setup()
    _limit(int(memory))
    line = Line(socket.socket(fileno=int(ours)))
    Child(line, kind).work()


def _tie(leash: int) -> None:
    """Let the kernel kill us when the client is gone: a job that is stuck in C code hears nothing else (Linux)."""
    if sys.platform == "linux":
        fcntl.fcntl(leash, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(leash, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)


def _limit(memory: int) -> None:
    """Bound what may be allocated, in bytes; 0 is no bound. Beyond it, Python raises MemoryError."""
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


if __name__ == "__main__":
    main()
