"""Keeps worker processes running. No threads, no connections: it starts, restarts, forwards signals, and waits.

How many is a number, or up to a :class:`ProcessScaler`, which has a thread and a connection. A process that is one too
many is told to stop like any other: its jobs have ``STOP_TIMEOUT`` to finish.

Each process is this very command again (``subprocess``, not fork: connections, pools and telemetry threads of the
project are not copied half-alive). A child notices by itself when the supervisor has gone (see ``runworkers``).
"""

from __future__ import annotations

import logging
import math
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from django_river.process_scaler import ProcessScaler
from django_river.service import Backoff
from django_river.stop_signals import StopSignals

logger = logging.getLogger(__name__)

#: How often children are looked at, in seconds; a signal is noticed at once.
LOOK_SECONDS = 0.1
#: The longest pause before a process that keeps ending is started again.
LONGEST_PAUSE = 30.0
#: A process that has run for so long has started well: its next end is a first failure again.
SETTLED_SECONDS = 60.0
#: A process that ends with an error in its first so many seconds could not start at all.
FIRST_SECONDS = 10.0
EXIT_ERROR = 1
#: How a process ends whose periodic jobs are not those in force.
EXIT_MISMATCH = 78
#: Ends after which another start would end in the same way.
HOPELESS = (EXIT_ERROR, EXIT_MISMATCH)
#: How a process ends that had to cut jobs off, but has stored all results.
EXIT_INTERRUPTED = 3
#: How a process ends that is told to stop before it listens.
STOPPED_BY_US = (-signal.SIGTERM, -signal.SIGINT)
#: How long past its own stop timeout a process may take before it is killed.
KILL_MARGIN = 30.0
#: How long the scaler is waited for; it may be asking a database that is away.
SCALER_TIMEOUT = 0.5


@dataclass(slots=True)
class Child:
    """One process, and when to start it again."""

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.5, longest=LONGEST_PAUSE))
    #: Whether we were told to start it: if such a one cannot start, none can. Those that come later may have come at a
    #: bad moment.
    is_first: bool = False
    #: When it is killed, because it has been told to stop and has not.
    kill_at: float = math.inf


class Supervisor:
    """Runs ``command`` in ``processes`` processes until it is told to stop; ``run`` answers with the exit code.

    With a ``scaler``, ``processes`` is how many there are at first.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        processes: int,
        is_burst: bool,
        stop_timeout: float,
        signals: StopSignals,
        scaler: ProcessScaler | None = None,
    ) -> None:
        self.command = list(command)
        self.is_burst = is_burst
        self.stop_timeout = stop_timeout
        self.signals = signals
        self.scaler = scaler

        # The oldest first; and those that were one too many, and have not ended yet.
        self._children = [Child(is_first=True) for _ in range(processes)]
        self._leaving: list[Child] = []
        self._worst = 0
        self._has_failed = False

    def run(self) -> int:
        """Start all, keep them running, and stop them; the worst exit code of those that ended by themselves."""
        if self.scaler is not None:
            self.scaler.start()
        while not self.signals.received and self._children and not self._has_failed:
            if self.scaler is not None:
                self._follow(self.scaler)
            for child in list(self._children):
                self._look_after(child)
            self._see_off()
            self.signals.wait(LOOK_SECONDS)
        return self._stop()

    def _follow(self, scaler: ProcessScaler) -> None:
        """Have as many as there should be, and say which there are."""
        while len(self._children) < scaler.wanted:
            self._children.append(Child())
        surplus = len(self._children) - scaler.wanted
        if surplus > 0:
            idle = [child for child in self._children if child.process is None]
            by_pid = {child.process.pid: child for child in self._children if child.process is not None}
            able = [by_pid[pid] for pid in scaler.dispensable if pid in by_pid]
            for child in [*idle, *able][:surplus]:
                self._let_go(child)
        scaler.pids = [child.process.pid for child in self._children if child.process is not None]

    def _let_go(self, child: Child) -> None:
        self._children.remove(child)
        if child.process is not None:
            _send(child.process, signal.SIGTERM)
            child.kill_at = time.monotonic() + self.stop_timeout + KILL_MARGIN
            self._leaving.append(child)

    def _see_off(self) -> None:
        """Look after those that were told to stop."""
        for child in list(self._leaving):
            process = child.process
            if process is None or process.poll() is not None:
                self._leaving.remove(child)
                code = 0 if process is None else process.returncode
                if code not in (0, EXIT_INTERRUPTED, *STOPPED_BY_US):
                    logger.error("a worker process that was one too many ended with code %d", code)
            elif time.monotonic() > child.kill_at:
                logger.error("killing a worker process that does not stop")
                _send(process, signal.SIGKILL)
                child.kill_at = math.inf

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                self._start(child)
            return
        code = child.process.poll()
        if code is None:
            return
        child.process = None
        if self.is_burst:
            self._children.remove(child)
            self._worst = _worst([self._worst, _exit_code(code)])
            return
        is_hopeless = code in HOPELESS and child.is_first and child.backoff.failures == 0
        if is_hopeless and now - child.started_at < FIRST_SECONDS:
            # It said why. Alone it would have ended the same way, and starting it again would not help.
            self._has_failed, self._worst = True, code
            return
        if now - child.started_at > SETTLED_SECONDS:
            child.backoff.reset()
        pause = child.backoff.next()
        child.start_at = now + pause
        logger.error("a worker process ended with code %d, starting another in %.1f s", code, pause)

    def _start(self, child: Child) -> None:
        child.started_at = time.monotonic()
        try:
            # A session of its own: Ctrl-C in a terminal must reach it once, through us.
            child.process = subprocess.Popen(self.command, start_new_session=True)  # noqa: S603  (our own command)
        except OSError as error:
            pause = child.backoff.next()
            child.start_at = child.started_at + pause
            logger.error("no worker process can be started, trying again in %.1f s: %s", pause, error)  # noqa: TRY400  (an operator needs no traceback)

    def _stop(self) -> int:
        if self.scaler is not None:
            self.scaler.stop(SCALER_TIMEOUT)
        children = [*self._children, *self._leaving]
        running = [child.process for child in children if child.process is not None]
        # What cannot start takes the others with it, without a signal.
        wanted = int(self._has_failed)
        forwarded = 0
        deadline = time.monotonic() + self.stop_timeout + KILL_MARGIN
        while any(process.poll() is None for process in running):
            while forwarded < min(max(wanted, self.signals.received), 2):
                forwarded += 1
                for process in running:
                    _send(process, signal.SIGTERM if forwarded == 1 else signal.SIGINT)
            if time.monotonic() > deadline:
                logger.error("killing worker processes that do not stop")
                for process in running:
                    _send(process, signal.SIGKILL)
            self.signals.wait(LOOK_SECONDS)
        # Whom our signal has ended had not begun to listen, and so had not begun to work.
        ends = [process.returncode for process in running]
        return _worst([self._worst, *(_exit_code(end) for end in ends if end not in STOPPED_BY_US)])


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _exit_code(code: int) -> int:
    """As a shell would say it: a process ended by a signal counts as an error."""
    return code if code >= 0 else 128 - code


def _worst(codes: Collection[int]) -> int:
    """Any error is worse than jobs that were cut off; of two errors, the higher one."""
    return max(codes, key=lambda code: (code != 0, code != EXIT_INTERRUPTED, code))
