"""Due jobs: made available on time, in batches, and the workers told."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock
from types import SimpleNamespace

import pytest
from django.db import transaction
from django.utils import timezone

from django_river.jobs.states import State
from django_river.maintenance import job_scheduler as module
from django_river.maintenance.batch_size import BatchSize
from django_river.maintenance.job_scheduler import (
    ATTENTIVE_SECONDS,
    ATTENTIVE_WAIT,
    FRUITLESS_WAIT,
    LONGEST_WAIT,
    LONGEST_WAIT_IF_TOLD,
    SHORTEST_WAIT,
    JobScheduler,
)
from django_river.models import Job
from tests.factories import JobFactory
from tests.storage.steps import WITHOUT_RETRYABLE, insert, unique
from tests.waiting import wait_until


@pytest.fixture
def told():
    return []


@pytest.fixture
def scheduler(upkeep, told):
    scheduler = JobScheduler(
        upkeep=upkeep, lock=Lock(), on_available=lambda queues: told.extend(sorted(queues))
    )
    yield scheduler
    assert scheduler.stop(10)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def due(seconds=-1.0, **given):
    return JobFactory(
        **{"scheduled": True, **given}, scheduled_at=timezone.now() + timedelta(seconds=seconds)
    )


def states():
    return sorted(Job.objects.values_list("state", flat=True))


class TestRunOnce:
    def test_makes_due_jobs_available_and_tells_their_queues(self, scheduler, told):
        due(queue="a")
        due(queue="b")
        due(queue="a", scheduled=False, retryable=True)

        assert scheduler.run_once() == 0.0
        assert states() == ["available"] * 3
        assert told == ["a", "b"]

    def test_leaves_later_ones(self, scheduler, told):
        due(seconds=3600)
        scheduler.run_once()

        assert states() == ["scheduled"]
        assert told == []

    def test_waits_until_the_next_is_due_but_not_long(self, scheduler):
        assert scheduler.run_once() == LONGEST_WAIT

        due(seconds=3600)
        assert scheduler.run_once() == LONGEST_WAIT

        due(seconds=0.5)
        assert 0 < scheduler.run_once() <= 0.5

    def test_never_waits_for_no_time(self, scheduler, monkeypatch):
        monkeypatch.setattr(scheduler.upkeep, "job_seconds_until_due", lambda: 1e-9)

        assert scheduler.run_once() == SHORTEST_WAIT

    def test_moves_no_more_at_once_than_a_batch(self, scheduler):
        scheduler.batch = BatchSize(2, least=2, most=2)
        for _ in range(5):
            due()
        while scheduler.run_once() == 0.0:
            pass

        assert states() == ["available"] * 5

    def test_looks_more_often_once_a_job_was_asked_for_at_short_notice(self, scheduler, clock):
        scheduler.run_once()
        due(seconds=-0.5)
        assert scheduler.run_once() == 0.0
        assert scheduler.run_once() == ATTENTIVE_WAIT

        clock.now += ATTENTIVE_SECONDS
        assert scheduler.run_once() == LONGEST_WAIT

    def test_that_is_told_does_not_look_itself(self, scheduler, clock, monkeypatch):
        monkeypatch.setattr(scheduler.upkeep, "job_seconds_until_due", None)
        scheduler.hear(None)
        assert scheduler.step() == LONGEST_WAIT_IF_TOLD

        clock.now += 1.0
        scheduler.hear(3600.0)
        assert scheduler.step() == LONGEST_WAIT_IF_TOLD

    def test_that_is_told_no_more_looks_itself(self, scheduler, clock):
        scheduler.hear(None)
        clock.now += LONGEST_WAIT_IF_TOLD
        due()

        assert scheduler.step() == 0.0
        assert states() == ["available"]

    def test_goes_by_what_it_was_told(self, scheduler, clock):
        scheduler.hear(0.5)
        assert scheduler.step() == 0.5
        clock.now += 0.5
        due()

        assert scheduler.step() == 0.0
        assert states() == ["available"]

    def test_that_is_attentive_is_not_put_off_by_what_it_is_told(self, scheduler, clock):
        scheduler.run_once()
        due(seconds=-0.5)
        scheduler.run_once()
        scheduler.hear(None)

        assert scheduler.step() <= ATTENTIVE_WAIT

    def test_takes_what_is_late_at_the_beginning_of_the_term_for_no_sign(self, scheduler):
        due(seconds=-3600)
        scheduler.run_once()

        assert scheduler.run_once() == LONGEST_WAIT

    def test_moves_nothing_after_the_term(self, scheduler, begin, told):
        due()
        begin("another")

        assert scheduler.run_once() == FRUITLESS_WAIT
        assert states() == ["scheduled"]
        assert told == []

    @pytest.mark.postgres
    def test_does_not_spin_while_somebody_holds_what_is_due(self, scheduler):
        job = due()
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=job.pk)
            assert scheduler.run_once() == FRUITLESS_WAIT

        assert scheduler.run_once() == 0.0


class TestRunning:
    def test_is_on_time(self, scheduler):
        job = due(seconds=0.5)
        scheduler.start()
        wait_until(lambda: Job.objects.get(pk=job.pk).state == "available")

        # The figures are measured by the benchmarks; this machine may be busy.
        assert timezone.now() - job.scheduled_at < timedelta(seconds=0.4)

    def test_finds_what_is_scheduled_while_it_waits(self, scheduler):
        scheduler.start()
        wait_until(lambda: scheduler._is_waiting)
        job = due(seconds=0.1)
        wait_until(lambda: Job.objects.get(pk=job.pk).state == "available")

        assert timezone.now() - job.scheduled_at < timedelta(seconds=LONGEST_WAIT + 0.5)

    def test_looks_as_soon_as_it_is_told_of_a_job_that_is_due(self, scheduler, monkeypatch):
        monkeypatch.setattr(module, "LONGEST_WAIT", 3600.0)
        scheduler.start()
        wait_until(lambda: scheduler._is_waiting)
        due()
        scheduler.hear(-1.0)

        wait_until(lambda: states() == ["available"])

    @pytest.mark.postgres
    def test_is_not_held_up_by_a_key_in_dispute(self, scheduler, store):
        disputed = due(retryable=True, scheduled=False, **unique("a", unique_states=WITHOUT_RETRYABLE))
        scheduler.start()
        with store.session.atomic():
            insert(store, **unique("a"))
            due()
            wait_until(lambda: not Job.objects.in_state(State.SCHEDULED).exists(), 5)
            assert Job.objects.get(pk=disputed.pk).state == "retryable"

        wait_until(lambda: Job.objects.get(pk=disputed.pk).state == "discarded", 5)

    def test_goes_on_with_the_next_batch_at_once(self, scheduler):
        scheduler.batch = BatchSize(2, least=2, most=2)
        for _ in range(7):
            due()
        scheduler.start()

        wait_until(lambda: states() == ["available"] * 7, LONGEST_WAIT)
