"""Due jobs: made available on time, in batches, and the workers told."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock

import pytest
from django.db import transaction
from django.utils import timezone

from django_river.maintenance import job_scheduler as module
from django_river.maintenance.job_scheduler import FRUITLESS_WAIT, LONGEST_WAIT, SHORTEST_WAIT, JobScheduler
from django_river.models import Job
from tests.factories import JobFactory
from tests.waiting import wait_until


@pytest.fixture
def told():
    return []


@pytest.fixture
def scheduler(store, told):
    scheduler = JobScheduler(
        storage=store, lock=Lock(), on_available=lambda queues: told.extend(sorted(queues))
    )
    yield scheduler
    assert scheduler.stop(10)


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
        monkeypatch.setattr(scheduler.storage, "job_seconds_until_due", lambda: 1e-9)

        assert scheduler.run_once() == SHORTEST_WAIT

    def test_moves_no_more_at_once_than_a_batch(self, scheduler, monkeypatch):
        monkeypatch.setattr(module, "BATCH", 2)
        for _ in range(5):
            due()
        while scheduler.run_once() == 0.0:
            pass

        assert states() == ["available"] * 5

    @pytest.mark.postgres
    def test_does_not_spin_while_somebody_holds_what_is_due(self, scheduler):
        job = due()
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=job.pk)
            assert scheduler.run_once() == FRUITLESS_WAIT

        assert scheduler.run_once() == 0.0


class TestRunning:
    def test_is_on_time(self, scheduler):
        scheduler.start()
        job = due(seconds=0.3)
        wait_until(lambda: Job.objects.get(pk=job.pk).state == "available")

        assert timezone.now() - job.scheduled_at < timedelta(seconds=LONGEST_WAIT + 0.5)

    def test_goes_on_with_the_next_batch_at_once(self, scheduler, monkeypatch):
        monkeypatch.setattr(module, "BATCH", 2)
        for _ in range(7):
            due()
        scheduler.start()

        wait_until(lambda: states() == ["available"] * 7, LONGEST_WAIT)
