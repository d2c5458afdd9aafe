"""Stops a sync job in its own thread: an exception that comes wherever the job is in Python code."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from django_river.exceptions import JobInterrupted
from django_river.jobs.context import CancelReason
from django_river.work.attempts import Attempt

#: The thread that is to be interrupted holds the lock for an instant only, unless it was interrupted right there.
LOCK_SECONDS = 1.0


class Interrupt:
    """Raises :class:`JobInterrupted` in the thread that made it, from any other, until :meth:`end`.

    Python delivers it before the next instruction. A thread that waits in C code gets it when that returns. One that comes
    to a destructor, or a callback of the garbage collector, is lost there.
    """

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        # Decides whether the job still runs. The exception may come inside the lock: whoever interrupts waits for it
        # with patience, not for ever.
        self._lock = threading.RLock()
        self._has_ended = False
        self._was_sent = False

    def __call__(self, reason: CancelReason) -> None:
        """Interrupt the job, if it still runs."""
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            return
        try:
            if not self._has_ended:
                self._was_sent = True
                _raise_in(self._ident)
        finally:
            self._lock.release()

    def end(self) -> None:
        """From now on nothing is raised: neither what comes, nor what has come and was not delivered yet."""
        while True:
            try:
                with self._lock:
                    self._has_ended = True
                if self._was_sent:
                    self._take()
            except JobInterrupted:
                continue
            else:
                return

    def _take(self) -> None:
        """Take what may not be delivered yet: another one in its place, which comes here.

        To take it back instead (with no exception) leaves Python 3.11 looking for it for ever, under a tracer without end.
        """
        try:
            while True:
                # Until one comes: it may come to a callback of the garbage collector first, which nothing leaves.
                _raise_in(self._ident)
        except JobInterrupted:
            return


def call(attempt: Attempt, job: Callable[[], object]) -> None:
    """Call a job in this thread; whoever cancels the attempt meanwhile interrupts it."""
    interrupt = attempt.stopper = Interrupt()
    try:
        if attempt.cancel_reason is not None:
            # It came before there was anything to interrupt.
            interrupt(attempt.cancel_reason)
        job()
    finally:
        try:
            interrupt.end()
        except JobInterrupted:
            # It came on the way into `end`, where nothing catches it yet.
            interrupt.end()


def _raise_in(ident: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(JobInterrupted))
