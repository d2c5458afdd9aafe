"""A leader whose session is gone may be replaced before its lease runs out; one that holds it, never."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection

from django_river import storage
from django_river.models import Client, Leader, LeaderTerm
from django_river.storage.base import TOPIC_LEADERSHIP
from tests.factories import ClientFactory, LeaderFactory
from tests.storage.steps import ME, OTHER
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres

TTL = timedelta(seconds=15)


@pytest.fixture
def listener(using):
    listener = storage.open_listener(using)
    assert listener.connect([TOPIC_LEADERSHIP])
    yield listener
    listener.close()


@pytest.fixture
def lease(store, listener):
    """Of a leader that holds its session."""
    ClientFactory(id=ME, session=listener.session)
    return store.leader_elect(ME, TTL)


def kill_listeners():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'django_river listener' AND datname = current_database()"
        )


def vanish(store):
    kill_listeners()
    wait_until(lambda: store.leader_watch().is_vanished)


class TestSession:
    def test_has_another_key_each_time(self, listener):
        first = listener.session
        listener.connect([TOPIC_LEADERSHIP])

        assert isinstance(listener.session, int)
        assert listener.session != first

    def test_is_none_when_closed(self, listener):
        listener.close()

        assert listener.session is None

    def test_fits_its_column(self, listener):
        ClientFactory(id=ME, session=2**63 - 1)

        assert 0 <= listener.session < 2**63
        assert Client.objects.get().session == 2**63 - 1


class TestWatch:
    def test_sees_that_a_session_is_held(self, store, lease):
        assert not store.leader_watch().is_vanished

    def test_sees_that_it_is_gone(self, store, lease):
        vanish(store)

        assert store.leader_watch().lease == lease

    def test_lets_the_leader_have_its_lock_back(self, store, lease, listener):
        vanish(store)
        for _ in range(20):
            assert store.leader_watch().is_vanished
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [Client.objects.get().session])
            assert cursor.fetchone() == (True,)

        assert not store.leader_watch().is_vanished
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")


class TestElection:
    def test_ends_the_term_of_a_leader_that_has_vanished(self, store, other_store, lease):
        vanish(store)

        taken = other_store.leader_elect(OTHER, TTL, vanished=lease.term)

        assert taken.leader_id == OTHER
        assert store.leader_renew(lease, TTL) is None
        assert list(LeaderTerm.objects.order_by("id").values_list("client_id", "why")) == [
            (ME, "lost"),
            (OTHER, ""),
        ]

    def test_leaves_it_be_if_it_has_come_back(self, store, lease):
        assert store.leader_elect(OTHER, TTL, vanished=lease.term) is None

        assert store.leader_renew(lease, TTL) is not None
        assert LeaderTerm.objects.get().why == ""

    def test_leaves_a_newer_term_be(self, store, lease):
        vanish(store)
        store.leader_resign(lease)
        newer = store.leader_elect("newer", TTL)

        assert store.leader_elect(OTHER, TTL, vanished=lease.term) is None
        assert Leader.objects.get().elected_at == newer.elected_at

    def test_never_ends_the_term_of_a_foreign_client(self, store):
        foreign = LeaderFactory(leader_id="go-1")
        seen = store.leader_watch()

        assert not seen.is_vanished
        assert store.leader_elect(OTHER, TTL, vanished=seen.lease.term) is None
        assert Leader.objects.get().leader_id == foreign.leader_id

    def test_is_won_by_one_of_many(self, using, store, lease):
        vanish(store)
        barrier = threading.Barrier(5)
        won = []

        def stand(name):
            own = storage.open_storage(using, timeout=20)
            barrier.wait()
            won.append(own.leader_elect(name, TTL, vanished=lease.term))
            own.close()

        threads = [threading.Thread(target=stand, args=(f"client-{number}",)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len([one for one in won if one is not None]) == 1


def test_a_preferred_candidate_without_its_session_is_none(store, listener):
    ClientFactory(id=OTHER, preference=5, session=listener.session)
    assert store.leader_rival_exists(ME, 0, TTL)

    kill_listeners()
    wait_until(lambda: not store.leader_rival_exists(ME, 0, TTL))
