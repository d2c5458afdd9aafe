"""The one thread that runs async jobs, on an asyncio loop of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async

from django_river.work import connections
from django_river.work.attempts import Attempt
from django_river.work.executor import Executor
from django_river.work.outcomes import INTERRUPTED
from django_river.work.threads import Finished, stack_of

logger = logging.getLogger(__name__)

#: How often the thread in which async jobs use the ORM is looked after, in seconds.
TIDY_SECONDS = 5.0
#: What the loop may take to end when its tasks have ended, in seconds.
LAST_SECONDS = 1.0

#: How long attempts that are over at their first step are started one after another before others get their turn.
TURN_SECONDS = 0.002
#: A task for a job that never waits costs half if it need not wait for its first step.
_AT_ONCE: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}

#: Tasks that did not end with their loop. Collected as garbage, a coroutine runs to its end in whichever thread collects
#: it, and what asgiref does there to context variables can crash Python 3.11: so they are kept as long as the process.
_abandoned: list[asyncio.Task[Any]] = []


class EventLoop:
    """Starts with the first async job. Async jobs share it: one that blocks it blocks them all."""

    def __init__(self, executor: Executor, *, finished: Finished, pass_on: Callable[[Attempt], None]) -> None:
        self.executor = executor
        self.finished = finished
        self.pass_on = pass_on

        # Guards the start and the end of the loop.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Attempts that the loop has not taken yet, and since when; whoever pops one has it.
        self._line: dict[Attempt, float] = {}
        # Used in the loop's thread only: asyncio itself keeps weak references to tasks.
        self._tasks: set[asyncio.Task[bool]] = set()
        self._tidier: asyncio.Task[None]
        self._ender: asyncio.Task[None] | None = None

    def submit(self, *attempts: Attempt) -> None:
        """Run these attempts; from any thread."""
        loop = self._running_loop()
        self._line.update(dict.fromkeys(attempts, time.monotonic()))
        loop.call_soon_threadsafe(self._take, attempts)

    def take_waiting(self, *, longer_than: float = -1.0) -> list[Attempt]:
        """Take back the attempts that the loop has not taken for so many seconds: a job blocks it."""
        now = time.monotonic()
        late = [attempt for attempt, since in list(self._line.items()) if now - since > longer_than]
        return [attempt for attempt in late if self._line.pop(attempt, None) is not None]

    def stop(self, timeout: float) -> bool:
        """End the loop once its tasks have ended; false if some have not within ``timeout`` seconds.

        A job that blocks the loop itself is left behind: the loop ends when it lets go.
        """
        with self._lock:
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return True
        # A loop that is closed has ended before.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._begin_to_end, timeout)
        thread.join(timeout + LAST_SECONDS)
        return not thread.is_alive() and not self._tasks

    def stack_of(self, task: asyncio.Task[Any]) -> str:
        """Where a task stands now, as a traceback; from any thread."""
        if self._thread is not None and asyncio.current_task(self._loop) is task:
            # It blocks the loop.
            return stack_of(self._thread)
        frames = []
        awaited: Any = task.get_coro()
        while awaited is not None:
            frame = getattr(awaited, "cr_frame", None)
            if frame is not None:
                frames.append((frame, frame.f_lineno))
            awaited = getattr(awaited, "cr_await", None)
        return "".join(traceback.StackSummary.extract(iter(frames)).format())

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop
        if loop is not None:
            return loop
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=self._run, args=(loop,), name="river-event-loop", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:
                    loop.close()
                    raise
                self._loop, self._thread = loop, thread
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        self._tidier = loop.create_task(self._tidy_now_and_then())
        try:
            while self._ender is None or not self._ender.done():
                self._run_until_stopped(loop)
        finally:
            connections.close()
            _abandoned.extend(asyncio.all_tasks(loop))
            loop.close()

    def _run_until_stopped(self, loop: asyncio.AbstractEventLoop) -> None:
        """A job can stop the loop, or end it by a SystemExit in a task of its own. It must not take others along."""
        try:
            loop.run_forever()
        except BaseException:
            logger.exception("a job has ended the event loop; it goes on")
        else:
            if self._ender is None:
                logger.error("a job has stopped the event loop; it goes on")

    def _take(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            if self._line.pop(attempt, None) is not None:
                self._start(attempt)

    def _start(self, attempt: Attempt) -> None:
        """Start an attempt, and those that follow it, as long as each is over at its first step."""
        following: Attempt | None = attempt
        give_way_at = time.monotonic() + TURN_SECONDS
        while following is not None:
            following = self._begin(following)
            if following is not None and time.monotonic() >= give_way_at:
                asyncio.get_running_loop().call_soon(self._start, following)
                return

    def _begin(self, attempt: Attempt) -> Attempt | None:
        """Start an attempt; the one that gets its slot if it is over already."""
        loop = asyncio.get_running_loop()
        # A context of its own, as in a thread: we may be called by the task of the job before.
        task = asyncio.Task(
            self.executor.aexecute(attempt), loop=loop, context=contextvars.Context(), **_AT_ONCE
        )
        if task.done():
            return self._over(task, attempt)
        attempt.task = task
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, attempt))
        for seconds, reason in self.executor.timers(attempt):
            timer = loop.call_later(seconds, attempt.cancel, reason)
            task.add_done_callback(partial(_cancel, timer))
        return None

    def _ended(self, task: asyncio.Task[bool], attempt: Attempt) -> None:
        self._tasks.discard(task)
        following = self._over(task, attempt)
        if following is not None:
            self._start(following)

    def _over(self, task: asyncio.Task[bool], attempt: Attempt) -> Attempt | None:
        """What comes next on the loop in the slot of an attempt that is over."""
        # A task that is cancelled before its first step never gets to settle its attempt.
        was_ours = self.executor.settle(attempt, INTERRUPTED) if task.cancelled() else task.result()
        following = self.finished(attempt) if was_ours else None
        if following is not None and not self.executor.is_async(following):
            self.pass_on(following)
            return None
        return following

    async def _tidy_now_and_then(self) -> None:
        """Async jobs use the ORM in a thread that asgiref keeps; its connections can die like any other."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await sync_to_async(connections.tidy)()

    def _begin_to_end(self, timeout: float) -> None:
        if self._ender is None:
            self._ender = asyncio.get_running_loop().create_task(self._end(patience=timeout))

    async def _end(self, *, patience: float) -> None:
        self._tidier.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)
        # A job that has not ended may keep the thread in which we close.
        closing = asyncio.ensure_future(sync_to_async(connections.close)())
        await asyncio.wait([closing], timeout=LAST_SECONDS / 2)
        # What jobs have left behind may clean up, as at the end of asyncio.run.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=LAST_SECONDS / 4)
        asyncio.get_running_loop().stop()


def _cancel(timer: asyncio.TimerHandle, task: asyncio.Task[Any]) -> None:
    timer.cancel()
