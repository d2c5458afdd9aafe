"""The contract of whatever runs: starting, stopping, waking, failing, crashing."""

from __future__ import annotations

import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_river.service import FIRST_PAUSE, LONGEST_PAUSE, Backoff, Service, trouble_text
from tests.waiting import wait_until


class Counting(Service):
    """Counts its steps, and does what it is told in each."""

    def __init__(self, do=lambda: 60.0, **options):
        super().__init__("counting", **options)
        self.do = do
        self.steps = 0
        self.cleanups = 0
        self.threads = []

    def step(self):
        self.steps += 1
        self.threads.append(threading.current_thread())
        return self.do()

    def cleanup(self):
        self.cleanups += 1


def alive(name="river-counting"):
    return [thread for thread in threading.enumerate() if thread.name == name]


@pytest.fixture
def run():
    """Builds services and stops them at the end."""
    built = []

    def build(*args, **options):
        built.append(Counting(*args, **options))
        return built[-1]

    yield build
    for service in built:
        assert service.stop(5)
    assert not alive()


class TestStart:
    def test_runs_steps_in_a_named_daemon_thread(self, run):
        service = run()
        service.start()
        wait_until(lambda: service.steps)

        assert service.threads[0].name == "river-counting"
        assert service.threads[0].daemon

    def test_twice_makes_one_thread(self, run):
        service = run()
        service.start()
        service.start()

        assert len(alive()) == 1

    def test_again_after_a_stop_makes_a_new_thread(self, run):
        service = run()
        for _ in range(2):
            service.start()
            wait_until(lambda: service.is_running)
            service.stop()

        service.start()
        wait_until(lambda: len(set(service.threads)) == 3)

    def test_again_after_a_crash(self, run):
        def crash():
            raise SystemExit

        service = run(crash)
        service.start()
        wait_until(lambda: not service.is_running)
        service.do = lambda: 60.0
        service.start()

        wait_until(lambda: service.steps == 2)
        assert service.is_running

    def test_that_gets_no_thread_may_be_tried_again(self, run, monkeypatch):
        service = run()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                service.start()

        assert service.stop(1)
        service.start()
        wait_until(lambda: service.steps)

    def test_of_one_that_will_not_stop_does_nothing(self, run):
        release = threading.Event()
        service = run(lambda: release.wait(10) and 60.0)
        service.start()
        assert not service.stop(0)
        service.start()

        assert service.is_stopping
        release.set()


def refuse(self):
    raise RuntimeError("can't start new thread")


class TestStop:
    def test_interrupts_again_what_an_interrupt_has_missed(self, run, monkeypatch):
        monkeypatch.setattr("django_river.service.ASK_AGAIN_SECONDS", 0.01)
        over, interrupts = threading.Event(), itertools.count(1)
        service = run(lambda: over.wait(20) and 60.0)
        # Two come at once, before whoever is to be interrupted may have begun to wait.
        service.interrupt = lambda: next(interrupts) > 2 and over.set()
        service.start()
        wait_until(lambda: service.steps)

        assert service.stop(10)

    def test_before_the_start_is_safe(self, run):
        service = run()

        assert service.stop()
        assert not service.is_running

    def test_before_the_start_does_not_keep_it_from_starting(self, run):
        service = run()
        service.stop()
        service.start()

        wait_until(lambda: service.steps)

    def test_twice_is_safe_and_cleans_up_once(self, run):
        service = run()
        service.start()

        assert service.stop()
        assert service.stop()
        assert service.cleanups == 1
        assert not service.is_running

    def test_ends_a_wait_at_once(self, run):
        service = run(lambda: 3600.0)
        service.start()
        wait_until(lambda: service.steps)

        assert service.stop(5)

    def test_says_when_the_thread_has_not_ended_in_time(self, run):
        release = threading.Event()
        service = run(lambda: release.wait(10) and 60.0)
        service.start()
        wait_until(lambda: service.steps)

        assert not service.stop(0.01)
        release.set()
        assert service.stop(5)

    def test_by_its_own_step_does_not_wait_for_itself(self, run):
        service = run(lambda: service.stop() and 60.0)
        service.start()

        wait_until(lambda: not service.is_running)
        assert service.steps == 1

    def test_by_its_own_step_while_another_thread_waits_for_it(self, run):
        waited_for = threading.Event()

        def step():
            waited_for.wait(10)
            service.stop()
            return 60.0

        service = run(step)
        service.start()
        with ThreadPoolExecutor() as pool:
            stopping = pool.submit(service.stop, 10)
            wait_until(lambda: service.is_stopping)
            waited_for.set()

            assert stopping.result(10)

    def test_ends_what_a_start_began_that_came_between(self, run):
        service = run()
        with ThreadPoolExecutor() as pool:
            with service._lifecycle:
                starting = pool.submit(service.start)
                stopping = pool.submit(service.stop, 5)
                wait_until(lambda: service.is_stopping)

            assert stopping.result(10)
            starting.result(10)

    def test_waits_no_longer_than_asked_for_another_stop(self, run):
        release = threading.Event()
        service = run(lambda: release.wait(10) and 60.0)
        service.start()
        with ThreadPoolExecutor() as pool:
            patient = pool.submit(service.stop, 10)
            wait_until(lambda: service.is_stopping)

            assert not service.stop(0.01)
            release.set()
            assert patient.result(10)


class TestWake:
    def test_ends_the_wait_between_two_steps(self, run):
        service = run()
        service.start()
        for steps in range(1, 4):
            wait_until(lambda steps=steps: service.steps == steps)
            service.wake()

        wait_until(lambda: service.steps == 4)

    def test_during_a_step_is_followed_by_another(self, run):
        service = run(lambda: (service.steps < 2 and service.wake()) or 60.0)
        service.start()

        wait_until(lambda: service.steps == 2)


class TestFailure:
    def test_is_tried_again_after_a_pause(self, run, caplog):
        def fail_once():
            if service.steps == 1:
                raise ValueError("once")
            return 60.0

        caplog.set_level("INFO")
        service = run(fail_once)
        service.start()
        wait_until(lambda: "counting works again after 1 failures" in caplog.text)

        assert "counting failed, trying again in 0.1 s: once" in caplog.text
        assert service.steps == 2

    def test_pause_is_not_cut_short_by_wake(self, run, monkeypatch):
        pauses = []

        def fail():
            raise ValueError

        service = run(fail)
        wait = service._stopping.wait
        monkeypatch.setattr(service._stopping, "wait", lambda pause: pauses.append(pause) or wait(pause))
        service.start()
        wait_until(lambda: pauses)
        for _ in range(100):
            service.wake()
        wait_until(lambda: service.steps == 2)

        assert pauses[0] >= 0.75 * FIRST_PAUSE

    def test_pause_ends_with_a_stop(self, run, monkeypatch):
        def fail():
            raise ValueError

        service = run(fail)
        monkeypatch.setattr(service, "_backoff", Backoff(first=3600, longest=3600))
        service.start()
        wait_until(lambda: service.steps)

        assert service.stop(5)

    def test_is_told_for_as_long_as_it_lasts(self, run):
        heal = threading.Event()

        def fail():
            if heal.is_set():
                return 60.0
            raise ValueError("the disk is full")

        service = run(fail)
        assert service.trouble == ""
        service.start()
        wait_until(lambda: re.fullmatch(r"failed \d+ times in a row: the disk is full", service.trouble))
        heal.set()

        wait_until(lambda: service.trouble == "")

    @pytest.mark.parametrize(
        ("error", "failures", "text"),
        [
            (None, 0, ""),
            (ValueError("full\n"), 1, "failed once: full"),
            (ValueError(), 2, "failed 2 times in a row: ValueError"),
            (ValueError("x" * 1000), 1, "failed once: " + "x" * 287),
        ],
    )
    def test_is_told_in_short(self, error, failures, text):
        assert trouble_text(error, failures) == text

    def test_traceback_is_logged_for_the_first_in_a_row_only(self, run, caplog):
        def fail():
            raise ValueError("again")

        service = run(fail)
        service.start()
        wait_until(lambda: service.steps == 3)
        service.stop()

        assert [bool(record.exc_info) for record in caplog.records[:2]] == [True, False]


class TestCrash:
    def test_is_told_and_logged_and_cleaned_up(self, run, caplog):
        told = []

        def crash():
            raise SystemExit(3)

        service = run(crash, on_crash=told.append)
        service.start()
        wait_until(lambda: not service.is_running)

        assert [type(error) for error in told] == [SystemExit]
        assert "counting ended by an error" in caplog.text
        assert service.cleanups == 1

    def test_without_anybody_to_tell(self, run):
        def crash():
            raise SystemExit

        service = run(crash)
        service.start()

        wait_until(lambda: not service.is_running)

    @pytest.mark.parametrize("error", [ValueError, SystemExit])
    def test_of_the_cleanup_is_logged(self, run, monkeypatch, caplog, error):
        def crash():
            raise error

        service = run()
        monkeypatch.setattr(service, "cleanup", crash)
        service.start()

        assert service.stop(5)
        assert "counting could not clean up" in caplog.text


def test_many_threads_may_start_and_stop_at_once(run):
    service = run(lambda: 0.001)

    def cycle():
        for _ in range(50):
            service.start()
            service.wake()
            assert service.stop(30)

    with ThreadPoolExecutor(10) as pool:
        for future in [pool.submit(cycle) for _ in range(10)]:
            future.result(60)

    assert not service.is_running


class TestBackoff:
    def test_grows_to_its_limit(self):
        backoff = Backoff(first=1, longest=10)
        pauses = [backoff.next() for _ in range(40)]

        for pause, middle in zip(pauses, [1, 2, 4, 8, 10, 10], strict=False):
            assert 0.75 * middle <= pause <= 1.25 * middle
        assert max(pauses) <= 12.5

    def test_forgets(self):
        backoff = Backoff()
        for _ in range(10):
            backoff.next()
        backoff.reset()

        assert backoff.next() <= 1.25 * FIRST_PAUSE < LONGEST_PAUSE
