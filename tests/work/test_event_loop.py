"""The loop for async jobs: many at once, cancelled at any moment, ended whatever they do."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async

from django_river import FixedRetry
from django_river.jobs.context import CancelReason
from django_river.jobs.states import State
from django_river.work import event_loop
from django_river.work.event_loop import EventLoop
from django_river.work.outcomes import INTERRUPTED, SUCCESS
from django_river.work.producer import Producer
from tests.waiting import wait_until
from tests.work.building import Settled, attempt_at, executor_of

coloured = contextvars.ContextVar("coloured", default="no")


def is_running():
    return any(thread.name == "river-event-loop" for thread in threading.enumerate())


@pytest.fixture
def settled():
    return Settled()


@pytest.fixture
def run(settled):
    """Builds loops for a function, and ends them."""
    built = []

    def build(function, *, finished=lambda attempt: None, pass_on=lambda attempt: None, **functions):
        executor = executor_of(settled, test=function, **functions)
        built.append(EventLoop(executor, finished=finished, pass_on=pass_on))
        return built[-1]

    yield build
    for loop in built:
        assert loop.stop(10)
    assert not is_running()


async def nothing():
    pass


class TestSubmit:
    def test_starts_the_loop_with_the_first_job(self, run, settled):
        loop = run(nothing)
        assert not is_running()

        loop.submit(attempt_at())
        wait_until(lambda: settled)
        assert is_running()
        assert settled[0][1] is SUCCESS

    def test_from_many_threads_starts_one_loop(self, run, settled):
        loop = run(nothing)
        starting = threading.Barrier(8)

        def submit():
            starting.wait(10)
            loop.submit(attempt_at())

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(settled) == 8)

        assert [thread.name for thread in threading.enumerate()].count("river-event-loop") == 1

    def test_runs_many_jobs_at_once(self, run, settled):
        inside, everybody = [], asyncio.Event()

        async def job():
            inside.append(1)
            if len(inside) == 500:
                everybody.set()
            await everybody.wait()

        loop = run(job)
        for _ in range(500):
            loop.submit(attempt_at())
        wait_until(lambda: len(settled) == 500)

    def test_without_a_thread_to_be_had_may_be_tried_again(self, run, settled, monkeypatch):
        def refuse(self):
            raise RuntimeError("can't start new thread")

        loop = run(nothing)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError):
                loop.submit(attempt_at())

        loop.submit(attempt_at())
        wait_until(lambda: settled)

    def test_a_slot_goes_to_the_next_of_its_queue(self, run, settled):
        producer, passed = Producer("default", max_workers=1), []
        loop = run(nothing, finished=lambda a: a.producer.release(), pass_on=passed.append, sync=lambda: None)
        attempts = [attempt_at(producer), attempt_at(producer), attempt_at(producer, kind="sync")]
        for attempt in producer.admit(attempts):
            loop.submit(attempt)
        wait_until(lambda: passed)

        assert settled.ids == [attempt.job.id for attempt in attempts[:2]]
        assert passed == attempts[2:]

    def test_context_variables_do_not_reach_the_next_job(self, run, settled):
        seen, following = [], [attempt_at(), attempt_at()]

        async def job():
            seen.append(coloured.get())
            coloured.set("red")

        coloured.set("outside")
        loop = run(job, finished=lambda attempt: following.pop() if following else None)
        loop.submit(attempt_at())
        wait_until(lambda: len(settled) == 3)

        assert seen == ["no"] * 3


class TestTimeout:
    def test_cancels_what_takes_too_long(self, run, settled):
        async def job():
            await asyncio.sleep(60)

        run((job, {"timeout": 0.01, "retry": FixedRetry(60)})).submit(attempt_at())
        wait_until(lambda: settled)

        ended = settled[0][1]
        assert (ended.state, ended.error) == (
            State.RETRYABLE,
            "JobTimeout: took longer than its timeout of 0.01 s",
        )
        assert "await asyncio.sleep(60)" in ended.trace

    def test_that_is_swallowed_is_a_success(self, run, settled):
        async def job():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return

        run((job, {"timeout": 0.01})).submit(attempt_at())
        wait_until(lambda: settled)

        assert settled[0][1] is SUCCESS

    def test_is_forgotten_with_the_attempt(self, run, settled):
        async def job():
            await asyncio.sleep(0)

        loop = run((job, {"timeout": 60}))
        attempt = attempt_at()
        loop.submit(attempt)
        wait_until(lambda: settled)

        assert all(timer.cancelled() for timer in loop._loop._scheduled if timer._callback == attempt.cancel)
        assert attempt.cancel_reason is None


def test_jobs_that_never_wait_let_others_have_their_turn(run, settled, monkeypatch):
    monkeypatch.setattr(event_loop, "TURN_SECONDS", 0.0)
    woken = []

    async def job(waits: bool = False):
        if waits:
            await asyncio.sleep(0)
            woken.append(len(settled))

    following = [attempt_at() for _ in range(500)]
    loop = run(job, finished=lambda attempt: following.pop() if following else None)
    loop.submit(attempt_at(), attempt_at(args=b'{"waits": true}'))
    wait_until(lambda: len(settled) == 502)

    assert woken[0] < 10


class TestCancel:
    def test_before_the_first_step_gives_the_attempt_back_and_the_slot_on(self, run, settled, monkeypatch):
        monkeypatch.setattr(event_loop, "_AT_ONCE", {})
        blocked, go_on, released = threading.Event(), threading.Event(), []

        async def job(block: bool = False):
            if block:
                blocked.set()
                go_on.wait(10)

        loop = run(job, finished=released.append)
        first, second = attempt_at(args=b'{"block": true}'), attempt_at()
        loop.submit(first)
        wait_until(blocked.is_set)
        # Its task is made when the loop goes on; the cancel then comes before the task's first step.
        loop.submit(second)
        loop._loop.call_soon_threadsafe(lambda: second.task.cancel())  # noqa: PLW0108  (there is no task yet)
        go_on.set()
        wait_until(lambda: len(released) == 2)

        assert dict(settled)[second] is INTERRUPTED
        assert set(released) == {first, second}

    def test_of_one_that_stands_before_the_loop_keeps_it_from_beginning(self, run, settled):
        blocked, go_on, called = threading.Event(), threading.Event(), []

        async def job(block: bool = False):
            called.append(block)
            if block:
                blocked.set()
                go_on.wait(10)

        loop = run(job)
        loop.submit(attempt_at(args=b'{"block": true}'))
        wait_until(blocked.is_set)
        waiting, given_back = attempt_at(), attempt_at()
        loop.submit(waiting)
        loop.submit(given_back)
        waiting.cancel(CancelReason.SHUTDOWN)
        given_back.take()
        go_on.set()
        wait_until(lambda: len(settled) == 2)

        assert dict(settled)[waiting] is INTERRUPTED
        assert called == [True]

    def test_while_it_runs(self, run, settled):
        async def job():
            await asyncio.sleep(60)

        loop = run(job)
        attempt = attempt_at()
        loop.submit(attempt)
        wait_until(lambda: attempt.context)
        attempt.cancel(CancelReason.SHUTDOWN)
        wait_until(lambda: settled)

        assert settled == [(attempt, INTERRUPTED)]

    def test_may_be_swallowed(self, run, settled):
        async def job():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0)

        loop = run(job)
        attempt = attempt_at()
        loop.submit(attempt)
        wait_until(lambda: attempt.context)
        attempt.cancel(CancelReason.CANCEL)
        wait_until(lambda: settled)

        assert settled == [(attempt, SUCCESS)]

    def test_of_an_attempt_that_was_given_up_frees_no_slot(self, run, settled):
        released = []

        async def job():
            await asyncio.sleep(60)

        loop = run(job, finished=released.append)
        attempt = attempt_at()
        loop.submit(attempt)
        wait_until(lambda: attempt.context)
        attempt.take()
        attempt.cancel(CancelReason.SHUTDOWN)
        wait_until(attempt.task.done)

        assert (settled, released) == ([], [])


class TestTakeWaiting:
    @pytest.fixture
    def blocked(self, run):
        """A loop that a job blocks until the event is set."""
        is_blocked, go_on = threading.Event(), threading.Event()

        async def job(block: bool = False):
            if block:
                is_blocked.set()
                go_on.wait(10)

        loop = run(job)
        loop.submit(attempt_at(args=b'{"block": true}'))
        is_blocked.wait(10)
        yield loop, go_on
        go_on.set()

    def test_takes_what_the_loop_has_not_taken(self, blocked, settled):
        loop, go_on = blocked
        waiting = [attempt_at() for _ in range(3)]
        for attempt in waiting:
            loop.submit(attempt)

        assert loop.take_waiting() == waiting
        assert loop.take_waiting() == []
        go_on.set()
        assert loop.stop(10)
        assert len(settled) == 1

    def test_leaves_those_who_have_just_come(self, blocked, monkeypatch):
        loop, go_on = blocked
        now = [100.0]
        old, new = attempt_at(), attempt_at()
        with monkeypatch.context() as patch:
            patch.setattr("django_river.work.event_loop.time", SimpleNamespace(monotonic=lambda: now[0]))
            for attempt in (old, new):
                loop.submit(attempt)
                now[0] += 1

            assert loop.take_waiting(longer_than=1.5) == [old]
        go_on.set()
        wait_until(lambda: new.is_settled)


class TestStop:
    def test_before_the_first_job(self, run):
        assert run(nothing).stop(0)

    def test_twice(self, run, settled):
        loop = run(nothing)
        loop.submit(attempt_at())
        wait_until(lambda: settled)

        assert loop.stop(5)
        assert loop.stop(5)
        assert not is_running()

    def test_waits_for_the_jobs(self, run, settled):
        async def job():
            await asyncio.sleep(0.05)

        loop = run(job)
        for _ in range(3):
            loop.submit(attempt_at())

        assert loop.stop(10)
        assert len(settled) == 3

    def test_leaves_jobs_behind_that_do_not_end(self, run, settled):
        leave = threading.Event()

        async def job():
            while not leave.is_set():
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)

        loop = run(job)
        attempt = attempt_at()
        loop.submit(attempt)
        wait_until(lambda: attempt.context)

        assert not loop.stop(0.01)
        assert not is_running()
        loop._tasks.clear()
        attempt.take()

    def test_cancels_what_jobs_have_left_behind(self, run, settled):
        cleaned_up = threading.Event()
        left = []

        async def run_on():
            try:
                await asyncio.sleep(60)
            finally:
                cleaned_up.set()

        async def job():
            left.append(asyncio.create_task(run_on()))
            await asyncio.sleep(0)

        loop = run(job)
        loop.submit(attempt_at())
        wait_until(lambda: settled)

        assert loop.stop(10)
        assert cleaned_up.is_set()

    def test_does_not_wait_for_ever_for_a_job_that_blocks_the_loop(self, run, monkeypatch):
        monkeypatch.setattr(event_loop, "LAST_SECONDS", 0.01)
        blocked, go_on = threading.Event(), threading.Event()

        async def job():
            blocked.set()
            go_on.wait(10)

        loop = run(job)
        loop.submit(attempt_at())
        wait_until(blocked.is_set)

        assert not loop.stop(0.01)
        assert not loop.stop(0.01)
        go_on.set()
        wait_until(lambda: not is_running())
        assert not asyncio.all_tasks(loop._loop)

    def test_does_not_wait_for_ever_for_a_job_in_a_thread(self, run, monkeypatch):
        monkeypatch.setattr(event_loop, "LAST_SECONDS", 0.1)
        blocked, go_on = threading.Event(), threading.Event()

        def block():
            blocked.set()
            go_on.wait(10)

        async def job():
            await sync_to_async(block)()

        loop = run(job)
        loop.submit(attempt_at())
        wait_until(blocked.is_set)

        loop.stop(0.01)
        assert not is_running()
        assert not asyncio.all_tasks(loop._loop)
        go_on.set()


def test_connections_of_async_jobs_are_looked_after(run, monkeypatch):
    tidied = []
    monkeypatch.setattr(event_loop, "TIDY_SECONDS", 0.01)
    monkeypatch.setattr(event_loop.connections, "tidy", lambda: tidied.append(threading.current_thread()))
    loop = run(nothing)
    loop.submit(attempt_at())
    wait_until(lambda: len(tidied) > 1)

    assert tidied[0] is not loop._thread


async def stop_the_loop():
    asyncio.get_running_loop().stop()


async def end_in_a_task():
    async def end():
        raise SystemExit(3)

    await asyncio.gather(asyncio.create_task(end()), return_exceptions=True)


@pytest.mark.parametrize("hostile", [stop_the_loop, end_in_a_task])
def test_a_job_that_ends_the_loop_takes_no_other_along(run, settled, hostile, caplog):
    loop = run(nothing, hostile=hostile)
    loop.submit(attempt_at(kind="hostile"))
    wait_until(lambda: "the event loop; it goes on" in caplog.text)

    loop.submit(attempt_at())
    wait_until(lambda: SUCCESS in [outcome for attempt, outcome in settled if attempt.job.kind == "test"])
