"""The threads that run sync jobs, shared by all queues of a client."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
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

        self._line: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        # Guarded by the lock: our threads, and how many wait in line with nothing promised to them.
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._stopping = False

    def submit(self, attempt: Attempt) -> None:
        """Run this attempt as soon as a thread is free."""
        self._line.put(attempt)
        with self._lock:
            if self._idle:
                self._idle -= 1
                return
            self._grow()

    def take_waiting(self) -> list[Attempt]:
        """Take back the attempts that no thread has taken."""
        taken: list[Attempt] = []
        while True:
            try:
                attempt = self._line.get_nowait()
            except queue.Empty:
                return taken
            if attempt is not None:
                taken.append(attempt)

    def count_out(self, thread_id: int) -> None:
        """A thread is stuck: another may take its place. It ends by itself when its job returns."""
        with self._lock:
            self._threads = {thread for thread in self._threads if thread.ident != thread_id}
            if not self._line.empty():
                self._grow()

    def stop(self, timeout: float) -> bool:
        """Let the threads end and wait for them; false if some still run a job."""
        with self._lock:
            self._stopping = True
            threads = list(self._threads)
        for _ in threads:
            self._line.put(None)
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
        self._threads.add(thread)
        thread.start()

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

    def _next(self) -> Attempt | None:
        try:
            return self._line.get_nowait()
        except queue.Empty:
            with self._lock:
                self._idle += 1
        try:
            return self._line.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            connections.close()
            return self._line.get()

    def _work(self, attempt: Attempt) -> bool:
        """Run an attempt, and those that follow in its slot; false if the slot was given to another thread."""
        following: Attempt | None = attempt
        while following is not None:
            current = following
            connections.tidy()
            was_ours = self.executor.execute(current)
            connections.tidy()
            if not was_ours:
                return False
            following = self.finished(current)
            if following is not None and (not self._line.empty() or self.executor.is_async(following)):
                self.pass_on(following)
                following = None
        return True
