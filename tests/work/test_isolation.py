"""Jobs in processes of their own: started, used again, bounded, and killed when they will not stop."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest

from django_river import FixedRetry
from django_river.conf import Config
from django_river.jobs.context import CancelReason
from django_river.jobs.registry import registry
from django_river.jobs.states import State
from django_river.long_job_options import IsolationConfig
from django_river.queue_options import QueueConfig
from django_river.work import isolation
from django_river.work.attempts import Attempts
from django_river.work.outcomes import INTERRUPTED
from django_river.work.producer import Producer
from django_river.work.workers import Workers
from tests.shop import isolated
from tests.waiting import wait_until
from tests.work.building import attempt_at
from tests.work.test_workers import Results, run

pytestmark = pytest.mark.slow


@pytest.fixture
def results():
    return Results()


@pytest.fixture
def build(results):
    built = []

    def build(**limits):
        workers = Workers(
            client_id="me",
            config=Config(isolation=IsolationConfig(**limits)),
            registry=registry,
            attempts=Attempts(),
            completer=results,
            slots=4,
            on_room=lambda producer: None,
        )
        built.append(workers)
        return workers

    yield build
    for workers in built:
        assert workers.stop(10)
        assert not workers.isolation._idle
        assert not workers.isolation._busy


@pytest.fixture
def begin(build):
    """Starts an attempt at a job."""

    def begin(function, workers=None, **args):
        workers = workers or build()
        attempt = attempt_at(kind=function.kind, args=msgspec.json.encode(args))
        run(workers, attempt)
        return attempt

    return begin


@pytest.fixture
def end(begin, results):
    """Runs a job to its end; what is stored of it."""

    def end(function, workers=None, **args):
        return ended(results, begin(function, workers, **args))

    return end


@pytest.fixture
def flag(tmp_path):
    return tmp_path / "pid"


def ended(results, attempt):
    (change,) = wait_until(lambda: results.of(attempt), 30)
    return change


def error(change):
    return msgspec.json.decode(change.error)["error"]


def output(change):
    return msgspec.json.decode(change.metadata)["output"]


def is_alive(pid):
    try:
        os.kill(pid, 0)
        # Whoever has inherited it may be slow to bury it.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


class TestRun:
    @pytest.mark.parametrize("function", [isolated.where, isolated.where_async], ids=lambda f: f.kind)
    def test_is_in_a_process_that_is_used_again(self, build, end, function):
        workers = build()
        first, second = (end(function, workers) for _ in range(2))

        assert first.state is State.COMPLETED
        assert output(first) == output(second) != os.getpid()

    def test_is_in_another_process_for_another_kind(self, build, end):
        workers = build()

        assert output(end(isolated.where, workers)) != output(end(isolated.where_async, workers))

    def test_says_what_was_raised_and_where(self, end):
        change = end(isolated.where, fail=True)
        entry = msgspec.json.decode(change.error)

        assert (change.state, entry["error"]) == (State.DISCARDED, "ValueError: on purpose")
        assert 'raise ValueError("on purpose")' in entry["trace"]
        assert "django_river" not in entry["trace"]
        assert isinstance(output(change), int)

    @pytest.mark.parametrize(("code", "how"), [(7, "with exit code 7"), (-9, "by signal 9")])
    def test_survives_the_end_of_its_process(self, build, end, code, how):
        workers = build()

        change = end(isolated.end_itself, workers, code=code)
        assert error(change) == f"JobProcessDied: its process ended {how} in the middle of the job"
        assert end(isolated.where, workers).state is State.COMPLETED

    def test_survives_that_and_what_it_has_left_behind(self, end, flag):
        """What it has forked must not keep the line open, nor live on."""
        change = end(isolated.leave_behind, flag=str(flag), die=True)

        assert error(change) == "JobProcessDied: its process ended by signal 9 in the middle of the job"
        wait_until(lambda: not is_alive(int(flag.read_text())))

    def test_says_what_was_raised_though_it_cannot_be_encoded(self, end):
        assert error(end(isolated.fail_oddly)) == "ValueError: odd: \\udcff"

    def test_is_not_in_a_process_that_has_died_meanwhile(self, build, end):
        workers = build()
        pid = output(end(isolated.where, workers))
        (child,) = wait_until(lambda: workers.isolation._idle)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not child.line.is_quiet)

        assert output(end(isolated.where, workers)) != pid

    def test_says_nothing_of_the_job_before(self, build, end):
        workers = build()
        assert output(end(isolated.keep_for_itself, workers, output=1)) == 1

        assert end(isolated.keep_for_itself, workers).metadata is None

    def test_says_that_no_process_can_be_started(self, end, monkeypatch):
        monkeypatch.setattr(isolation.sys, "executable", "/nowhere/python")

        assert error(end(isolated.where)).startswith("JobProcessDied: no process could be started for it:")


class TestLimits:
    def test_bound_the_number_of_processes(self, build, end, begin, results, flag):
        workers = build(processes=1)
        busy = begin(isolated.wait_async, workers, flag=str(flag))
        wait_until(flag.exists, 30)
        waiting = begin(isolated.where, workers)
        assert not results.of(waiting)

        busy.cancel(CancelReason.CANCEL)
        assert ended(results, waiting).state is State.COMPLETED
        # The one that was idle has made room for another kind.
        assert end(isolated.where_async, workers).state is State.COMPLETED

    def test_waiting_for_a_process_is_no_time_of_the_jobs_own(self, build, begin, results, flag):
        workers = build(processes=1)
        busy = begin(isolated.wait_async, workers, flag=str(flag))
        wait_until(flag.exists, 30)
        assert not busy.is_waiting
        waiting = begin(isolated.where, workers)
        began_at = wait_until(lambda: waiting.is_waiting and waiting.context.began_at)
        busy.cancel(CancelReason.CANCEL)

        assert ended(results, waiting).state is State.COMPLETED
        assert not waiting.is_waiting
        assert waiting.context.began_at > began_at

    @pytest.mark.parametrize("timeout", [None, 7.0])
    def test_are_known_to_the_job_whoever_has_set_them(self, build, results, timeout):
        producer = Producer("default", config=QueueConfig(timeout=timeout))
        attempt = attempt_at(producer, kind=isolated.limits.kind)
        run(build(), attempt)

        assert output(ended(results, attempt)) == timeout

    def test_what_waits_for_a_process_can_be_cancelled(self, build, begin, results, flag):
        workers = build(processes=1)
        begin(isolated.wait_async, workers, flag=str(flag))
        wait_until(flag.exists, 30)
        waiting = begin(isolated.where, workers)
        waiting.cancel(CancelReason.CANCEL)

        # Its row says that it was cancelled; it is not made available.
        assert ended(results, waiting) == INTERRUPTED.change(waiting.job)

    def test_bound_the_memory(self, build, end):
        workers = build(memory=400 << 20)

        assert error(end(isolated.allocate, workers, megabytes=1000)).startswith("MemoryError")
        assert end(isolated.allocate, workers, megabytes=10).state is State.COMPLETED

    def test_an_idle_process_is_ended(self, build, end, monkeypatch):
        workers = build()
        pid = output(end(isolated.where, workers))
        workers.isolation.end_idle()
        assert is_alive(pid)

        monkeypatch.setattr(isolation, "IDLE_SECONDS", 0.0)
        wait_until(lambda: not workers.isolation._busy)
        workers.isolation.end_idle()
        assert not is_alive(pid)


class TestStop:
    @pytest.mark.parametrize("function", [isolated.spin, isolated.stuck_in_c], ids=lambda f: f.kind)
    def test_a_process_is_killed_at_the_timeout(self, begin, results, flag, function):
        attempt = begin(function, flag=str(flag))
        pid = int(wait_until(lambda: flag.exists() and flag.read_text(), 30))
        change = ended(results, attempt)

        # Generous, for a busy machine: without being killed it would never end.
        assert time.monotonic() - attempt.deadline < 5
        assert error(change) == "JobTimeout: took longer than its timeout of 1 s"
        assert not is_alive(pid)

    @pytest.mark.parametrize("function", [isolated.spin, isolated.stuck_in_c], ids=lambda f: f.kind)
    def test_a_process_is_killed_when_the_job_is_cancelled(self, begin, results, flag, function):
        attempt = begin(function, flag=str(flag))
        pid = int(wait_until(lambda: flag.exists() and flag.read_text(), 30))
        attempt.cancel(CancelReason.CANCEL)
        asked_at = time.monotonic()
        change = ended(results, attempt)

        assert time.monotonic() - asked_at < 5
        assert change.state is State.CANCELLED
        assert not is_alive(pid)

    def test_a_job_that_stops_when_asked_keeps_its_process(self, build, begin, results, flag):
        workers = build()
        attempt = begin(isolated.wait_async, workers, flag=str(flag))
        pid = int(wait_until(lambda: flag.exists() and flag.read_text(), 30))
        attempt.cancel(CancelReason.CANCEL)

        assert ended(results, attempt).state is State.CANCELLED
        assert is_alive(pid)

    def test_a_soft_timeout_lets_the_job_end_well(self, end, flag):
        change = end(isolated.tidy_up, flag=str(flag))

        assert (change.state, output(change)) == (State.COMPLETED, "soft_timeout")

    def test_a_job_that_stops_at_its_soft_timeout_is_counted(self, build, begin, results):
        workers, late = build(), []
        workers.executor.on_timeout = late.append
        attempt = begin(isolated.stop_softly, workers)

        assert error(ended(results, attempt)) == "JobTimeout: came to an end at its soft timeout of 0.1 s"
        assert late == [attempt]

    def test_what_the_job_has_started_is_killed_with_it(self, end, flag):
        change = end(isolated.leave_behind, flag=str(flag), die=False)

        assert error(change) == "JobTimeout: took longer than its timeout of 1 s"
        wait_until(lambda: not is_alive(int(flag.read_text())))

    def test_a_stop_of_the_client_kills_what_was_given_back(self, build, begin, results, flag):
        workers = build()
        attempt = begin(isolated.spin, workers, flag=str(flag))
        pid = int(wait_until(lambda: flag.exists() and flag.read_text(), 30))
        workers.settle(attempt, INTERRUPTED)

        assert workers.stop(10)
        assert not is_alive(pid)
        assert len(results) == 1

    def test_a_process_that_comes_too_late_is_not_used(self, begin, results):
        attempt = begin(isolated.where)
        attempt.cancel(CancelReason.SHUTDOWN)

        assert ended(results, attempt) == INTERRUPTED.change(attempt.job)


def test_a_dozen_at_once_share_the_processes(build, results):
    workers = build(processes=2)
    attempts = [attempt_at(kind=isolated.where.kind) for _ in range(12)]
    threads = [threading.Thread(target=run, args=(workers, attempt)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pids = {output(ended(results, attempt)) for attempt in attempts}

    assert len(pids) <= 2


def test_the_policy_of_retries_is_the_jobs_own(build, end, monkeypatch):
    options = dataclasses.replace(isolated.end_itself.options, retry=FixedRetry(60))
    monkeypatch.setattr(isolated.end_itself, "options", options)

    assert end(isolated.end_itself, code=1).state is State.RETRYABLE
