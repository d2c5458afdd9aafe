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
    given back by then. A thread runs the next attempt of a queue in the slot of the last one without the way through
    the shared line, unless others stand there: they must not starve.
    """

    def __init__(
        self, executor: Executor, *, size: int, finished: Finished, pass_on: Callable[[Attempt], None]
    ) -> None:
        self.executor = executor
        self.size = size
        self.finished = finished
        self.pass_on = pass_on

        self._numbers = itertools.count(1)
        # All below is guarded by the lock: the line with the time each joined it, our threads, and how many of them
        # wait. One that has been notified counts as waiting until it has looked at the line.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._line: deque[tuple[float, Attempt]] = deque()
        self._threads: set[threading.Thread] = set()
        self._waiting = 0
        self._stopping = False

    def submit(self, attempt: Attempt) -> None:
        """Run this attempt as soon as a thread is free."""
        with self._lock:
            self._line.append((time.monotonic(), attempt))
            if len(self._line) <= self._waiting:
                self._changed.notify()
            else:
                self._grow()

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
            if self._line:
                self._grow()

    def stop(self, timeout: float) -> bool:
        """Let the threads end and wait for them; false if some still run a job."""
        with self._lock:
            self._stopping = True
            threads = list(self._threads)
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _grow(self) -> None:
        """Start a thread if there is room; the lock is held."""
        if self._stopping or len(self._threads) >= self.size:
            return
        name = f"river-worker-{next(self._numbers)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The attempt stands in line: a thread that we have takes it, or the next that can be started.
            logger.exception("no thread can be started beside %d", len(self._threads))
            return
        self._threads.add(thread)

    def _run(self) -> None:
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
                if self._line:
                    self._grow()

    def _next(self) -> Attempt | None:
        """The first in line; ``None`` when nobody stands there and we are to end."""
        timeout: float | None = IDLE_SECONDS
        while True:
            with self._lock:
                self._waiting += 1
                is_there = self._changed.wait_for(lambda: self._line or self._stopping, timeout)
                self._waiting -= 1
                if self._line:
                    return self._line.popleft()[1]
                if is_there:
                    return None
            connections.close()
            timeout = None

    def _work(self, attempt: Attempt) -> bool:
        """Run an attempt, and those that follow in its slot; false if the slot was given to another thread."""
        following: Attempt | None = attempt
        connections.tidy()
        while following is not None:
            current = following
            was_ours = self.executor.execute(current)
            connections.tidy()
            if not was_ours:
                return False
            following = self.finished(current)
            if following is not None and (self._line or self.executor.is_async(following)):
                self.pass_on(following)
                following = None
        return True


def stack_of(thread: threading.Thread) -> str:
    """Where a thread stands now, as a traceback; empty if it has ended."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  (the documented way to look)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""
