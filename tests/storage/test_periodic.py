"""Registries: published, put into force, forgotten; the rows of the one in force."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from django_river import storage
from django_river.models import PeriodicJob, PeriodicRegistry
from django_river.storage.periodic import PeriodicRow, PeriodicState
from tests.factories import ClientFactory

MINUTE = timedelta(minutes=1)


@pytest.fixture
def periodic(using, any_store):
    return storage.for_periodic(using, any_store.session)


def row(name="a", **given):
    return PeriodicRow(
        **{
            "name": name, "kind": "shop.work", "schedule": "every 1 min", "entry": "{}", "fingerprint": "f",
            "next_run_at": timezone.now() + MINUTE, **given,
        }
    )  # fmt: skip


def published():
    return set(PeriodicRegistry.objects.values_list("hash", flat=True))


class TestRegistries:
    def test_are_published_once(self, periodic):
        periodic.registry_publish("h", "1.0", '{"entries":[]}')
        periodic.registry_publish("h", "2.0", '{"entries":[]}')

        registry = PeriodicRegistry.objects.get()
        assert (registry.hash, registry.release, registry.is_in_force) == ("h", "1.0", None)
        assert periodic.registry_entries("h") == '{"entries":[]}'
        assert periodic.registry_entries("other") is None

    def test_come_into_force_one_at_a_time(self, periodic):
        assert periodic.registry_in_force() is None

        for number in (1, 2, 1):
            periodic.registry_publish(f"h{number}", f"{number}.0", "{}")
            periodic.registry_enforce(f"h{number}", f"{number}.5")
            assert periodic.registry_in_force()[:2] == (f"h{number}", f"{number}.5")
        assert abs(periodic.registry_in_force().since - timezone.now()) < MINUTE

    def test_are_forgotten_when_nobody_holds_them(self, periodic):
        ClientFactory(registry_hash="held")
        for hash in ("in force", "held", "old"):
            periodic.registry_publish(hash, "", "{}")
            if hash == "in force":
                periodic.registry_enforce(hash, "")
        periodic.registry_publish("new", "", "{}")

        assert published() == {"in force", "held", "new"}


class TestLiveClients:
    def test_are_those_heard_of_lately(self, periodic):
        now = timezone.now()
        young = ClientFactory(
            registry_hash="h", release="1.0", started_at=now, heartbeat_at=now - 30 * timedelta(seconds=1)
        )
        old = ClientFactory(registry_hash="h", started_at=now - MINUTE)
        ClientFactory(registry_hash="h", stale=True)

        live = periodic.client_list_live(MINUTE)
        assert [client.id for client in live] == [old.id, young.id]
        assert live[1][1:4] == (young.host, young.pid, young.started_at)
        assert live[1][5:] == ("1.0", "h")
        assert 29 < live[1].silent_seconds < 40

    def test_do_not_count_if_they_declare_nothing(self, periodic):
        ClientFactory(registry_hash="")

        assert periodic.client_list_live(MINUTE) == []


class TestRows:
    def test_are_those_of_the_registry_and_no_others(self, periodic):
        periodic.periodic_replace([row("a"), row("b")])
        periodic.periodic_replace([row("b"), row("c", next_run_at=None, entry='{"c":1}')])

        states = periodic.periodic_list_states()
        assert [state.name for state in states] == ["b", "c"]
        assert states[1] == PeriodicState("c", '{"c":1}', None)

    def test_may_be_none(self, periodic):
        periodic.periodic_replace([row()])
        periodic.periodic_replace([])

        assert periodic.periodic_list_states() == []

    def test_keep_what_they_have_been_through(self, periodic):
        periodic.periodic_replace([row(expect_success_within=5.0)])
        lived = {
            "paused_at": timezone.now(), "last_job_id": 5, "last_run_at": timezone.now(), "last_outcome": "completed",
            "last_success_at": timezone.now(), "error": "why",
        }  # fmt: skip
        PeriodicJob.objects.update(**lived)
        created_at = PeriodicJob.objects.get().created_at
        later = row(kind="shop.other", schedule="s", entry="{1}", expect_success_within=None)
        periodic.periodic_replace([later])

        job = PeriodicJob.objects.get()
        assert {name: getattr(job, name) for name in lived} == lived
        assert job.created_at == created_at
        assert (job.kind, job.schedule, job.entry) == ("shop.other", "s", "{1}")
        assert job.next_run_at == later.next_run_at
        assert job.expect_success_within is None

    def test_forget_an_error_when_the_entry_has_changed(self, periodic):
        periodic.periodic_replace([row()])
        PeriodicJob.objects.update(error="why")
        periodic.periodic_replace([row(fingerprint="g")])

        assert PeriodicJob.objects.get().error == ""

    def test_do_not_forget_a_run_that_was_asked_for(self, periodic):
        asked = timezone.now()
        periodic.periodic_replace([row(extra_run_at=asked)])
        periodic.periodic_replace([row()])

        assert PeriodicJob.objects.get().extra_run_at == asked


def test_who_settles_waits_for_who_settles(using, store, other_store):
    first, second = (storage.for_periodic(using, each.session) for each in (store, other_store))
    seen, go = [], threading.Event()

    def settle():
        go.wait(10)
        with second.atomic():
            second.registry_lock()
            seen.append(second.registry_in_force())

    thread = threading.Thread(target=settle)
    thread.start()
    with first.atomic():
        first.registry_lock()
        go.set()
        first.registry_publish("h", "", "{}")
        first.registry_enforce("h", "")
    thread.join(20)

    assert seen[0].hash == "h"


def test_the_time_is_the_databases(periodic):
    assert abs(periodic.now() - timezone.now()) < MINUTE
