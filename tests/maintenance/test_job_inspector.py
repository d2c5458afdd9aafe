"""Jobs that run far longer than their kind: flagged, cancelled or taken, and never those of too little history."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock

import pytest
from django.utils import timezone

from django_river.faults import Fault
from django_river.jobs.run_times import KEPT_OLDER, KEPT_PER_HOUR, Suspicion
from django_river.maintenance import job_inspector as module
from django_river.maintenance.job_inspector import JobInspector
from django_river.models import RunTime
from django_river.signals import job_suspicious
from django_river.work.promises import Promises
from tests.factories import CLIENT_ID, JobFactory
from tests.work.building import registry_of

KIND = "tests_work"


@pytest.fixture
def build(upkeep):
    def build(policy="flag", *, store=upkeep, **options):
        faults = []
        inspector = JobInspector(
            upkeep=store,
            lock=Lock(),
            suspicion=Suspicion(floor=60.0, factor=3.0, samples=20),
            policy=policy,
            registry=registry_of(**{KIND: (lambda: None, options)}),
            promise=Promises({}).of,
            on_fault=lambda *args: faults.append(args[:2]),
        )
        inspector.faults = faults
        return inspector

    return build


@pytest.fixture
def heard():
    heard = []

    def receiver(job, usual, policy, **_):
        heard.append((job.id, usual, policy))

    job_suspicious.connect(receiver)
    yield heard
    job_suspicious.disconnect(receiver)


def history(seconds=30.0, count=20, *, kind=KIND, days=0.0):
    at = timezone.now() - timedelta(days=days)
    RunTime.objects.bulk_create(RunTime(kind=kind, at=at, seconds=seconds) for _ in range(count))


def running(seconds, **given):
    began = timezone.now() - timedelta(seconds=seconds)
    return JobFactory(**{"running": True, "kind": KIND, "created_at": began, "attempted_at": began} | given)


def after(job):
    job.refresh_from_db()
    return job


def test_a_job_that_runs_far_longer_than_its_kind_is_flagged_once(build, heard):
    history()
    job, other = running(600), running(80)
    inspector = build()
    assert inspector.run_once() == module.LOOK_SECONDS
    inspector.run_once()

    assert after(job).state == "running"
    assert after(job).metadata["django_river:suspicious"].items() >= {"attempt": 1, "usual": 90.0}.items()
    assert after(other).metadata == {}
    assert heard == [(job.pk, 90.0, "flag")]
    assert inspector.faults == [(KIND, Fault.SUSPICIOUS)]


def test_it_is_asked_to_stop_where_the_kind_wants_that(build, store):
    history()
    job = running(600)
    build(on_suspicious="cancel").run_once()

    assert "cancel_attempted_at" in after(job).metadata
    assert [found.id for found in store.job_look(CLIENT_ID, [(job.pk, 1)])] == [job.pk]


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({}, "retryable"),
        ({"max_attempts": 1}, "discarded"),
        ({"metadata": {"cancel_attempted_at": "x"}}, "cancelled"),
    ],
)
def test_it_is_taken_where_the_policy_is_to_rescue(build, given, state):
    history()
    job = running(600, **given)
    build("rescue").run_once()

    assert after(job).state == state
    assert job.errors[-1]["error"].startswith("JobSuspicious: has run for 60")
    assert RunTime.objects.filter(seconds__gte=600, was_cut_off=True).count() == 1


@pytest.mark.parametrize(
    "options", [{"heartbeat": 30}, {"auto_heartbeat": True}, {"on_suspicious": "ignore"}], ids=str
)
def test_a_job_that_gives_signs_of_life_is_exempt(build, options):
    history()
    job = running(6000)
    build("rescue", **options).run_once()

    assert after(job).state == "running"


def test_nothing_is_rescued_on_too_few_samples(build):
    history(count=19)
    job = running(100_000)
    build("rescue").run_once()

    assert after(job).state == "running"


def test_a_kind_that_is_not_known_here_is_left_to_others(build):
    history(kind="foreign")
    history()
    job = running(100_000, kind="foreign")
    build("rescue").run_once()

    assert after(job).state == "running"


def test_what_has_changed_since_it_was_seen_is_left_alone(upkeep):
    job = running(600)
    (seen,) = upkeep.job_old(timedelta(seconds=60), limit=10)
    assert (seen.id, seen.client_id, seen.attempt) == (job.pk, CLIENT_ID, 1)
    job.attempted_by = ["another"]
    job.save()

    assert not upkeep.job_take(seen, error="x")
    assert not upkeep.job_flag(seen, usual=1.0, cancel=False)


def test_old_samples_are_forgotten(upkeep):
    history(count=KEPT_PER_HOUR + 50)
    history(kind="old", days=2, count=50)
    history(kind="ancient", days=31)
    for day in range(2, 6):
        history(kind="many", days=day, count=60)
    upkeep.run_time_clean()

    known = {kind: len(samples) for kind, samples in upkeep.run_time_list().items()}
    assert known == {KIND: KEPT_PER_HOUR, "old": 50, "many": KEPT_OLDER}


def test_the_age_of_samples_is_known(upkeep):
    history(days=1, count=1)

    ((age, seconds, was_cut_off),) = upkeep.run_time_list()[KIND]
    assert (age, seconds, was_cut_off) == (pytest.approx(86_400, abs=300), 30.0, False)
