"""The one thread that runs async jobs, on an asyncio loop of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from asgiref.sync import sync_to_async

from django_river.work import connections
from django_river.work.attempts import Attempt
from django_river.work.executor import Executor
from django_river.work.outcomes import INTERRUPTED
from django_river.work.threads import Finished

logger = logging.getLogger(__name__)

#: How often the thread in which async jobs use the ORM is looked after, in seconds.
TIDY_SECONDS = 5.0


class EventLoop:
    """Starts with the first async job. Async jobs share it: one that blocks it blocks them all."""

    def __init__(self, executor: Executor, *, finished: Finished, pass_on: Callable[[Attempt], None]) -> None:
        self.executor = executor
        self.finished = finished
        self.pass_on = pass_on

        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Used in the loop's thread only: asyncio itself keeps weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()
        self._tidier: asyncio.Task[None] | None = None

    def submit(self, attempt: Attempt) -> None:
        """Run this attempt; from any thread."""
        self._running_loop().call_soon_threadsafe(self._start, attempt)

    def stop(self, timeout: float) -> bool:
        """End the loop once its tasks have ended; false if some have not within ``timeout`` seconds."""
        with self._lock:
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return True
        deadline = time.monotonic() + timeout
        draining = asyncio.run_coroutine_threadsafe(self._drain(timeout), loop)
        try:
            is_drained = draining.result(timeout + 1)
        except TimeoutError:
            # A job blocks the loop itself; nothing can be done about it but to leave it behind.
            return False
        loop.call_soon_threadsafe(loop.stop)
        thread.join(max(1.0, deadline - time.monotonic()))
        return is_drained and not thread.is_alive()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop
        if loop is not None:
            return loop
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="river-event-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        self._tidier = loop.create_task(self._tidy_now_and_then())
        try:
            loop.run_forever()
        finally:
            connections.close()
            loop.close()

    def _start(self, attempt: Attempt) -> None:
        task = asyncio.get_running_loop().create_task(self._work(attempt))
        attempt.task = task
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, attempt))

    async def _work(self, attempt: Attempt) -> None:
        if await self.executor.aexecute(attempt):
            self._follow(attempt)

    def _ended(self, task: asyncio.Task[None], attempt: Attempt) -> None:
        self._tasks.discard(task)
        # A task that is cancelled before its first step never gets to settle its attempt.
        if task.cancelled() and self.executor.settle(attempt, INTERRUPTED):
            self._follow(attempt)

    def _follow(self, attempt: Attempt) -> None:
        following = self.finished(attempt)
        if following is None:
            return
        if self.executor.is_async(following):
            self._start(following)
        else:
            self.pass_on(following)

    async def _tidy_now_and_then(self) -> None:
        """Async jobs use the ORM in a thread that asgiref keeps; its connections can die like any other."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await sync_to_async(connections.tidy)()

    async def _drain(self, seconds: float) -> bool:
        if self._tidier is not None:
            self._tidier.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        await sync_to_async(connections.close)()
        return not self._tasks
