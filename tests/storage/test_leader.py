"""One leads at a time; a term is renewed and ended by nobody but who holds it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone

from django_river import storage
from django_river.models import Leader, LeaderTerm
from django_river.storage.base import Demand
from django_river.terms import Term
from tests.factories import ClientFactory, JobFactory, LeaderFactory
from tests.storage.steps import ME, OTHER, insert, row

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
        assert term.term == Term(ME, leader.elected_at)

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

        renewed, is_asked_to_resign = store.leader_renew(term, TTL * 2)

        assert not is_asked_to_resign
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


class TestWatch:
    def test_sees_nobody(self, store):
        assert store.leader_watch() is None

    def test_sees_who_leads_and_for_how_long(self, store):
        lease = store.leader_elect(ME, TTL)

        seen = store.leader_watch()
        assert seen.lease == lease
        assert 10 < seen.seconds_left <= 15
        assert not seen.is_vanished

    def test_sees_on_the_way_which_queues_have_jobs(self, store):
        for queue in "aab":
            JobFactory(available=True, queue=queue)
        store.leader_elect(ME, TTL)

        assert store.leader_watch(with_queues=True).queues == ["a", "b"]
        assert store.leader_watch().queues is None

    def test_sees_that_a_lease_has_expired(self, store):
        store.leader_elect(ME, TTL)
        expire()

        assert store.leader_watch().seconds_left < 0

    @pytest.mark.parametrize("session", [None, 77])
    def test_takes_nobody_for_gone_that_promised_no_session(self, store, session):
        store.leader_elect(ME, TTL)
        if session is not None:
            ClientFactory(id=OTHER, session=session)

        assert not store.leader_watch().is_vanished


class TestRival:
    HEALTHY = timedelta(seconds=15)

    def exists(self, store, preference=0):
        return store.leader_rival_exists(ME, preference, self.HEALTHY)

    def test_is_a_living_candidate_that_is_preferred(self, store):
        ClientFactory(id=OTHER, preference=2)

        assert self.exists(store, 1)
        assert not self.exists(store, 2)

    @pytest.mark.parametrize(
        "given",
        [{"id": ME}, {"stale": True}, {"can_lead": False, "objection": "no"}],
        ids=["itself", "silent", "no candidate"],
    )
    def test_is_nobody_else(self, store, given):
        ClientFactory(preference=2, **given)

        assert not self.exists(store)


class TestRequest:
    def test_finds_nobody_to_ask(self, any_store):
        assert any_store.leader_request_resign() is None

    def test_is_found_by_the_leader_when_it_renews(self, any_store, other_store):
        lease = other_store.leader_elect(ME, TTL)

        assert any_store.leader_request_resign() == ME
        assert other_store.leader_renew(lease, TTL).is_asked_to_resign

    def test_is_for_this_term_only(self, store):
        before = store.leader_elect(ME, TTL)
        store.leader_request_resign()
        store.leader_resign(before)
        after = store.leader_elect(ME, TTL)

        assert not store.leader_renew(after, TTL).is_asked_to_resign

    def test_of_an_expired_leader_asks_nobody(self, store):
        store.leader_elect(ME, TTL)
        expire()

        assert store.leader_request_resign() is None

    def test_reaches_a_leader_of_another_language_too(self, store):
        LeaderFactory(leader_id="go-1")

        assert store.leader_request_resign() == "go-1"
        assert not LeaderTerm.objects.exists()


class TestClaimAsLeader:
    DEMANDS = (Demand(queue="bound", limit=5),)

    def claim(self, store, term):
        return [job.id for job in store.job_fetch_as_leader(term, self.DEMANDS, 5)]

    def test_claims_while_the_term_is_in_force(self, store):
        job = insert(store, queue="bound")
        term = store.leader_elect(ME, TTL).term

        assert self.claim(store, term) == [job.id]
        assert (row(job).state, row(job).attempted_by) == ("running", [ME])

    def test_claims_nothing_when_the_term_is_over(self, store):
        job = insert(store, queue="bound")
        term = store.leader_elect(ME, TTL).term
        expire()
        assert self.claim(store, term) == []

        again = store.leader_elect(ME, TTL).term
        assert self.claim(store, term) == []
        assert row(job).state == "available"
        assert self.claim(store, again) == [job.id]

    def test_keeps_the_next_term_waiting_until_it_is_committed(self, store, other_store):
        job = insert(store, queue="bound")
        term = store.leader_elect(ME, TTL).term
        elected = []
        with store.session.atomic():
            assert self.claim(store, term) == [job.id]
            thread = threading.Thread(
                target=lambda: elected.append(
                    (other_store.leader_resign(term), other_store.leader_elect(OTHER, TTL))
                )
            )
            thread.start()
            thread.join(0.2)
            assert not elected

        thread.join(20)
        assert elected[0][1].leader_id == OTHER

    @pytest.mark.postgres
    def test_left_open_by_a_frozen_leader_is_given_up(self, store, using):
        """As if the process were stopped, or its network cut, between two statements of the claim."""
        job = insert(store, queue="bound")
        term = store.leader_elect(ME, TTL).term
        frozen = storage.open_storage(using, timeout=0.5)
        with pytest.raises(DatabaseError), frozen.session.atomic():
            assert self.claim(frozen, term) == [job.id]
            expire()
            assert store.leader_elect(OTHER, TTL).leader_id == OTHER
        assert row(job).state == "available"
        # It goes on when it wakes, though not as the leader.
        assert frozen.leader_watch().lease.leader_id == OTHER
        frozen.close()

    @pytest.mark.postgres
    def test_does_not_keep_the_leader_from_renewing(self, store, other_store):
        insert(store, queue="bound")
        term = store.leader_elect(ME, TTL).term
        with store.session.atomic():
            self.claim(store, term)

            assert other_store.leader_renew(term, TTL) is not None


class TestLeftByLeaders:
    def left(self, store):
        return store.job_left_by_leaders(["bound"])

    def test_is_what_a_leader_was_running_whose_term_is_over(self, store):
        LeaderTerm.objects.create(client_id=OTHER, elected_at=timezone.now(), ended_at=timezone.now())
        job = JobFactory(
            running=True,
            queue="bound",
            attempted_by=[ME, OTHER],
            attempt=2,
            metadata={"river:rescue_count": 3},
        )

        assert self.left(store) == [(job.pk, "tests.work", 2, 25, OTHER, 3)]

    @pytest.mark.parametrize("count", ["x", None, [], {}])
    def test_counts_rescues_whatever_stands_there(self, store, count):
        LeaderTerm.objects.create(client_id=OTHER, elected_at=timezone.now(), ended_at=timezone.now())
        JobFactory(running=True, queue="bound", client_id=OTHER, metadata={"river:rescue_count": count})

        assert self.left(store)[0].rescues == 0

    @pytest.mark.parametrize(
        "given",
        [
            {"queue": "other"},
            {"attempted_by": [OTHER, ME], "attempt": 2},
            {"state": "available"},
            {"attempted_by": None},
        ],
        ids=["of another queue", "of who leads now", "not running", "of nobody"],
    )
    def test_is_nothing_else(self, store, given):
        LeaderTerm.objects.create(client_id=OTHER, elected_at=timezone.now(), ended_at=timezone.now())
        LeaderTerm.objects.create(client_id=ME, elected_at=timezone.now())
        JobFactory(**{"running": True, "queue": "bound", "client_id": OTHER, **given})

        assert self.left(store) == []
