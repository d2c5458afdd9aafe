"""Clients say that they live."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_river.faults import Fault
from django_river.models import Client, Leader
from django_river.storage.base import ClientInfo
from django_river.storage.postgres.listener import PostgresListener
from tests.factories import ClientFactory, JobFactory
from tests.storage.steps import ME
from tests.waiting import is_a_lock_waited_for, wait_until

INFO = ClientInfo(id=ME, host="host", pid=7, version="1.2", slots=10, queues=("a", "b"))
HOUR = timedelta(hours=1)


def test_the_first_beat_presents_the_client(store):
    store.client_beat(INFO)

    client = Client.objects.get()
    assert (client.id, client.host, client.pid, client.version) == (ME, "host", 7, "1.2")
    assert (client.slots, client.queues, client.can_lead) == (10, ["a", "b"], True)
    assert (client.labels, client.objection, client.preference, client.session) == ({}, "", 0, None)
    assert abs(client.started_at - timezone.now()) < HOUR
    assert client.heartbeat_at == client.started_at


def test_later_beats_renew_the_heartbeat_and_what_may_change(store):
    before = ClientFactory(id=ME, stale=True, started_at=timezone.now() - 5 * HOUR)

    store.client_beat(
        replace(
            INFO, queues=["c"], slots=3, objection="no", preference=2, labels={"zone": "a"}, session=2**62,
            troubles={"job-cleaner": "failed once: 100 % full"},
        )
    )  # fmt: skip

    client = Client.objects.get()
    assert client.started_at == before.started_at
    assert client.heartbeat_at > before.heartbeat_at + HOUR / 2
    assert (client.queues, client.slots, client.can_lead) == (["c"], 3, False)
    assert (client.labels, client.objection, client.preference) == ({"zone": "a"}, "no", 2)
    assert client.session == 2**62
    assert client.troubles == {"job-cleaner": "failed once: 100 % full"}


def test_an_older_release_writes_on_without_the_newer_columns(store):
    columns = "id, host, pid, version, queues, slots, can_lead, started_at, heartbeat_at"
    now = "now()" if connection.vendor == "postgresql" else "'2026-01-01 00:00:00.000000'"
    store.session.execute(
        f"INSERT INTO django_river_client ({columns}) VALUES ('{ME}', 'h', 1, '0', '[]', 1, true, {now}, {now})",
        {},
    )

    client = Client.objects.get()
    assert (client.labels, client.objection, client.preference, client.session) == ({}, "", 0, None)
    assert client.troubles == {}


def test_a_client_that_has_stopped_is_taken_away(store):
    store.client_beat(INFO)
    other = ClientFactory()

    store.client_delete(ME)
    store.client_delete(ME)

    assert [client.id for client in Client.objects.all()] == [other.id]


class TestClean:
    def clean(self, upkeep, limit=10):
        return upkeep.client_clean(gone_for=timedelta(minutes=30), limit=limit)

    def test_takes_away_those_that_have_long_been_silent(self, upkeep):
        stale, fresh = ClientFactory(stale=True), ClientFactory()

        assert self.clean(upkeep) == [stale.id]
        assert [client.id for client in Client.objects.all()] == [fresh.id]

    def test_is_bounded(self, upkeep):
        for _ in range(3):
            ClientFactory(stale=True)

        assert [len(self.clean(upkeep, limit=2)) for _ in range(3)] == [2, 1, 0]


class TestWatch:
    def test_sees_clients_only_unless_it_is_asked_for_more(self, upkeep):
        assert upkeep.client_watch()[2:] == (None, None)
        assert upkeep.client_watch().clients == []

    @pytest.mark.parametrize("clients", [0, 1, 3])
    def test_sees_on_the_way_when_a_job_is_due_and_which_queues_have_jobs(self, upkeep, clients):
        for _ in range(clients):
            ClientFactory()
        for queue in "aab":
            JobFactory(available=True, queue=queue)
        JobFactory(scheduled=True, queue="c", scheduled_at=timezone.now() + timedelta(seconds=90))
        sights = upkeep.client_watch(with_queues=True)

        assert len(sights.clients) == clients
        assert 80 < sights.due_in <= 90
        assert sights.queues == ["a", "b"]


class TestLost:
    def lose(self, upkeep, why=Fault.CLIENT_STALE, *, silent_for=60.0):
        (sight,) = upkeep.client_watch().clients
        return upkeep.client_lose(sight, why, silent_for=timedelta(seconds=silent_for))

    def test_is_a_client_that_is_as_it_was_seen(self, upkeep):
        ClientFactory(id=ME, stale=True)
        (sight,) = upkeep.client_watch().clients

        assert (sight.id, sight.is_session_gone) == (ME, False)
        assert 3000 < sight.silent_for < 4000
        assert self.lose(upkeep)
        assert upkeep.client_watch().clients == []
        assert Client.objects.get().lost_why == "client_stale"

    def test_is_no_client_that_has_been_heard_of_since(self, upkeep, store):
        ClientFactory(id=ME, stale=True)
        (sight,) = upkeep.client_watch().clients
        store.client_beat(replace(INFO, id=ME))

        assert not upkeep.client_lose(sight, Fault.CLIENT_STALE, silent_for=timedelta(seconds=60))

    def test_comes_back_and_hears_why(self, upkeep, store):
        ClientFactory(id=ME, stale=True)
        self.lose(upkeep)

        assert store.client_beat(replace(INFO, id=ME)) == "client_stale"
        assert store.client_beat(replace(INFO, id=ME)) == ""
        assert Client.objects.get().lost_at is None

    @pytest.mark.postgres
    def test_is_a_client_whose_session_is_gone(self, upkeep):
        listener = PostgresListener("default")
        listener.connect([])
        ClientFactory(id=ME, stale=True, session=listener.session)
        assert not self.lose(upkeep, Fault.CLIENT_LOST)

        listener.close()
        wait_until(lambda: upkeep.client_watch().clients[0].is_session_gone)
        assert self.lose(upkeep, Fault.CLIENT_LOST)

    @pytest.mark.postgres
    def test_is_no_client_whose_session_was_on_another_server(self, upkeep):
        """Or on this one before it was started anew: who comes first must not take all others for killed."""
        listener = PostgresListener("default")
        listener.connect([])
        ClientFactory(id=ME, stale=True, session=listener.session ^ 1 << 43)
        listener.close()

        assert not upkeep.client_watch().clients[0].is_session_gone
        assert not self.lose(upkeep, Fault.CLIENT_LOST)

    @pytest.mark.postgres
    def test_hears_of_it_though_it_was_just_saying_that_it_lives(self, upkeep, other_store):
        ClientFactory(id=ME, stale=True)
        answers = []
        beat = threading.Thread(target=lambda: answers.append(other_store.client_beat(INFO)))
        with upkeep.session.atomic():
            assert self.lose(upkeep)
            beat.start()
            wait_until(is_a_lock_waited_for)
        beat.join(10)

        assert answers == ["client_stale"]

    def test_shows_the_moment_by_the_databases_clock(self, upkeep):
        first, second = upkeep.client_watch(), upkeep.client_watch()

        assert (first.clients, second.clients) == ([], [])
        assert 0 < second.at - first.at < 60

    def test_is_none_after_the_term(self, upkeep):
        ClientFactory(id=ME, stale=True)
        Leader.objects.all().delete()

        assert not self.lose(upkeep)
