"""The process of isolated jobs: ``python -m django_river.work.child SOCKET LEASH KIND MEMORY``.

It runs one job at a time, in its main thread, as the client tells it. It ends when the client does, in whatever way:
the other end of its leash, a pipe on which nothing is ever said, closes then. It leads a process group of its own, so that
what its jobs have started ends with it, too.
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
import threading

import django

from django_river.conf import config
from django_river.jobs.context import CancelReason, JobContext
from django_river.jobs.registry import registry
from django_river.queue_options import QueueConfig
from django_river.service import Service
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
        self.jobs: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        # Guards the attempt: nothing is said of it once it has ended, when the client hears of another.
        self._lock = threading.Lock()
        # Written here when it is to run, so that it can be stopped before it does; and by the main thread when it has ended.
        self._attempt: Attempt | None = None
        # What the client knows.
        self._told: tuple[object, ...] = ()

    def step(self) -> float:
        try:
            heard = self.line.hear(LOOK_SECONDS)
        except EOFError:
            # Whatever the job is doing, and has started: nobody wants to know any more.
            os.killpg(os.getpid(), signal.SIGKILL)
            return 0.0
        with self._lock:
            for message in heard:
                if isinstance(message, Run):
                    self._attempt = _attempt(message)
                    self.jobs.put(self._attempt)
                elif isinstance(message, Stop) and self._attempt is not None:
                    self._attempt.cancel(CancelReason(message.reason))
            attempt = self._attempt
            if attempt is not None and attempt.context is not None:
                self._look_after(attempt, attempt.context)
        return 0.0

    def forget(self) -> None:
        """The attempt has ended: from now on nothing is said of it."""
        with self._lock:
            self._attempt = None

    def _look_after(self, attempt: Attempt, context: JobContext) -> None:
        """Ask the job to stop if its time is up, and pass on what it says; that we can do so is a sign of life, too."""
        if self.is_beating:
            context.heartbeat()
        if context.cancel_reason is not None:
            attempt.cancel(context.cancel_reason)
        news = (context, context.heartbeat_at, context.beat, context.kept)
        if news != self._told:
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
        self.is_late = False
        self.executor = JobExecutor(
            client_id="isolated", config=config(), registry=registry, settle=self._settle
        )
        self.executor.on_timeout = self._note_timeout

    def work(self) -> None:
        """Run jobs until we are killed."""
        self.ear.start()
        self.line.say(Ready())
        while True:
            self.line.say(self._run(self._next()))

    def _next(self) -> Attempt:
        try:
            return self.ear.jobs.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            connections.close()
            return self.ear.jobs.get()

    def _run(self, attempt: Attempt) -> Ended:
        # What holds for a job that is cancelled before its first step.
        self.outcome, self.is_late = INTERRUPTED, False
        try:
            connections.tidy()
            if self.definition.is_async:
                asyncio.run(self._run_async(attempt))
            else:
                self.executor.execute(attempt)
            connections.tidy()
        finally:
            self.ear.forget()
        news = News() if attempt.context is None else News.of(attempt.context)
        return Ended(self.outcome.storable, news, self.is_late)

    async def _run_async(self, attempt: Attempt) -> None:
        await self.executor.aexecute(attempt)

    def _settle(self, attempt: Attempt, outcome: Outcome) -> bool:
        self.outcome = outcome
        return attempt.take()

    def _note_timeout(self, attempt: Attempt) -> None:
        self.is_late = True


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
    # What a job forks must not keep the line open when we are gone.
    os.register_at_fork(after_in_child=line.close)
    Child(line, kind).work()


def _tie(leash: int) -> None:
    """Let the kernel kill us when the client is gone: a job that is stuck in C code hears nothing else (Linux)."""
    if sys.platform == "linux":
        # The whole group: us, and what our jobs have started.
        fcntl.fcntl(leash, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(leash, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)


def _attempt(message: Run) -> Attempt:
    """The attempt, as the client has it, with the same timeout, whoever has said it."""
    job = message.claimed
    return Attempt(job, Producer(job.queue, config=QueueConfig(max_workers=1, timeout=message.timeout)))


def _limit(memory: int) -> None:
    """Bound what may be allocated, in bytes; 0 is no bound. Beyond it, Python raises MemoryError."""
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


if __name__ == "__main__":
    main()
