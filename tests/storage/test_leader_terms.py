"""The history of terms: who led, where, from when until when, and why it ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_river.models import Leader, LeaderTerm
from django_river.storage import leaders
from django_river.terms import TermEnd
from tests.factories import ClientFactory, LeaderFactory
from tests.storage.steps import ME, OTHER

TTL = timedelta(seconds=15)
MINUTE = timedelta(minutes=1)


def expire():
    """Let the lease run out; the moment when it did."""
    at = timezone.now() - MINUTE
    Leader.objects.update(expires_at=at)
    return at


def terms():
    return [(term.client_id, term.why) for term in LeaderTerm.objects.order_by("id")]


def test_begins_with_who_leads_and_where(store):
    ClientFactory(id=ME, host="web", pid=77, labels={"zone": "a"})

    lease = store.leader_elect(ME, TTL)

    term = LeaderTerm.objects.get()
    assert (term.client_id, term.host, term.pid, term.labels) == (ME, "web", 77, {"zone": "a"})
    assert (term.elected_at, term.ended_at, term.why) == (lease.elected_at, None, "")


def test_knows_leaders_without_a_client(store):
    store.leader_elect(ME, TTL)

    term = LeaderTerm.objects.get()
    assert (term.client_id, term.host, term.pid, term.labels) == (ME, "", None, {})


def test_is_not_begun_by_an_election_that_is_lost(store):
    store.leader_elect(ME, TTL)
    store.leader_elect(OTHER, TTL)

    assert terms() == [(ME, "")]


@pytest.mark.parametrize("why", TermEnd)
def test_ends_as_the_leader_says(store, why):
    lease = store.leader_elect(ME, TTL)
    store.leader_resign(lease, why)

    term = LeaderTerm.objects.get()
    assert term.why == why
    assert lease.elected_at <= term.ended_at <= timezone.now() + MINUTE


def test_that_expired_ended_when_its_lease_did(store):
    store.leader_elect(ME, TTL)
    LeaderTerm.objects.update(elected_at=timezone.now() - 2 * MINUTE)
    Leader.objects.update(elected_at=LeaderTerm.objects.get().elected_at)
    at = expire()
    store.leader_elect(OTHER, TTL)

    assert terms() == [(ME, "expired"), (OTHER, "")]
    assert LeaderTerm.objects.get(client_id=ME).ended_at == at


def test_whose_row_was_taken_away_is_lost(store):
    store.leader_elect(ME, TTL)
    Leader.objects.all().delete()
    store.leader_elect(OTHER, TTL)

    assert terms() == [(ME, "lost"), (OTHER, "")]


def test_that_a_foreign_client_took_over_is_ended_by_whoever_comes_first(store):
    before = store.leader_elect(ME, TTL)
    Leader.objects.all().delete()
    LeaderFactory(leader_id="go-1")
    store.leader_resign(before, TermEnd.REPLACED)

    assert terms() == [(ME, "replaced")]
    assert Leader.objects.get().leader_id == "go-1"


def test_is_ended_once(store):
    before = store.leader_elect(ME, TTL)
    expire()
    store.leader_elect(OTHER, TTL)
    ended_at = LeaderTerm.objects.get(client_id=ME).ended_at
    store.leader_resign(before, TermEnd.STOPPED)

    assert terms() == [(ME, "expired"), (OTHER, "")]
    assert LeaderTerm.objects.get(client_id=ME).ended_at == ended_at


def test_of_one_client_may_be_many(store):
    for _ in range(3):
        store.leader_resign(store.leader_elect(ME, TTL))

    assert terms() == [(ME, "resigned")] * 3
    assert LeaderTerm.objects.values("elected_at").distinct().count() == 3


def test_is_forgotten_when_it_is_old(store):
    now = timezone.now()
    for days in (89, 91):
        at = now - timedelta(days=days)
        LeaderTerm.objects.create(client_id=f"{days}", elected_at=at, ended_at=at, why="stopped")
    store.leader_elect(ME, TTL)

    assert terms() == [("89", "stopped"), (ME, "")]


def test_is_forgotten_when_there_are_many(store, monkeypatch):
    (driver,) = [part for part in type(store).__mro__ if part.__name__ == "LeadersDriver"]
    monkeypatch.setattr(f"{driver.__module__}.TERMS_KEPT", 3)
    assert leaders.TERMS_KEPT >= 100
    for number in range(5):
        store.leader_resign(store.leader_elect(f"client-{number}", TTL))

    assert [client for client, _ in terms()] == ["client-2", "client-3", "client-4"]
