"""The one base of whatever runs: a named thread that does one thing again and again until it is told to stop.

The contract: ``start`` returns when the thread runs, ``stop`` when it has ended; both may be called twice, ``stop`` also
before ``start``; a stopped service may be started again. A loop never sleeps, it waits, and ``wake`` and ``stop`` end
every wait. What a step raises is logged and tried again after a growing pause; only what is no ``Exception`` ends it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from django_river.chance import chance

logger = logging.getLogger(__name__)

#: The pause after the first failure in a row, and the longest one, in seconds.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
#: Whom we wait for to end is interrupted so often, in seconds.
ASK_AGAIN_SECONDS = 1.0
#: So much is said of a trouble, in characters.
TROUBLE_LENGTH = 300


class Backoff:
    """Growing pauses between tries, jittered so that clients do not come back all at once."""

    def __init__(self, *, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
        self.first = first
        self.longest = longest

        self.failures = 0

    def next(self) -> float:
        """Count a failure; how many seconds to wait before the next try."""
        pause = min(self.longest, self.first * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return pause * chance.uniform(0.75, 1.25)

    def reset(self) -> None:
        """Forget the failures."""
        self.failures = 0


class Service(ABC):
    """A named thread with one verb, :meth:`step`."""

    def __init__(self, name: str, *, on_crash: Callable[[BaseException], None] | None = None) -> None:
        self.name = name
        self.on_crash = on_crash

        self._thread: threading.Thread | None = None
        self._lifecycle = threading.Lock()
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._started = threading.Event()
        self._backoff = Backoff()
        # What failed last; written in our thread, forgotten when we work again.
        self._error: Exception | None = None

    @abstractmethod
    def step(self) -> float:
        """Do the work once; answer in how many seconds to do it again, at the latest."""

    def cleanup(self) -> None:  # noqa: B027  (a hook)
        """Close what the thread has opened; called in the thread, when it ends."""

    def interrupt(self) -> None:  # noqa: B027  (a hook)
        """End what a step waits for, because it is to stop; called from any thread, more than once."""

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lifecycle:
            if self.is_running:
                return
            self._stopping.clear()
            self._awake.clear()
            self._started.clear()
            thread = threading.Thread(target=self._run, name=f"river-{self.name}", daemon=True)
            thread.start()
            self._thread = thread
            self._started.wait()

    def stop(self, timeout: float | None = None) -> bool:
        """Ask the thread to end and wait for it; ``False`` if it has not ended within ``timeout`` seconds.

        Called in the thread itself, it only asks.
        """
        give_up_at = None if timeout is None else time.monotonic() + timeout
        self._ask_to_end()
        if threading.current_thread() is self._thread:
            return True
        if not self._lifecycle.acquire(timeout=-1 if timeout is None else timeout):
            return False
        try:
            thread = self._thread
            if thread is None or thread is threading.current_thread():
                return True
            # Once more: a start may have held the lock, and forgotten what we asked before it.
            self._ask_to_end()
            if not self._await_end(thread, give_up_at):
                return False
            self._thread = None
            return True
        finally:
            self._lifecycle.release()

    def wake(self) -> None:
        """End the wait between two steps. Cheap when nothing waits."""
        if not self._awake.is_set():
            self._awake.set()

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether the thread has been asked to end."""
        return self._stopping.is_set()

    @property
    def trouble(self) -> str:
        """What fails, and for how many times in a row; empty while all is well. For people, from any thread."""
        return trouble_text(self._error, self._backoff.failures)

    def _await_end(self, thread: threading.Thread, give_up_at: float | None) -> bool:
        while True:
            left = ASK_AGAIN_SECONDS if give_up_at is None else max(0.0, give_up_at - time.monotonic())
            thread.join(min(left, ASK_AGAIN_SECONDS))
            if not thread.is_alive():
                return True
            if left <= ASK_AGAIN_SECONDS and give_up_at is not None:
                return False
            # The interrupt may have come a moment before what it was to end.
            self.interrupt()

    def _ask_to_end(self) -> None:
        self._stopping.set()
        self.wake()
        self.interrupt()

    def _run(self) -> None:
        self._started.set()
        try:
            while not self._stopping.is_set():
                pause = self._try_step()
                if pause > 0 and not self._stopping.is_set():
                    self._awake.wait(pause)
                self._awake.clear()
        except BaseException as error:
            logger.critical("%s ended by an error", self.name, exc_info=True)
            if self.on_crash is not None:
                self.on_crash(error)
        finally:
            try:
                self.cleanup()
            except BaseException:
                logger.exception("%s could not clean up", self.name)

    def _try_step(self) -> float:
        try:
            pause = self.step()
        except Exception as error:
            pause = self._backoff.next()
            first = self._backoff.failures == 1
            self._error = error
            logger.warning(
                "%s failed, trying again in %.1f s: %s", self.name, pause, error, exc_info=first or None
            )
            # Not to be cut short by wake: whoever wakes us does not know that the database is away.
            self._stopping.wait(pause)
            return 0.0
        if self._backoff.failures:
            logger.info("%s works again after %d failures", self.name, self._backoff.failures)
            self._backoff.reset()
            self._error = None
        return pause


def trouble_text(error: Exception | None, failures: int) -> str:
    """What is said of something that has failed so many times in a row; nothing without an error."""
    if error is None:
        return ""
    count = "once" if failures <= 1 else f"{failures} times in a row"
    return f"failed {count}: {str(error).strip() or type(error).__name__}"[:TROUBLE_LENGTH]


def cut_off_after(seconds: float, *, code: int) -> None:
    """End the process then, if it has not ended by itself.

    At its end Python waits for the threads of libraries: for as long as a job runs on in one, though it was given back.
    """

    def cut_off() -> None:
        logger.warning("threads that jobs have left running are cut off")
        logging.shutdown()
        os._exit(code)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
