"""The threads that run sync jobs, shared by all queues of a client."""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from django_river.work import connections
from django_river.work.attempts import Attempt
from django_river.work.executor import Executor

logger = logging.getLogger(__name__)

#: A thread that has had nothing to do for so many seconds closes its database connections.
IDLE_SECONDS = 10.0

#: Told that an attempt has ended; answers with the one that gets its slot, if any.
Finished = Callable[[Attempt], Attempt | None]


class WorkerThreads:
    """Up to ``size`` threads, started as they are needed.

    They are daemons: a job that does not stop when asked must not keep the process from ending; its attempt has been
    given back by then.

    One thread at a time is being called: it calls the next one if it finds more in the line than it takes. So jobs
    that block get a thread each at once, while those that are over in microseconds are run by the thread that is
    there, before another has come; to wake one for each would cost more than they do. Who waits longest is called
    last: few threads, and few database connections, serve a light load.
    """

    def __init__(
        self, executor: Executor, *, size: int, finished: Finished, pass_on: Callable[[Attempt], None]
    ) -> None:
        self.executor = executor
        #: Written by the keeper, too, when queues come and go.
        self.size = size
        self.finished = finished
        self.pass_on = pass_on

        self._numbers = itertools.count(1)
        # All below is guarded by the lock: the line with the time each joined it, our threads, the locks on which the
        # idle ones wait, and whether a thread has been called and has not come yet.
        self._lock = threading.Lock()
        self._line: deque[tuple[float, Attempt]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle: list[threading.Lock] = []
        self._is_called = False
        self._stopping = False

    def submit(self, *attempts: Attempt) -> None:
        """Run these attempts as soon as threads are free."""
        now = time.monotonic()
        with self._lock:
            self._line.extend((now, attempt) for attempt in attempts)
            self._call()

    def take_waiting(self, *, longer_than: float = -1.0) -> list[Attempt]:
        """Take back the attempts that no thread has taken for so many seconds."""
        taken: list[Attempt] = []
        with self._lock:
            now = time.monotonic()
            while self._line and now - self._line[0][0] > longer_than:
                taken.append(self._line.popleft()[1])
        return taken

    def count_out(self, thread: threading.Thread) -> None:
        """This thread is stuck: another may take its place. It ends by itself when its job returns."""
        with self._lock:
            self._threads.discard(thread)
            self._call()

    def stop(self, timeout: float) -> bool:
        """Let the threads end and wait for them; false if some still run a job."""
        with self._lock:
            self._stopping = True
            threads = list(self._threads)
            while self._idle:
                self._idle.pop().release()
        deadline = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _call(self) -> None:
        """Call one more thread if somebody stands in line and none is on its way; the lock is held."""
        if not self._line or self._is_called:
            return
        if self._idle:
            self._idle.pop().release()
            self._is_called = True
        elif len(self._threads) < self.size and not self._stopping:
            self._is_called = self._grow()

    def _grow(self) -> bool:
        """Start a thread; the lock is held."""
        name = f"river-worker-{next(self._numbers)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The attempt stands in line: a thread that we have takes it, or the next that can be started.
            logger.exception("no thread can be started beside %d", len(self._threads))
            return False
        self._threads.add(thread)
        return True

    def _run(self) -> None:
        self._arrive()
        try:
            while (attempt := self._next()) is not None:
                if not self._work(attempt):
                    break
        except BaseException:
            logger.critical("a worker thread ended by an error", exc_info=True)
        finally:
            connections.close()
            with self._lock:
                self._threads.discard(threading.current_thread())
                # It may have been the one that was called; to call one too many does no harm.
                self._is_called = False
                self._call()

    def _next(self) -> Attempt | None:
        """The first in line; ``None`` when nobody stands there and we are to end."""
        while True:
            with self._lock:
                if self._line:
                    attempt = self._line.popleft()[1]
                    self._call()
                    return attempt
                if self._stopping:
                    return None
                turn = threading.Lock()
                turn.acquire()
                self._idle.append(turn)
            if not turn.acquire(timeout=IDLE_SECONDS):
                connections.close()
                turn.acquire()
            self._arrive()

    def _arrive(self) -> None:
        """Say that who was called has come."""
        with self._lock:
            self._is_called = False

    def _work(self, attempt: Attempt) -> bool:
        """Run an attempt, and those that follow in its slot; false if the slot was given to another thread."""
        connections.tidy()
        while True:
            was_ours = self.executor.execute(attempt)
            connections.tidy()
            if not was_ours:
                return False
            following = self.finished(attempt)
            if following is None:
                return True
            if self.executor.is_async(following):
                self.pass_on(following)
                return True
            attempt = self._in_turn(following)

    def _in_turn(self, following: Attempt) -> Attempt:
        """Whom to run now: those who stand in line must not starve, so the one that follows joins them."""
        if not self._line:
            return following
        with self._lock:
            self._line.append((time.monotonic(), following))
            return self._line.popleft()[1]


def stack_of(thread: threading.Thread) -> str:
    """Where a thread stands now, as a traceback; empty if it has ended."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  (the documented way to look)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""
