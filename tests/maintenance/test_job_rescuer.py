"""Jobs whose client is gone run again."""

from __future__ import annotations

import time
from datetime import timedelta
from threading import Lock

import pytest
from django.utils import timezone

from django_river.faults import Fault
from django_river.maintenance import judge as judge_module
from django_river.maintenance.batch_size import BatchSize
from django_river.maintenance.job_rescuer import LOOK_SECONDS, JobRescuer
from django_river.maintenance.judge import Judge
from django_river.models import Client, Job
from django_river.polls import NO_POLL, Poll
from django_river.signals import client_lost, client_stale, job_rescued
from django_river.storage.upkeep import Sights
from tests.factories import ClientFactory, JobFactory
from tests.waiting import wait_until


@pytest.fixture
def build(upkeep):
    """Builds rescuers that know the kind of the factories, and stops them."""
    built = []

    def build(rescue_after=60.0, *, calm=True, store=upkeep, poison_after=3, poll=NO_POLL):
        judge = Judge(
            own_id="me", client_timeout=60.0, heartbeat_interval=1e-9 if calm else 60.0, clock=time.monotonic
        )
        faults, due_in = [], []
        rescuer = JobRescuer(
            upkeep=store,
            lock=Lock(),
            judge=judge,
            rescue_after=rescue_after,
            client_timeout=60.0,
            poison_after=poison_after,
            known_kinds=lambda: ["tests.work"],
            on_fault=lambda *args: faults.append(args[:2]),
            on_due_in=due_in.append,
            poll=poll,
        )
        built.append(rescuer)
        rescuer.faults, rescuer.due_in = faults, due_in
        return rescuer

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
    assert build().step() == LOOK_SECONDS


def test_looks_for_the_scheduler_too(build):
    JobFactory(scheduled=True, scheduled_at=timezone.now() + timedelta(minutes=1))
    rescuer = build()
    rescuer.run_once()

    ((seconds),) = rescuer.due_in
    assert 50 < seconds <= 60


@pytest.mark.parametrize("is_wanted", [True, False])
def test_looks_for_the_fetcher_if_that_is_wanted(build, is_wanted):
    JobFactory(available=True, queue="a")
    found = []
    build(poll=Poll(lambda: is_wanted, found.append)).run_once()

    assert found == ([["a"]] if is_wanted else [])


def test_age_counts_only_when_clients_have_had_the_time_to_beat(build):
    running(attempted_by=["gone"])
    build(calm=False).run_once()

    assert states() == ["running"]


class Sighted:
    """Real maintenance that sees the sessions of these clients gone, for long."""

    def __init__(self, upkeep, *gone):
        self.upkeep = upkeep
        self.gone = gone

    def __getattr__(self, name):
        return getattr(self.upkeep, name)

    def client_watch(self, **given):
        clients = [
            client._replace(is_session_gone=client.id in self.gone)
            for client in self.upkeep.client_watch(**given).clients
        ]
        return Sights(clients, time.time())

    def client_lose(self, sight, why, *, silent_for):
        return self.upkeep.client_lose(sight, Fault.CLIENT_STALE, silent_for=silent_for)


@pytest.fixture
def heard():
    heard = []

    def lost(client_id, **_):
        heard.append(("lost", client_id))

    def stale(client_id, **_):
        heard.append(("stale", client_id))

    def rescued(job, **_):
        heard.append(("rescued", job.id))

    client_lost.connect(lost)
    client_stale.connect(stale)
    job_rescued.connect(rescued)
    yield heard
    client_lost.disconnect(lost)
    client_stale.disconnect(stale)
    job_rescued.disconnect(rescued)


def test_a_client_whose_session_stays_gone_loses_its_young_jobs(build, upkeep, heard, monkeypatch):
    monkeypatch.setattr(judge_module, "SESSION_GRACE", 0.0)
    client = ClientFactory(heartbeat_at=timezone.now() - timedelta(seconds=10))
    job, other = running(minutes=0, attempted_by=[client.pk]), running(minutes=0, attempted_by=["me"])
    rescuer = build(store=Sighted(upkeep, client.pk))
    rescuer.run_once()
    job.refresh_from_db()
    other.refresh_from_db()

    assert (job.state, other.state) == ("retryable", "running")
    assert heard == [("lost", client.pk), ("rescued", job.pk)]
    assert rescuer.faults == [("tests.work", Fault.CLIENT_STALE)]
    assert rescuer.due_in == [None, 0.0]


def test_a_silent_client_loses_its_young_jobs(build, heard):
    client = ClientFactory(stale=True)
    job = running(minutes=0, attempted_by=[client.pk])
    build(rescue_after=86_400).run_once()
    job.refresh_from_db()

    assert job.state == "retryable"
    assert job.errors[-1]["error"] == f"ClientStale: client lost: not heard of for long: {client.pk}"
    assert heard == [("stale", client.pk), ("rescued", job.pk)]


def test_what_a_lost_client_leaves_is_rescued_page_by_page_at_once(build):
    rescuer = build()
    rescuer.run_once()
    rescuer.batch = BatchSize(2, least=2, most=2)
    client = ClientFactory(stale=True)
    for _ in range(5):
        running(minutes=0, attempted_by=[client.pk])
    pauses = [rescuer.run_once() for _ in range(3)]

    assert pauses == [0.0, 0.0, LOOK_SECONDS]
    assert states() == ["retryable"] * 5


def test_a_rescue_that_fails_is_tried_again_though_its_client_is_judged(build, upkeep, monkeypatch):
    rescuer = build()
    rescuer.run_once()
    running(minutes=0, attempted_by=[ClientFactory(stale=True).pk])
    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "job_rescue", None)
        with pytest.raises(TypeError):
            rescuer.run_once()
    rescuer.run_once()

    assert states() == ["retryable"]


def test_what_a_lost_client_was_still_claiming_is_rescued_soon(build):
    """The server had its claim under way when it was killed, and comes to an end a little later."""
    rescuer = build()
    client = ClientFactory(stale=True)
    rescuer.run_once()
    assert Client.objects.get().lost_why == "client_stale"
    running(minutes=1, attempted_by=[client.pk])
    rescuer.run_once()

    assert states() == ["retryable"]


def test_a_job_that_keeps_killing_its_clients_is_quarantined(build, caplog):
    job = running(minutes=0, attempted_by=[ClientFactory(stale=True).pk], metadata={"river:rescue_count": 2})
    build().run_once()
    job.refresh_from_db()

    assert job.state == "discarded"
    assert job.errors[-1]["error"].endswith("; quarantined: clients lost with this job: 3")
    assert "is quarantined: it has taken 3 clients with it" in caplog.text


def test_trouble_with_the_database_makes_the_judge_wait(build, upkeep):
    client = ClientFactory(stale=True)
    running(minutes=0, attempted_by=[client.pk])
    rescuer = build()
    rescuer.judge.see(upkeep.client_watch())
    rescuer.upkeep = None
    with pytest.raises(AttributeError):
        rescuer.run_once()
    rescuer.upkeep = upkeep
    rescuer.run_once()

    assert states() == ["running"]


def test_goes_on_with_the_next_batch_at_once(build):
    for _ in range(5):
        running()
    rescuer = build()
    rescuer.batch = BatchSize(2, least=2, most=2)
    rescuer.start()

    wait_until(lambda: states() == ["retryable"] * 5)
