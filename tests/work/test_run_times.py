"""A fair and bounded sample of how long jobs take."""

from __future__ import annotations

import time

import pytest

from django_river import JobContext
from django_river.jobs.states import State
from django_river.work.outcomes import INTERRUPTED, SUCCESS
from django_river.work.run_times import LOOKED_AT, OF_A_KIND, STORE_SECONDS, RunTimes
from tests.work.building import attempt_at


class Store:
    def __init__(self):
        self.added = []

    def run_time_add(self, run_times):
        self.added += run_times


@pytest.fixture
def run_times():
    return RunTimes(storage=Store())


def result(kind="a", seconds=1.0, outcome=SUCCESS):
    attempt = attempt_at(kind=kind)
    attempt.context = JobContext(id=1)
    attempt.context.began_at = time.monotonic() - seconds
    return attempt, outcome.change(attempt.job)


def test_are_those_of_attempts_that_went_well(run_times):
    run_times.note([result(seconds=60), result("b", outcome=INTERRUPTED)])
    assert run_times.store() == STORE_SECONDS
    run_times.store()

    ((kind, seconds),) = run_times.storage.added
    assert (kind, seconds) == ("a", pytest.approx(60, abs=5))
    assert SUCCESS.state is State.COMPLETED


def test_are_a_few_of_each_kind(run_times):
    for _ in range(50):
        run_times.note([result(), result("b")])
    run_times.store()

    kinds = [kind for kind, _ in run_times.storage.added]
    assert (kinds.count("a"), kinds.count("b")) == (OF_A_KIND, OF_A_KIND)


def test_look_at_a_few_of_a_large_batch(run_times):
    run_times.note([result() for _ in range(100 * LOOKED_AT)])

    assert run_times._seen["a"] == LOOKED_AT


def test_give_each_the_same_chance(run_times):
    later = 0
    for _ in range(200):
        for n in range(10):
            run_times.note([result(seconds=100.0 * n)])
        run_times.storage.added.clear()
        run_times.store()
        later += sum(seconds > 450 for _, seconds in run_times.storage.added)

    assert later / (200 * OF_A_KIND) == pytest.approx(0.5, abs=0.15)
