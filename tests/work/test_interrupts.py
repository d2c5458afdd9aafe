"""Sync jobs that are stopped in their own thread."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from django_river import JobInterrupted, NoRetry
from django_river.jobs.context import CancelReason
from django_river.jobs.states import State
from django_river.work import interrupts
from django_river.work.outcomes import INTERRUPTED
from tests.waiting import wait_until
from tests.work.building import Settled, attempt_at, executor_of

ONCE = {"retry": NoRetry(), "interrupt": True}


@pytest.fixture
def settled():
    return Settled()


def spin(began=None):
    if began is not None:
        began.set()
    while True:
        pass


def run_and(act, settled, job, options=ONCE):
    """Run a job in a thread, and do something to its attempt once it has begun."""
    began, attempt = threading.Event(), attempt_at()
    executor = executor_of(settled, test=(lambda: job(began), options))
    thread = threading.Thread(target=executor.execute, args=(attempt,))
    thread.start()
    assert began.wait(10)
    act(attempt)
    thread.join(10)
    assert not thread.is_alive()
    return settled[0][1]


@pytest.mark.parametrize(
    ("reason", "state"),
    [(CancelReason.CANCEL, State.CANCELLED), (CancelReason.SHUTDOWN, State.AVAILABLE)],
)
def test_a_job_that_never_looks_is_stopped(settled, reason, state):
    outcome = run_and(lambda attempt: attempt.cancel(reason), settled, spin)

    assert outcome.state is state


def test_its_time_is_up(settled):
    def late(attempt):
        attempt.context.limit(deadline=time.monotonic(), soft_deadline=None)
        attempt.cancel(attempt.context.cancel_reason)

    outcome = run_and(late, settled, spin, ONCE | {"timeout": 60})

    assert outcome.error == "JobTimeout: took longer than its timeout of 60 s"
    assert "spin" in outcome.trace


def test_a_job_may_clean_up(settled):
    seen = []

    def job(began):
        try:
            spin(began)
        except JobInterrupted:
            seen.append("cleaned up")
            raise

    run_and(lambda attempt: attempt.cancel(CancelReason.CANCEL), settled, job)

    assert seen == ["cleaned up"]


def test_a_job_that_was_cancelled_before_it_began_does_not_begin(settled):
    attempt = attempt_at()
    attempt.cancel(CancelReason.SHUTDOWN)
    executor_of(settled, test=(lambda: pytest.fail("began"), ONCE)).execute(attempt)

    assert settled[0][1] is INTERRUPTED


def test_what_comes_when_the_job_is_over_does_no_harm(settled):
    attempt = attempt_at()
    executor_of(settled, test=(lambda: None, ONCE)).execute(attempt)
    attempt.cancel(CancelReason.CANCEL)

    assert settled[0][1].state is State.COMPLETED
    threading.Event().wait(0.01)


def test_what_is_lost_in_the_garbage_collector_is_not_waited_for(monkeypatch):
    attempt, ended = attempt_at(), threading.Event()
    attempt.cancel_reason = CancelReason.CANCEL
    raise_in, raised = interrupts._raise_in, []

    def lose_the_second(ident):
        raised.append(ident)
        if len(raised) != 2:
            raise_in(ident)

    monkeypatch.setattr(interrupts, "_raise_in", lose_the_second)

    def work():
        with suppress(JobInterrupted):
            interrupts.call(attempt, lambda: None)
        ended.set()

    threading.Thread(target=work, daemon=True).start()

    assert ended.wait(10)
    assert len(raised) > 2


# Whatever runs in the thread may be interrupted: also what others, such as hypothesis, have hung into the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*gc_callback:pytest.PytestUnraisableExceptionWarning"
)
def test_jobs_that_end_while_they_are_interrupted_leave_their_thread_unharmed():
    """Many jobs in one thread, each interrupted at about its end: none of it comes out anywhere else."""
    attempts, ended, problems = [attempt_at() for _ in range(2000)], [], []

    def work():
        try:
            for attempt in attempts:
                with suppress(JobInterrupted):
                    interrupts.call(attempt, lambda: None)
                ended.append(attempt)
                # Whoever comes late, for another reason, must find nobody.
                attempt.cancel(CancelReason.SHUTDOWN)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    for attempt in attempts:
        wait_until(lambda attempt=attempt: attempt.stopper is not None or problems)
        attempt.cancel(CancelReason.CANCEL)
    thread.join(10)

    assert not problems
    assert ended == attempts
