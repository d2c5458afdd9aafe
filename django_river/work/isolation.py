"""Isolated jobs: each runs in a child process that knows its kind, and that is killed if the job will not stop.

A thread of the client waits for the process meanwhile, so slots, limits and the order of a stop are those of any sync
job. Processes are started when they are needed, used again, and no more than ``limit`` at once.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

import msgspec

from django_river.exceptions import JobInterrupted, JobProcessDied
from django_river.jobs.context import CancelReason
from django_river.jobs.definition import Definition
from django_river.work import outcomes
from django_river.work.attempts import Attempt
from django_river.work.line import Ended, Line, News, Ready, Run, Stop
from django_river.work.outcomes import INTERRUPTED, Outcome

logger = logging.getLogger(__name__)

#: What Django may take to start in a new process, in seconds.
START_SECONDS = 60.0
#: How long a job that was cancelled may go on before its process is killed.
GRACE = 0.5
#: How often we look unasked whether somebody else has settled an attempt, in seconds.
LOOK_SECONDS = 1.0
#: A process that has had nothing to do for so many seconds is ended.
IDLE_SECONDS = 60.0


class Deadlines(NamedTuple):
    """By the monotonic clock: until when an attempt may run, and until when it should have come to an end."""

    hard: float | None = None
    soft: float | None = None
    #: Seconds that the hard one was away when it began.
    timeout: float | None = None


NO_DEADLINES = Deadlines()


class Child:
    """One process, as its client sees it. Used by one thread at a time."""

    def __init__(self, kind: str, *, memory: int) -> None:
        self.kind = kind
        self.idle_since = 0.0

        ours, theirs = socket.socketpair()
        leash, self._leash = os.pipe()
        command = [sys.executable, "-m", "django_river.work.child", str(theirs.fileno()), str(leash), kind]
        try:
            self.process = subprocess.Popen(  # noqa: S603  (our own module)
                [*command, str(memory)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), leash),
                # A group of its own: what the job starts ends with it.
                process_group=0,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        except BaseException:
            ours.close()
            os.close(self._leash)
            raise
        finally:
            theirs.close()
            os.close(leash)
        self.line = Line(ours)

    def shoot(self) -> None:
        """Let it die, and what its jobs have started; from any thread, before :meth:`kill` has returned."""
        # Not reaped yet, so the number is nobody else's. A group of the dead only is gone, or not ours (macOS).
        if self.process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def kill(self) -> int:
        """End it, whatever it does; how it has ended. Safe twice."""
        if self._leash >= 0:
            self.shoot()
            leash, self._leash = self._leash, -1
            os.close(leash)
            self.process.wait()
            self.line.close()
        return self.process.returncode


class Isolation:
    """All child processes of a client, by kind; and what is done when a job in one will not stop."""

    def __init__(self, *, limit: int, memory: int | None) -> None:
        self.limit = limit
        self.memory = memory or 0

        # All below is guarded by the lock: processes that wait for a job, the last used one last; and those that run one.
        self._changed = threading.Condition()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        # Places taken by processes that are being started.
        self._starting = 0
        self._stopping = False

    def run(
        self,
        attempt: Attempt,
        definition: Definition[..., Any],
        deadlines: Callable[[], Deadlines],
        *,
        on_timeout: Callable[[Attempt], None],
    ) -> Outcome | None:
        """Run an attempt in a process; ``None`` if somebody else has settled it meanwhile.

        ``on_timeout`` is told of one that has ended by itself because its time was up. Raises :class:`JobInterrupted` if
        it had to be killed.
        """
        assert attempt.context is not None
        attempt.context.limit(deadline=None, soft_deadline=None)
        attempt.deadline, attempt.is_elsewhere, attempt.is_waiting = None, True, True
        try:
            child = self._take(attempt, definition.kind)
        except (OSError, EOFError, TimeoutError) as error:
            died = JobProcessDied(f"no process could be started for it: {error}")
            return outcomes.failed(died, attempt.job, definition, trace="")
        if child is None:
            return INTERRUPTED if not attempt.is_settled else None
        is_fit = False
        try:
            attempt.stopper = lambda reason: child.line.alarm()
            escort = Escort(child, attempt, definition, on_timeout=on_timeout)
            outcome = escort.run(deadlines)
            is_fit = escort.is_child_fit
        finally:
            self._put_back(child, is_fit=is_fit)
        return outcome

    def end_idle(self) -> None:
        """End processes that have had nothing to do for long."""
        with self._changed:
            long_ago = time.monotonic() - IDLE_SECONDS
            tired = [child for child in self._idle if child.idle_since < long_ago]
            self._idle = [child for child in self._idle if child not in tired]
        for child in tired:
            child.kill()

    def stop(self) -> None:
        """Kill all: their jobs were given back, or have ended."""
        with self._changed:
            self._stopping = True
            idle, self._idle = self._idle, []
            for child in self._busy:
                # Its thread hears of that, and does the rest.
                child.shoot()
            self._changed.notify_all()
        for child in idle:
            child.kill()

    def _take(self, attempt: Attempt, kind: str) -> Child | None:
        """A process for this kind, as soon as there is one; ``None`` if the attempt is to stop before."""
        attempt.stopper = lambda reason: self._wake()
        evicted = None
        with self._changed:
            while attempt.cancel_reason is None and not attempt.is_settled and not self._stopping:
                child = self._take_idle(kind)
                if child is not None:
                    return child
                if len(self._idle) + len(self._busy) + self._starting < self.limit:
                    break
                if self._idle:
                    evicted = self._idle.pop(0)
                    break
                self._changed.wait(LOOK_SECONDS)
            else:
                return None
            self._starting += 1
        if evicted is not None:
            evicted.kill()
        return self._start(kind, attempt)

    def _take_idle(self, kind: str) -> Child | None:
        """The last used process of a kind that waits for a job; the lock is held."""
        for child in [child for child in reversed(self._idle) if child.kind == kind]:
            self._idle.remove(child)
            if child.line.is_quiet:
                self._busy.add(child)
                return child
            # It has died meanwhile.
            child.kill()
        return None

    def _start(self, kind: str, attempt: Attempt) -> Child | None:
        child = None
        try:
            child = Child(kind, memory=self.memory)
            attempt.stopper = lambda reason: child.line.alarm()
            is_ready = _is_ready(child, attempt)
        except BaseException:
            is_ready = False
            raise
        finally:
            with self._changed:
                self._starting -= 1
                if child is not None and is_ready:
                    self._busy.add(child)
                self._changed.notify_all()
            if child is not None and not is_ready:
                child.kill()
        return child if is_ready else None

    def _put_back(self, child: Child, *, is_fit: bool) -> None:
        with self._changed:
            self._busy.discard(child)
            is_fit = is_fit and not self._stopping
            if is_fit:
                child.idle_since = time.monotonic()
                self._idle.append(child)
            self._changed.notify_all()
        if not is_fit:
            child.kill()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Escort:
    """Sees one attempt through its process."""

    def __init__(
        self,
        child: Child,
        attempt: Attempt,
        definition: Definition[..., Any],
        *,
        on_timeout: Callable[[Attempt], None],
    ) -> None:
        self.child = child
        self.attempt = attempt
        self.definition = definition
        self.on_timeout = on_timeout

        assert attempt.context is not None
        self.context = attempt.context
        #: Whether the process may run another job.
        self.is_child_fit = False
        self._told: CancelReason | None = None
        self._kill_at: float | None = None

    def run(self, deadlines: Callable[[], Deadlines]) -> Outcome | None:
        """Tell the process what to run, and wait for what becomes of it."""
        try:
            deadline = self._begin(deadlines())
            while True:
                if self.attempt.is_settled:
                    return None
                self._look()
                for message in self.child.line.hear(self._patience(deadline)):
                    if isinstance(message, Ended):
                        return self._ended(message)
                    if isinstance(message, News):
                        message.tell(self.context)
        except (EOFError, OSError, msgspec.MsgspecError):
            return self._died()

    def _begin(self, deadlines: Deadlines) -> float | None:
        """Its time begins now, not when it began to wait for a process; until when it may run."""
        self.context.limit(deadline=deadlines.hard, soft_deadline=deadlines.soft)
        self.context.timeout = deadlines.timeout
        self.context.restart()
        self.attempt.deadline, self.attempt.is_waiting = deadlines.hard, False
        self.child.line.say(Run.of(self.attempt.job, timeout=deadlines.timeout))
        return deadlines.hard

    def _look(self) -> None:
        """Do about the job what is to be done now: nothing, tell it to stop, or end it."""
        reason = self.context.cancel_reason
        if reason is CancelReason.TIMEOUT:
            self._kill(reason)
        if reason is not None and reason is not self._told:
            self._told = reason
            self.child.line.say(Stop(reason.value))
            if reason not in {CancelReason.SHUTDOWN, CancelReason.SOFT_TIMEOUT}:
                self._kill_at = time.monotonic() + GRACE
        if reason is not None and self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill(reason)

    def _patience(self, deadline: float | None) -> float:
        moments = [moment for moment in (deadline, self._kill_at) if moment is not None]
        return max(0.0, min([LOOK_SECONDS, *(moment - time.monotonic() for moment in moments)]))

    def _ended(self, message: Ended) -> Outcome:
        message.news.tell(self.context)
        if message.is_late:
            self.on_timeout(self.attempt)
        # Memory that ran out may have left anything behind.
        self.is_child_fit = not (message.outcome.error or "").startswith("MemoryError")
        return message.outcome

    def _kill(self, reason: CancelReason) -> NoReturn:
        job = self.attempt.job
        logger.warning("job %d (%s) did not stop (%s): its process is killed", job.id, job.kind, reason)
        self.child.kill()
        raise JobInterrupted(reason.value)

    def _died(self) -> Outcome | None:
        code = self.child.kill()
        if self.attempt.is_settled:
            return None
        if self.context.cancel_reason is CancelReason.SHUTDOWN:
            return INTERRUPTED
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        error = JobProcessDied(f"its process ended {how} in the middle of the job")
        return outcomes.failed(error, self.attempt.job, self.definition, trace="")


def _is_ready(child: Child, attempt: Attempt) -> bool:
    """Wait until a new process knows its kind; false if the attempt is to stop before."""
    give_up_at = time.monotonic() + START_SECONDS
    while attempt.cancel_reason is None and not attempt.is_settled:
        left = give_up_at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"it was not ready within {START_SECONDS:g} s")
        if any(isinstance(message, Ready) for message in child.line.hear(min(left, LOOK_SECONDS))):
            return True
    return False
