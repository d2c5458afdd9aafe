"""One leads at a time; a term is renewed and ended by nobody but who holds it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from django_river import storage
from django_river.models import Leader
from tests.factories import LeaderFactory
from tests.storage.steps import ME, OTHER

TTL = timedelta(seconds=15)
MINUTE = timedelta(minutes=1)


def expire() -> None:
    """Let the lease run out."""
    Leader.objects.update(expires_at=timezone.now() - MINUTE)


class TestElection:
    def test_begins_a_term(self, store):
        term = store.leader_elect(ME, TTL)

        leader = Leader.objects.get()
        assert (leader.name, leader.leader_id) == ("default", ME)
        assert term == (ME, leader.elected_at, leader.expires_at)
        assert term.expires_at - term.elected_at == pytest.approx(TTL, abs=timedelta(milliseconds=50))
        assert abs(term.elected_at - timezone.now()) < MINUTE

    @pytest.mark.parametrize("client_id", [ME, OTHER])
    def test_is_lost_while_a_term_lasts(self, store, client_id):
        store.leader_elect(ME, TTL)

        assert store.leader_elect(client_id, TTL) is None
        assert Leader.objects.get().leader_id == ME

    @pytest.mark.parametrize("client_id", [ME, OTHER])
    def test_is_won_after_the_lease_ran_out(self, store, client_id):
        LeaderFactory(leader_id=ME, expired=True)

        term = store.leader_elect(client_id, TTL)

        assert term is not None
        assert Leader.objects.get().leader_id == client_id

    def test_is_won_by_one_of_many(self, store, using):
        barrier = threading.Barrier(5)
        terms = []

        def stand(name: str) -> None:
            own = storage.open_storage(using, timeout=20)
            barrier.wait()
            terms.append(own.leader_elect(name, TTL))
            own.close()

        threads = [threading.Thread(target=stand, args=(f"client-{number}",)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        (winner,) = [term for term in terms if term is not None]
        assert winner.leader_id == Leader.objects.get().leader_id


class TestTerm:
    def test_is_renewed_by_its_leader(self, store):
        term = store.leader_elect(ME, TTL)

        renewed = store.leader_renew(term, TTL * 2)

        assert (renewed.leader_id, renewed.elected_at) == (ME, term.elected_at)
        assert renewed.expires_at - term.expires_at >= TTL
        assert Leader.objects.get().expires_at == renewed.expires_at

    def test_is_not_renewed_after_it_ran_out(self, store):
        term = store.leader_elect(ME, TTL)
        expire()

        assert store.leader_renew(term, TTL) is None
        assert Leader.objects.get().expires_at < timezone.now()

    def test_is_not_renewed_without_a_row(self, store):
        term = store.leader_elect(ME, TTL)
        Leader.objects.all().delete()

        assert store.leader_renew(term, TTL) is None
        assert not Leader.objects.exists()

    def test_ends_when_its_leader_resigns(self, store):
        term = store.leader_elect(ME, TTL)

        assert store.leader_resign(term)
        assert not store.leader_resign(term)
        assert store.leader_elect(OTHER, TTL) is not None

    def test_can_be_resigned_after_renewals(self, store):
        term = store.leader_elect(ME, TTL)
        store.leader_renew(term, TTL)

        assert store.leader_resign(term)

    def test_of_a_restarted_client_is_another_one(self, store):
        before = store.leader_elect(ME, TTL)
        expire()
        after = store.leader_elect(ME, TTL)

        assert after.elected_at > before.elected_at
        assert store.leader_renew(before, TTL * 9) is None
        assert not store.leader_resign(before)
        assert Leader.objects.get().expires_at == after.expires_at
        assert store.leader_renew(after, TTL) is not None

    def test_is_safe_from_another_client(self, store):
        term = store.leader_elect(ME, TTL)
        pretender = term._replace(leader_id=OTHER)

        assert store.leader_renew(pretender, TTL) is None
        assert not store.leader_resign(pretender)
        assert Leader.objects.get().expires_at == term.expires_at
