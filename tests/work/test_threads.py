"""Threads that run sync jobs: as many as are needed, none lost, none more than allowed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_river.work import connections, threads
from django_river.work.producer import Producer
from django_river.work.threads import WorkerThreads
from tests.waiting import wait_until
from tests.work.building import Settled, attempt_at, executor_of


def names():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("river-worker-")}


@pytest.fixture
def settled():
    return Settled()


@pytest.fixture
def pool(settled):
    """Builds threads for a function, and ends them."""
    built = []

    def build(function=lambda: None, *, size=4, finished=lambda attempt: None, **functions):
        def pass_on(attempt):
            pool.submit(attempt)

        executor = executor_of(settled, test=function, **functions)
        pool = WorkerThreads(executor, size=size, finished=finished, pass_on=pass_on)
        built.append(pool)
        return pool

    yield build
    for pool in built:
        assert pool.stop(10)
    # Those that were counted out, too.
    wait_until(lambda: not names())


class Gate:
    """A job that waits until it is let go, and counts how many wait."""

    def __init__(self):
        self.inside = 0
        self.most = 0
        self.open = threading.Event()
        self._lock = threading.Lock()

    def wait(self):
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.open.wait(20)
        with self._lock:
            self.inside -= 1


class TestSubmit:
    def test_starts_no_thread_before_the_first(self, pool):
        pool()

        assert not names()

    def test_grows_on_demand_up_to_its_size(self, pool, settled):
        gate = Gate()
        threads = pool(gate.wait, size=3)
        for running in (1, 2, 3, 3, 3):
            threads.submit(attempt_at())
            wait_until(lambda running=running: gate.inside == running)
        assert len(names()) == 3

        gate.open.set()
        wait_until(lambda: len(settled) == 5)
        assert gate.most == 3

    def test_uses_a_thread_that_waits(self, pool, settled):
        threads = pool()
        for number in range(1, 6):
            threads.submit(attempt_at())
            wait_until(lambda number=number: len(settled) == number and len(threads._idle) == 1)

        assert names() == {"river-worker-1"}

    def test_loses_nothing_under_stress(self, pool, settled):
        threads = pool(size=3)
        with ThreadPoolExecutor(4) as submitting:
            for _ in range(4):
                submitting.submit(lambda: [threads.submit(attempt_at()) for _ in range(500)])
        wait_until(lambda: len(settled) == 2000)

        assert len(set(settled.ids)) == 2000
        assert len(names()) <= 3

    def test_lets_no_attempt_wait_for_another_while_there_is_room(self, pool):
        # Threads fall idle just when more comes: each round starts only if all its jobs run at once.
        together = threading.Barrier(4)
        threads_ = pool(lambda: together.wait(10), size=4)
        for _ in range(100):
            done = [attempt_at() for _ in range(4)]
            for attempt in done:
                threads_.submit(attempt)
            wait_until(lambda done=done: all(attempt.is_settled for attempt in done))

        assert not together.broken

    def test_runs_jobs_in_the_order_in_which_they_came(self, pool, settled):
        threads = pool(size=1)
        attempts = [attempt_at() for _ in range(100)]
        for attempt in attempts:
            threads.submit(attempt)
        wait_until(lambda: len(settled) == 100)

        assert settled.ids == [attempt.job.id for attempt in attempts]

    def test_without_a_thread_to_be_had_waits_for_the_next(self, pool, settled, monkeypatch, caplog):
        threads = pool()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            threads.submit(attempt_at())
        assert "no thread can be started beside 0" in caplog.text

        threads.submit(attempt_at())
        wait_until(lambda: len(settled) == 2)


def refuse(self):
    raise RuntimeError("can't start new thread")


class TestSlots:
    def test_a_slot_goes_to_the_next_of_its_queue_in_the_same_thread(self, pool, settled):
        ran_in = []
        producer = Producer("default", max_workers=1)
        threads = pool(
            lambda: ran_in.append(threading.current_thread()),
            finished=lambda attempt: attempt.producer.release(),
        )
        attempts = [attempt_at(producer) for _ in range(5)]
        for attempt in producer.admit(attempts):
            threads.submit(attempt)
        wait_until(lambda: len(settled) == 5)

        assert settled.ids == [attempt.job.id for attempt in attempts]
        assert len(set(ran_in)) == 1
        assert producer.load == 0

    def test_others_in_line_come_before_the_next_of_the_queue(self, pool, settled):
        gate, producer = Gate(), Producer("default", max_workers=1)
        threads = pool(gate.wait, size=1, finished=lambda attempt: attempt.producer.release())
        own, stranger = [attempt_at(producer) for _ in range(2)], attempt_at()
        for attempt in producer.admit(own):
            threads.submit(attempt)
        threads.submit(stranger)
        gate.open.set()
        wait_until(lambda: len(settled) == 3)

        assert settled.ids == [own[0].job.id, stranger.job.id, own[1].job.id]

    def test_an_async_job_that_follows_is_passed_on(self, settled):
        async def job():
            pass

        passed = []
        following = attempt_at(kind="asynchronous")
        executor = executor_of(settled, test=lambda: None, asynchronous=job)
        threads = WorkerThreads(executor, size=1, finished=lambda attempt: following, pass_on=passed.append)
        threads.submit(attempt_at())
        wait_until(lambda: passed)

        assert passed == [following]
        assert threads.stop(10)


class TestTakeWaiting:
    def test_takes_what_no_thread_has_taken(self, pool):
        gate = Gate()
        threads = pool(gate.wait, size=1)
        attempts = [attempt_at() for _ in range(3)]
        for attempt in attempts:
            threads.submit(attempt)
        wait_until(lambda: gate.inside)

        assert threads.take_waiting() == attempts[1:]
        assert threads.take_waiting() == []
        gate.open.set()

    def test_leaves_those_who_have_just_come(self, pool, monkeypatch):
        gate, now = Gate(), [100.0]
        threads = pool(gate.wait, size=1)
        threads.submit(attempt_at())
        wait_until(lambda: gate.inside)
        monkeypatch.setattr("django_river.work.threads.time.monotonic", lambda: now[0])
        old, new = attempt_at(), attempt_at()
        for attempt in (old, new):
            threads.submit(attempt)
            now[0] += 1

        assert threads.take_waiting(longer_than=1.5) == [old]
        monkeypatch.undo()
        gate.open.set()


class TestStuckThread:
    def test_is_counted_out_and_ends_when_its_job_returns(self, pool, settled):
        gate = Gate()
        threads = pool(gate.wait, size=1)
        stuck, next_one = attempt_at(), attempt_at()
        threads.submit(stuck)
        threads.submit(next_one)
        wait_until(lambda: gate.inside == 1)
        assert stuck.take()
        threads.count_out(stuck.thread)
        wait_until(lambda: gate.inside == 2)

        gate.open.set()
        wait_until(lambda: not stuck.thread.is_alive())
        assert settled.ids == [next_one.job.id]

    def test_makes_room_for_a_later_one(self, pool, settled):
        gate = Gate()
        threads = pool(gate.wait, size=1)
        stuck = attempt_at()
        threads.submit(stuck)
        wait_until(lambda: gate.inside == 1)
        stuck.take()
        threads.count_out(stuck.thread)
        threads.count_out(stuck.thread)
        threads.submit(attempt_at())

        wait_until(lambda: gate.inside == 2)
        gate.open.set()


class TestStop:
    def test_before_the_start_and_twice(self, pool):
        threads = pool()

        assert threads.stop(0)
        assert threads.stop(0)

    def test_ends_threads_that_wait(self, pool, settled):
        threads = pool()
        threads.submit(attempt_at())
        wait_until(lambda: settled)

        assert threads.stop(5)
        assert not names()

    def test_finishes_what_stands_in_line(self, pool, settled):
        gate = Gate()
        threads = pool(gate.wait, size=1)
        for _ in range(3):
            threads.submit(attempt_at())
        wait_until(lambda: gate.inside)
        assert not threads.stop(0)
        gate.open.set()

        assert threads.stop(5)
        assert len(settled) == 3

    def test_does_not_wait_for_ever(self, pool):
        gate = Gate()
        threads = pool(gate.wait)
        threads.submit(attempt_at())
        wait_until(lambda: gate.inside)

        assert not threads.stop(0.01)
        gate.open.set()

    def test_starts_no_thread_afterwards(self, pool, settled):
        threads = pool()
        threads.stop(0)
        threads.submit(attempt_at())

        assert not names()
        assert len(threads.take_waiting()) == 1


class TestThread:
    def test_that_ends_by_an_error_is_replaced(self, settled, caplog):
        def finished(attempt):
            raise SystemExit

        threads = WorkerThreads(
            executor_of(settled, test=lambda: None), size=1, finished=finished, pass_on=lambda a: None
        )
        for _ in range(3):
            threads.submit(attempt_at())
        wait_until(lambda: len(settled) == 3)

        assert threads.stop(5)
        assert caplog.text.count("a worker thread ended by an error") == 3

    def test_that_has_nothing_to_do_closes_its_connections(self, pool, settled, monkeypatch):
        closed = []
        monkeypatch.setattr(threads, "IDLE_SECONDS", 0.01)
        monkeypatch.setattr(connections, "close", lambda: closed.append(threading.current_thread().name))
        pool_ = pool()
        pool_.submit(attempt_at())
        wait_until(lambda: closed)
        assert closed == ["river-worker-1"]

        pool_.submit(attempt_at())
        wait_until(lambda: len(closed) == 2)
        assert len(settled) == 2
