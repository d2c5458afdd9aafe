"""What is looked after while it runs: the clock, and cancels that nobody was told of."""

from __future__ import annotations

import time

import pytest

from django_river import JobContext, operations
from django_river.jobs.context import CancelReason
from django_river.models import Job
from django_river.storage.base import Storage
from django_river.work import watch as module
from django_river.work.attempts import Attempts
from django_river.work.watch import Watch
from tests.work.building import attempt_at, claim


class Workers:
    """Notes that it was asked to give up what is overdue."""

    def __init__(self):
        self.looks = 0
        self.isolation = self

    def give_up_overdue(self):
        self.looks += 1

    def end_idle(self):
        pass


@pytest.fixture
def attempts():
    return Attempts()


@pytest.fixture
def watch(attempts):
    return Watch(storage=None, client_id="me", attempts=attempts, workers=Workers())


def begun(attempt, **given):
    attempt.context = JobContext(id=attempt.job.id, **given)
    return attempt


class TestLook:
    def test_asks_a_job_to_stop_whose_time_is_up(self, watch, attempts):
        attempt = begun(attempt_at(), deadline=time.monotonic())
        attempts.add([attempt])
        asked = []
        attempt.stopper = asked.append

        assert watch.look() == module.LOOK_SECONDS
        watch.look()

        assert asked == [CancelReason.TIMEOUT]
        assert watch.workers.looks == 2

    def test_asks_twice_if_the_first_time_was_soft(self, watch, attempts):
        attempt = begun(attempt_at(), soft_deadline=time.monotonic())
        attempts.add([attempt])
        asked = []
        attempt.stopper = asked.append
        watch.look()
        attempt.context.limit(deadline=time.monotonic(), soft_deadline=None)
        watch.look()

        assert asked == [CancelReason.SOFT_TIMEOUT, CancelReason.TIMEOUT]

    def test_leaves_alone_what_has_time(self, watch, attempts):
        attempt = begun(attempt_at(), deadline=time.monotonic() + 60)
        attempts.add([attempt, attempt_at()])
        watch.look()

        assert attempt.cancel_reason is None


class TestSummons:
    @pytest.fixture
    def watch(self, store: Storage, attempts):
        return Watch(storage=store, client_id="me", attempts=attempts, workers=Workers())

    def test_finds_what_nobody_told_us_of(self, watch, attempts, store, monkeypatch):
        monkeypatch.setattr(module, "YOUNG_SECONDS", 0.0)
        first, second = (begun(attempt) for attempt in claim(store, 2))
        attempts.add([first, second])
        operations.cancel(second.job.id)

        assert watch.look_for_summons() == module.SUMMONS_SECONDS
        assert (first.cancel_reason, second.cancel_reason) == (None, CancelReason.CANCEL)

    def test_finds_what_is_not_ours_any_more(self, watch, attempts, store, monkeypatch, caplog):
        monkeypatch.setattr(module, "YOUNG_SECONDS", 0.0)
        lost, settled = (begun(attempt) for attempt in claim(store, 2))
        attempts.add([lost, settled])
        Job.objects.update(attempt=7)
        settled.take()
        watch.look_for_summons()
        watch.look_for_summons()

        assert (lost.cancel_reason, settled.cancel_reason) == (CancelReason.LOST, None)
        assert len(caplog.records) == 1

    def test_asks_for_nothing_that_has_just_begun(self, watch, attempts):
        watch.storage = None
        attempts.add([begun(attempt_at()), attempt_at()])

        watch.look_for_summons()

    def test_finds_what_waits_to_begin_for_longer_than_a_moment(self, watch, attempts, store):
        (attempt,) = claim(store, 1)
        attempts.add([attempt])
        operations.cancel(attempt.job.id)
        watch.look_for_summons()
        assert attempt.cancel_reason is None

        watch.look_for_summons()
        assert attempt.cancel_reason is CancelReason.CANCEL

    def test_is_soon_enough(self):
        assert module.SUMMONS_SECONDS + module.YOUNG_SECONDS < 2
