"""Where attempts run, who settles them, and what becomes of those that do not stop."""

from __future__ import annotations

import asyncio
import threading
import time

import msgspec
import pytest

from django_river import JobContext
from django_river.conf import Config
from django_river.jobs.context import CancelReason
from django_river.jobs.states import State
from django_river.signals import job_result_refused
from django_river.work.attempts import Attempts
from django_river.work.outcomes import INTERRUPTED, SUCCESS
from django_river.work.producer import Producer
from django_river.work.workers import Workers
from tests.waiting import wait_until
from tests.work.building import attempt_at, registry_of


class Results(list):
    """Stands where the completer does, and keeps what it is given."""

    def put(self, attempt, outcome):
        self.append((attempt, outcome.change(attempt.job, attempt.remains)))

    def of(self, attempt):
        return [change for other, change in self if other is attempt]


class Held:
    """Jobs that go on until they are let go, deaf to every request."""

    def __init__(self):
        self.running = 0
        self.open = threading.Event()

    def job(self):
        self.running += 1
        self.open.wait(20)

    async def job_async(self):
        self.running += 1
        while not self.open.is_set():
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                continue


@pytest.fixture
def held():
    held = Held()
    yield held
    held.open.set()


@pytest.fixture
def results():
    return Results()


@pytest.fixture
def build(results, held):
    """Builds workers for functions, and ends them."""
    built = []

    def build(*, slots=2, config=None, **functions):
        workers = Workers(
            client_id="me",
            config=config or Config(stuck_after=0.01),
            registry=registry_of(**functions),
            attempts=Attempts(),
            completer=results,
            slots=slots,
            on_room=lambda producer: None,
        )
        built.append(workers)
        return workers

    yield build
    held.open.set()
    for workers in built:
        assert workers.stop(10)
    # Those that were counted out, too.
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("river-worker-")])


def run(workers, *attempts):
    workers.attempts.add(attempts)
    for attempt in attempts:
        for admitted in attempt.producer.admit([attempt]):
            workers.start(admitted)


@pytest.fixture
def refused():
    heard = []

    def receiver(job, client_id, **_):
        heard.append(job.id)

    job_result_refused.connect(receiver)
    yield heard
    job_result_refused.disconnect(receiver)


class TestStart:
    def test_runs_sync_jobs_in_threads_and_async_ones_on_the_loop(self, build, results):
        where = []

        async def job_async():
            where.append(threading.current_thread().name)

        workers = build(sync=lambda: where.append(threading.current_thread().name), asynchronous=job_async)
        run(workers, attempt_at(kind="sync"), attempt_at(kind="asynchronous"))
        wait_until(lambda: len(results) == 2)

        assert sorted(where) == ["river-event-loop", "river-worker-1"]


class TestSettle:
    def test_passes_the_outcome_and_the_output_on(self, build, results):
        def job(context: JobContext):
            context.record_output([1, 2])

        attempt = attempt_at()
        run(build(test=job), attempt)
        wait_until(lambda: results)

        assert results.of(attempt)[0].state is State.COMPLETED
        assert msgspec.json.decode(results.of(attempt)[0].metadata) == {"output": [1, 2]}

    def test_refuses_a_second_outcome_and_says_so(self, build, results, refused, caplog):
        workers, attempt = build(), attempt_at()

        assert workers.settle(attempt, INTERRUPTED)
        assert not workers.settle(attempt, SUCCESS)
        assert len(results) == 1
        assert refused == [attempt.job.id]
        assert f"job {attempt.job.id} (test) ended after its attempt 1 was given up" in caplog.text


class TestHandBack:
    def test_gives_back_an_attempt_and_those_that_follow_in_its_slot(self, build, results):
        workers, producer = build(), Producer("default", max_workers=1)
        attempts = [attempt_at(producer) for _ in range(3)]
        producer.admit(attempts)
        workers.hand_back(attempts[0])

        assert [attempt for attempt, _ in results] == attempts
        assert all(change.give_attempt_back for _, change in results)
        assert producer.load == 0


class TestGiveUp:
    @pytest.mark.parametrize("kind", ["sync", "asynchronous"])
    def test_an_attempt_that_does_not_stop_fails_with_where_it_stands(self, build, results, held, kind):
        timed = {"timeout": 0.01}
        workers = build(sync=(held.job, timed), asynchronous=(held.job_async, timed))
        attempt = attempt_at(kind=kind)
        run(workers, attempt)
        wait_until(lambda: held.running)
        wait_until(lambda: workers.give_up_overdue() or results)

        (change,) = results.of(attempt)
        error = msgspec.json.decode(change.error)
        assert error["error"] == "JobTimeout: did not stop within 0.01 s after its timeout"
        assert "in job" in error["trace"]
        assert "asyncio.sleep(0.005)" in error["trace"] or "self.open.wait(20)" in error["trace"]
        assert attempt.producer.load == 0

    @pytest.mark.parametrize("kind", ["sync", "asynchronous"])
    def test_its_late_end_changes_nothing(self, build, results, held, refused, kind):
        timed = {"timeout": 0.01}
        workers = build(sync=(held.job, timed), asynchronous=(held.job_async, timed))
        attempt = attempt_at(kind=kind)
        run(workers, attempt)
        wait_until(lambda: held.running)
        wait_until(lambda: workers.give_up_overdue() or results)
        held.open.set()

        wait_until(lambda: refused)
        assert refused == [attempt.job.id]
        assert len(results) == 1
        assert attempt.producer.load == 0

    def test_a_job_that_blocks_the_loop_fails_with_where_it_stands(self, build, results, held):
        async def block():
            held.job()

        workers, attempt = build(test=(block, {"timeout": 0.01})), attempt_at()
        run(workers, attempt)
        wait_until(lambda: held.running)
        wait_until(lambda: workers.give_up_overdue() or results)

        assert "self.open.wait(20)" in msgspec.json.decode(results.of(attempt)[0].error)["trace"]

    def test_its_slot_goes_to_the_next(self, build, results, held):
        workers = build(slots=1, stuck=(held.job, {"timeout": 0.01}), quick=lambda: None)
        producer = Producer("default", max_workers=1)
        stuck, quick = attempt_at(producer, kind="stuck"), attempt_at(producer, kind="quick")
        workers.attempts.add([stuck, quick])
        for attempt in producer.admit([stuck, quick]):
            workers.start(attempt)
        wait_until(lambda: held.running)
        wait_until(lambda: workers.give_up_overdue() or results.of(quick))

        assert results.of(quick)[0].state is State.COMPLETED

    def test_keeps_the_output_it_has_recorded(self, build, results, held):
        def job(context: JobContext):
            context.record_output("so far")
            held.job()

        workers, attempt = build(test=(job, {"timeout": 0.01})), attempt_at()
        run(workers, attempt)
        wait_until(lambda: held.running)
        wait_until(lambda: workers.give_up_overdue() or results)

        assert msgspec.json.decode(results.of(attempt)[0].metadata) == {"output": "so far"}

    def test_leaves_those_alone_that_have_time_left(self, build, results, held):
        workers = build(timed=(held.job, {"timeout": 60}), untimed=held.job)
        run(workers, attempt_at(kind="timed"), attempt_at(kind="untimed"))
        wait_until(lambda: held.running == 2)
        workers.give_up_overdue()

        assert results == []

    def test_races_with_the_end_of_the_job_are_won_by_one(self, build, results):
        workers = build(slots=4, test=(lambda: None, {"timeout": 1e-9}), config=Config(stuck_after=1e-9))
        producer = Producer("default", max_workers=4)
        attempts = [attempt_at(producer) for _ in range(400)]
        workers.attempts.add(attempts)
        for attempt in producer.admit(attempts):
            workers.start(attempt)
        wait_until(lambda: workers.give_up_overdue() or len(results) == 400)

        assert {attempt for attempt, _ in results} == set(attempts)
        wait_until(lambda: producer.load == 0)

    def test_tells_nothing_where_there_is_nothing_to_tell(self, build, results):
        workers, attempt = build(), attempt_at()
        attempt.context, attempt.deadline = JobContext(id=1), time.monotonic() - 1
        workers.attempts.add([attempt])
        attempt.producer.admit([attempt])
        workers.give_up_overdue()

        assert msgspec.json.decode(results.of(attempt)[0].error)["trace"] == ""

    def test_of_a_thread_that_is_gone_tells_nothing(self, build, results):
        workers, attempt = build(), attempt_at()
        attempt.thread = threading.Thread(target=lambda: None)
        attempt.thread.start()
        attempt.thread.join()
        attempt.context, attempt.deadline = JobContext(id=1), time.monotonic() - 1
        workers.attempts.add([attempt])
        attempt.producer.admit([attempt])
        workers.give_up_overdue()

        assert msgspec.json.decode(results.of(attempt)[0].error)["trace"] == ""


class TestStop:
    def test_asks_jobs_to_stop(self, build, results):
        def job(context: JobContext):
            while not context.cancelled:
                time.sleep(0.001)
            context.raise_if_cancelled()

        workers, attempt = build(test=job), attempt_at()
        run(workers, attempt)
        wait_until(lambda: attempt.context)
        workers.cancel([attempt], CancelReason.SHUTDOWN)
        wait_until(lambda: results)

        assert results.of(attempt)[0].give_attempt_back

    def test_says_whether_jobs_still_run(self, build, held):
        workers = build(test=held.job)
        run(workers, attempt_at())
        wait_until(lambda: held.running)

        assert not workers.stop(0.01)
        held.open.set()
        assert workers.stop(10)
