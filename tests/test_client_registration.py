"""Clients that declare other periodic jobs than those in force: they do not start, or work and do not lead."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from django.utils import timezone

from django_river.client import Client
from django_river.conf import QueueConfig, config
from django_river.exceptions import ConfigError, RegistryMismatch
from django_river.leadership import LOOK_SECONDS
from django_river.models import Client as ClientRow
from django_river.models import Job, Leader, PeriodicRegistry
from tests.factories import JobFactory
from tests.periodic import declare, registry_of
from tests.shop import jobs
from tests.waiting import wait_until


@pytest.fixture
def build(using):
    """Builds clients of one queue that declare a periodic job, and stops them."""
    built = []

    def build(name, *, release="1", queue="default", **changes):
        settings = dataclasses.replace(config(), release=release, leader_ttl=3.0, **changes)
        client = Client(
            settings,
            periodic=registry_of(declare(name)),
            queues={queue: QueueConfig(max_workers=2)},
            client_id=name,
        )
        built.append(client)
        return client

    yield build
    for client in built:
        client.stop(timeout=0)


@pytest.fixture
def run(build):
    def run(*args, **given):
        client = build(*args, **given)
        client.start()
        return client

    return run


def leader():
    return Leader.objects.values_list("leader_id", flat=True).first()


def test_a_client_that_is_refused_has_fetched_nothing_and_sought_no_lead(run, build):
    run("a")
    waiting = JobFactory(kind="shop.nothing", queue="other", args={})
    refused = build("b", queue="other")
    with pytest.raises(RegistryMismatch):
        refused.start()

    assert Job.objects.get(pk=waiting.pk).attempt == 0
    assert not ClientRow.objects.filter(pk=refused.id).exists()
    assert leader() != refused.id
    assert not any(
        part.is_running for part in (refused.engine.fetcher, refused.engine.completer, refused.keeper)
    )


def test_it_can_be_started_once_the_others_are_gone(run, build):
    first, second = run("a"), build("b")
    with pytest.raises(RegistryMismatch):
        second.start()
    first.stop()
    second.start()

    assert ClientRow.objects.get().pk == second.id


def test_a_newer_release_takes_the_lead_within_seconds_and_the_older_goes_on_working(run):
    old = run("a", release="1", queue="other")
    wait_until(lambda: leader() == old.id)
    new = run("b", release="2")
    reason = f"its periodic jobs (release 1) are not those in force (release 2, held by {new.id})"

    wait_until(lambda: ClientRow.objects.get(pk=old.id).objection == reason, 2)
    wait_until(lambda: leader() == new.id, 10)
    assert not old.elector.is_leader
    job = jobs.nothing.using(queue="other").enqueue()
    wait_until(lambda: Job.objects.get(pk=job.pk).state == "completed")
    assert ClientRow.objects.get(pk=new.id).objection == ""


def test_the_older_leads_again_when_the_newer_is_gone(run):
    old, new = run("a", release="1"), run("b", release="2")
    wait_until(lambda: leader() == new.id, 10)
    new.stop()
    wait_until(lambda: leader() == old.id, 10)

    assert PeriodicRegistry.objects.get(is_in_force=True).hash == old.registration.registry.hash


def test_a_follower_works_and_never_leads(run):
    first = run("a")
    follower = run("b", queue="other", on_mismatch="follow")
    job = jobs.nothing.using(queue="other").enqueue()
    wait_until(lambda: Job.objects.get(pk=job.pk).state == "completed")

    assert "are not those in force" in ClientRow.objects.get(pk=follower.id).objection
    assert follower.elector.attempt() < 1.1 * LOOK_SECONDS + 0.001
    assert leader() in (None, first.id)


def test_a_follower_counts_nothing_as_due_that_a_leader_has_to_make_available(build):
    JobFactory(retryable=True, scheduled_at=timezone.now() - timedelta(minutes=1))
    client = build("a")
    # As its heartbeat does: until then it stands for nothing.
    client.candidate.present(client.presence.info)
    assert client.has_due_jobs()

    client.registration.objection = "other jobs are in force"
    assert not client.has_due_jobs()


def test_declarations_that_cannot_be_used_are_refused_before_anything_is_opened(using):
    settings = dataclasses.replace(config(), periodic=(5,))

    with pytest.raises(ConfigError, match="DJANGO_RIVER\\['PERIODIC'\\]\\[0\\]: must be a dict, got 5"):
        Client(settings)
