"""Jobs whose client is gone run again."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock

import pytest
from django.utils import timezone

from django_river.maintenance.batch_size import BatchSize
from django_river.maintenance.job_rescuer import INTERVAL, JobRescuer
from django_river.models import Job
from tests.factories import ClientFactory, JobFactory
from tests.waiting import wait_until


@pytest.fixture
def build(upkeep):
    """Builds rescuers that know the kind of the factories, and stops them."""
    built = []

    def build(rescue_after=60.0):
        built.append(
            JobRescuer(
                upkeep=upkeep, lock=Lock(), rescue_after=rescue_after, client_timeout=60.0, known_kinds=lambda: ["tests.work"]
            )
        )  # fmt: skip
        return built[-1]

    yield build
    for rescuer in built:
        assert rescuer.stop(10)


def running(minutes=5, **given):
    began = timezone.now() - timedelta(minutes=minutes)
    return JobFactory(running=True, created_at=began, attempted_at=began, **given)


def states():
    return sorted(Job.objects.values_list("state", flat=True))


def test_a_job_without_a_living_client_is_tried_again(build, caplog):
    job = running(attempted_by=["gone"])

    build().run_once()
    job.refresh_from_db()
    assert (job.state, job.attempt) == ("retryable", 1)
    assert job.errors[-1]["error"] == "rescued: client gone is gone"
    assert f"job {job.pk} (tests.work) was running on a client that is gone: retryable" in caplog.text


def test_a_job_of_a_stale_client_is_tried_again(build):
    running(attempted_by=[ClientFactory(stale=True).pk])
    build().run_once()

    assert states() == ["retryable"]


def test_a_job_of_a_living_client_is_left_alone_however_long_it_takes(build):
    running(minutes=6000, attempted_by=[ClientFactory().pk])
    build().run_once()

    assert states() == ["running"]


def test_a_young_job_is_left_alone(build):
    running(minutes=0)
    build().run_once()

    assert states() == ["running"]


def test_at_the_last_attempt_only_known_kinds_are_discarded(build):
    running(max_attempts=1)
    running(max_attempts=1, kind="foreign")
    build().run_once()

    assert states() == ["discarded", "running"]


def test_looks_again_in_time(build):
    assert build(rescue_after=3600.0).step() == INTERVAL
    assert build(rescue_after=10.0).step() == 5.0


def test_goes_on_with_the_next_batch_at_once(build):
    for _ in range(5):
        running()
    rescuer = build()
    rescuer.batch = BatchSize(2, least=2, most=2)
    rescuer.start()

    wait_until(lambda: states() == ["retryable"] * 5)
