"""The lease: gained, renewed, lost, given up."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_river import leadership, storage
from django_river.leadership import RENEWALS, TRUST_MARGIN, Elector
from django_river.models import Leader
from django_river.storage.base import TOPIC_LEADERSHIP

TTL = 15.0


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(leadership.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def stand(using, clock):
    """Makes candidates, each with a storage of its own; what they are told is kept in ``heard``."""
    opened = []

    def build(client_id="me", on_gain=lambda: None):
        store = storage.open_storage(using, timeout=10)
        opened.append(store)
        heard = []

        def gained():
            heard.append("gained")
            on_gain()

        elector = Elector(
            storage=store, client_id=client_id, ttl=TTL, on_gain=gained, on_loss=lambda: heard.append("lost")
        )
        elector.heard = heard
        return elector

    yield build
    for store in opened:
        store.close()


def expire():
    Leader.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def hear(listener):
    """All that is said, one after the other."""
    while True:
        yield from listener.wait(10)


def fail(*args, **kwargs):
    raise OperationalError("away")


class TestGain:
    def test_of_an_office_that_is_free(self, stand):
        elector = stand()
        assert not elector.is_leader

        elector.attempt()
        assert elector.is_leader
        assert elector.heard == ["gained"]
        assert Leader.objects.get().leader_id == "me"

    def test_of_an_office_whose_leader_is_gone(self, stand):
        stand("dead").attempt()
        expire()
        elector = stand()
        elector.attempt()

        assert elector.is_leader

    def test_is_not_while_another_leads(self, stand):
        leader, follower = stand("leader"), stand("follower")
        leader.attempt()
        follower.attempt()

        assert not follower.is_leader
        assert follower.heard == []

    def test_of_one_candidate_only(self, stand):
        candidates = [stand(f"client {number}") for number in range(5)]
        for candidate in candidates:
            candidate.attempt()

        assert [candidate.is_leader for candidate in candidates].count(True) == 1

    def test_counts_from_before_the_statement(self, stand, clock, monkeypatch):
        elector = stand()
        elect = elector.storage.leader_elect

        def slowly(*args):
            clock.now += 5
            return elect(*args)

        monkeypatch.setattr(elector.storage, "leader_elect", slowly)
        elector.attempt()
        clock.now += TTL - TRUST_MARGIN - 5

        assert not elector.is_leader

    def test_that_cannot_be_used_is_given_up(self, stand, caplog):
        def cannot_start():
            raise RuntimeError("can't start new thread")

        elector = stand(on_gain=cannot_start)
        elector.attempt()

        assert not elector.is_leader
        assert elector.heard == ["gained", "lost"]
        assert not Leader.objects.exists()
        assert "client me cannot do what a leader has to" in caplog.text

    def test_is_tried_again_by_followers_at_different_moments(self, stand):
        stand("leader").attempt()
        follower = stand("follower")
        pauses = {follower.attempt() for _ in range(20)}

        assert len(pauses) > 1
        assert all(TTL / RENEWALS <= pause <= 1.2 * TTL / RENEWALS for pause in pauses)


class TestRenewal:
    def test_prolongs_the_term(self, stand, clock):
        elector = stand()
        assert elector.attempt() == TTL / RENEWALS
        before = Leader.objects.get()
        clock.now += 5
        elector.attempt()
        clock.now += TTL - TRUST_MARGIN - 1

        after = Leader.objects.get()
        assert elector.is_leader
        assert elector.heard == ["gained"]
        assert after.elected_at == before.elected_at
        assert after.expires_at > before.expires_at

    def test_of_a_term_that_another_has_replaced_fails(self, stand):
        elector, other = stand(), stand("other")
        elector.attempt()
        expire()
        other.attempt()
        elector.attempt()

        assert not elector.is_leader
        assert elector.heard == ["gained", "lost"]
        assert other.is_leader
        assert Leader.objects.get().leader_id == "other"

    def test_of_an_older_term_of_the_same_client_fails(self, stand):
        elector, again = stand(), stand()
        elector.attempt()
        expire()
        again.attempt()
        term = Leader.objects.get().elected_at
        elector.attempt()

        assert not elector.is_leader
        assert again.is_leader
        assert Leader.objects.get().elected_at == term

    def test_of_a_row_that_is_gone_fails_and_is_followed_by_another_try(self, stand):
        elector = stand()
        elector.attempt()
        Leader.objects.all().delete()
        elector.attempt()
        assert not elector.is_leader

        elector.attempt()
        assert elector.is_leader
        assert elector.heard == ["gained", "lost", "gained"]

    def test_that_comes_late_is_believed_if_the_database_agrees(self, stand, clock):
        elector = stand()
        elector.attempt()
        clock.now += TTL
        assert not elector.is_leader

        elector.attempt()
        assert elector.is_leader
        assert elector.heard == ["gained"]


class TestDatabaseAway:
    def test_leaves_the_office_while_there_is_time(self, stand, clock, monkeypatch):
        elector = stand()
        elector.attempt()
        monkeypatch.setattr(elector.storage, "leader_renew", fail)
        clock.now += TTL - TRUST_MARGIN - 1
        with pytest.raises(OperationalError):
            elector.attempt()

        assert elector.is_leader
        assert elector.heard == ["gained"]

    def test_takes_it_when_time_is_up(self, stand, clock, monkeypatch, caplog):
        caplog.set_level("INFO")
        elector = stand()
        elector.attempt()
        monkeypatch.setattr(elector.storage, "leader_renew", fail)
        clock.now += TTL - TRUST_MARGIN
        with pytest.raises(OperationalError):
            elector.attempt()

        assert not elector.is_leader
        assert elector.heard == ["gained", "lost"]
        assert "client me leads no longer: its lease could not be renewed in time" in caplog.text

    def test_gives_it_to_nobody(self, stand, monkeypatch):
        elector = stand()
        monkeypatch.setattr(elector.storage, "leader_elect", fail)
        with pytest.raises(OperationalError):
            elector.attempt()

        assert not elector.is_leader
        assert elector.heard == []


class TestResign:
    def test_ends_the_term(self, stand):
        elector = stand()
        elector.attempt()
        elector.resign()

        assert not elector.is_leader
        assert elector.heard == ["gained", "lost"]
        assert not Leader.objects.exists()

    def test_is_safe_twice(self, stand):
        elector, other = stand(), stand("other")
        elector.attempt()
        elector.resign()
        other.attempt()
        elector.resign()

        assert elector.heard == ["gained", "lost"]
        assert other.is_leader

    @pytest.mark.postgres
    def test_is_told_to_the_others(self, using, stand):
        listener = storage.open_listener(using)
        listener.connect([TOPIC_LEADERSHIP])
        elector = stand()
        elector.attempt()
        elector.resign()
        elector.resign()
        elector.storage.notify_many(TOPIC_LEADERSHIP, ["the end"])

        told = list(itertools.takewhile(lambda said: said[1] != "the end", hear(listener)))
        assert [json.loads(payload) for _, payload in told] == [{"action": "resigned", "leader_id": "me"}]
        listener.close()

    def test_of_a_follower_changes_nothing(self, stand):
        stand("leader").attempt()
        follower = stand("follower")
        follower.resign()

        assert follower.heard == []
        assert Leader.objects.get().leader_id == "leader"

    def test_of_an_older_term_touches_no_newer_one(self, stand):
        elector, other = stand(), stand("other")
        elector.attempt()
        expire()
        other.attempt()
        elector.resign()

        assert elector.heard == ["gained", "lost"]
        assert Leader.objects.get().leader_id == "other"

    def test_stops_the_work_though_the_database_is_away(self, stand, monkeypatch):
        elector = stand()
        elector.attempt()
        monkeypatch.setattr(elector.storage, "leader_resign", fail)
        with pytest.raises(OperationalError):
            elector.resign()

        assert elector.heard == ["gained", "lost"]
