"""The lease: gained, renewed, lost, given up."""

from __future__ import annotations

import itertools
import json
import math
from datetime import timedelta

import pytest
from django.db import OperationalError, transaction

from django_river import leadership, storage
from django_river.leadership import (
    ABSTAIN_SECONDS,
    DEFER_SECONDS,
    HURRIED_SECONDS,
    LOOK_SECONDS,
    RENEWALS,
    TRUST_MARGIN,
    VANISHED_SECONDS,
    request_resign,
)
from django_river.models import Client, Leader, LeaderTerm
from django_river.polls import Poll
from django_river.storage.base import TOPIC_LEADERSHIP
from django_river.terms import TermEnd
from tests.electing import TTL, Clock, Stand, away, expire, unanswered
from tests.factories import ClientFactory, JobFactory, LeaderFactory
from tests.waiting import wait_until

RENEWAL = TTL / RENEWALS


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stand(using, clock):
    stand = Stand(using, clock)
    yield stand
    stand.close()


def history():
    return [(term.client_id, term.why) for term in LeaderTerm.objects.order_by("id")]


def hear(listener):
    """All that is said, one after the other."""
    while True:
        yield from listener.wait(10)


class TestGain:
    def test_of_an_office_that_is_free(self, stand):
        elector = stand()
        assert not elector.is_leader
        assert elector.term is None

        elector.attempt()
        leader = Leader.objects.get()
        assert elector.is_leader
        assert (elector.term.leader_id, elector.term.elected_at) == (leader.leader_id, leader.elected_at)
        assert elector.said == ["elected"]

    def test_of_an_office_whose_leader_is_gone(self, stand):
        stand("dead").attempt()
        expire()
        elector = stand()
        elector.attempt()

        assert elector.is_leader
        assert history() == [("dead", "expired"), ("me", "")]

    def test_is_not_while_another_leads(self, stand):
        leader, follower = stand("leader"), stand("follower")
        leader.attempt()
        follower.attempt()

        assert not follower.is_leader
        assert follower.said == []

    def test_is_not_while_a_client_of_another_language_leads(self, stand):
        LeaderFactory(leader_id="go-1")
        follower = stand()
        follower.attempt()

        assert not follower.is_leader

    def test_of_one_candidate_only(self, stand):
        candidates = [stand(f"client {number}") for number in range(5)]
        for candidate in candidates:
            candidate.attempt()

        assert [candidate.is_leader for candidate in candidates].count(True) == 1

    def test_counts_from_before_the_statement(self, stand, clock, monkeypatch):
        elector = stand()
        elect = elector.storage.leader_elect

        def slowly(*args, **kwargs):
            clock.now += 5
            return elect(*args, **kwargs)

        monkeypatch.setattr(elector.storage, "leader_elect", slowly)
        elector.attempt()
        clock.now += TTL - TRUST_MARGIN - 5

        assert not elector.is_leader

    def test_whose_answer_was_lost_is_found_out(self, stand, monkeypatch):
        elector = stand()
        with monkeypatch.context() as patch:
            patch.setattr(elector.storage, "leader_elect", unanswered(elector.storage.leader_elect))
            with pytest.raises(OperationalError):
                elector.attempt()
        assert not elector.is_leader
        assert Leader.objects.get().leader_id == "me"

        elector.attempt()
        assert elector.is_leader
        assert elector.said == ["elected"]

    def test_is_not_of_the_term_of_another_process_with_the_same_id(self, stand):
        stand("same").attempt()
        again = stand("same")
        again.attempt()
        assert not again.is_leader

        expire()
        again.attempt()
        assert again.is_leader


class TestLook:
    def test_comes_at_different_moments(self, stand):
        stand("leader").attempt()
        follower = stand("follower")
        pauses = {follower.attempt() for _ in range(20)}

        assert len(pauses) > 1
        assert all(0.8 * LOOK_SECONDS <= pause <= 1.2 * LOOK_SECONDS for pause in pauses)

    def test_comes_as_soon_as_the_lease_runs_out(self, stand):
        lease = stand("leader", ttl=0.2)
        lease.attempt()

        assert stand("follower").attempt() <= 0.22

    @pytest.mark.parametrize("is_wanted", [True, False])
    def test_takes_the_poll_along_if_that_is_wanted(self, stand, is_wanted):
        JobFactory(available=True, queue="a")
        stand("leader").attempt()
        found = []
        follower = stand("follower", poll=Poll(lambda: is_wanted, found.append))
        follower.attempt()
        assert found == []

        # It knows that there is a leader now, and that it will be answered.
        follower.attempt()

        assert found == ([["a"]] if is_wanted else [])

    def test_is_not_taken_by_who_may_not_lead(self, stand):
        elector = stand()
        elector.candidacy.objection = "its labels lack zone=a"
        elector.attempt()

        assert not Leader.objects.exists()


class TestRenewal:
    def test_prolongs_the_term(self, stand, clock):
        elector = stand()
        assert elector.attempt() == RENEWAL
        before = Leader.objects.get()
        clock.now += 5
        elector.attempt()
        clock.now += TTL - TRUST_MARGIN - 1

        after = Leader.objects.get()
        assert elector.is_leader
        assert elector.said == ["elected"]
        assert after.elected_at == before.elected_at
        assert after.expires_at > before.expires_at

    def test_of_a_term_that_another_has_replaced_fails(self, stand):
        elector, other = stand(), stand("other")
        elector.attempt()
        expire()
        other.attempt()
        elector.attempt()

        assert not elector.is_leader
        assert elector.said == ["elected", "replaced"]
        assert other.is_leader
        assert history() == [("me", "expired"), ("other", "")]

    def test_finds_that_a_client_of_another_language_has_taken_over(self, stand):
        elector = stand()
        elector.attempt()
        Leader.objects.all().delete()
        LeaderFactory(leader_id="go-1")
        elector.attempt()

        assert elector.said == ["elected", "replaced"]
        assert history() == [("me", "replaced")]

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
        assert elector.attempt() == 0
        assert not elector.is_leader

        elector.attempt()
        assert elector.is_leader
        assert elector.said == ["elected", "lost", "elected"]

    def test_that_comes_too_late_is_not_tried(self, stand, clock):
        elector = stand()
        elector.attempt()
        first = elector.term
        clock.now += TTL - TRUST_MARGIN
        assert not elector.is_leader

        elector.attempt()
        assert elector.is_leader
        assert elector.term != first
        assert elector.said == ["elected", "expired", "elected"]

    def test_that_is_answered_after_somebody_knew_it_too_late_is_not_believed(
        self, stand, clock, monkeypatch
    ):
        elector = stand()
        elector.attempt()
        renew = elector.storage.leader_renew

        def slowly(*args):
            answer = renew(*args)
            clock.now += TTL
            assert elector.term is None
            return answer

        monkeypatch.setattr(elector.storage, "leader_renew", slowly)
        assert elector.attempt() == 0

        assert not elector.is_leader
        assert not Leader.objects.exists()
        assert history() == [("me", "expired")]

    def test_comes_often_while_our_session_is_lost(self, stand):
        is_held = [True]
        elector = stand(has_session=lambda: is_held[0])
        elector.attempt()
        is_held[0] = False

        assert elector.attempt() == HURRIED_SECONDS


class TestDatabaseAway:
    def test_leaves_the_office_while_there_is_time(self, stand, clock, monkeypatch):
        elector = stand()
        elector.attempt()
        monkeypatch.setattr(elector.storage, "leader_renew", away)
        clock.now += TTL - TRUST_MARGIN - 1
        with pytest.raises(OperationalError):
            elector.attempt()

        assert elector.is_leader
        assert elector.said == ["elected"]

    def test_takes_it_when_time_is_up(self, stand, clock, monkeypatch, caplog):
        caplog.set_level("INFO")
        elector = stand()
        elector.attempt()
        monkeypatch.setattr(elector.storage, "leader_resign", away)
        clock.now += TTL - TRUST_MARGIN

        assert elector.term is None
        assert elector.said == ["elected", "expired"]
        assert "client me leads no longer: its lease could not be renewed in time" in caplog.text

    def test_over_is_followed_by_the_end_that_could_not_be_written(self, stand, clock, monkeypatch):
        elector = stand()
        elector.attempt()
        clock.now += TTL
        with monkeypatch.context() as patch:
            patch.setattr(elector.storage, "leader_resign", away)
            with pytest.raises(OperationalError):
                elector.attempt()
        assert history() == [("me", "")]

        elector.attempt()
        assert history() == [("me", "expired"), ("me", "")]

    def test_gives_it_to_nobody(self, stand, monkeypatch):
        elector = stand()
        monkeypatch.setattr(elector.storage, "leader_elect", away)
        with pytest.raises(OperationalError):
            elector.attempt()

        assert not elector.is_leader
        assert elector.said == []


class TestResign:
    def test_ends_the_term(self, stand):
        elector = stand()
        elector.attempt()
        elector.resign()

        assert not elector.is_leader
        assert elector.said == ["elected", "stopped"]
        assert not Leader.objects.exists()
        assert history() == [("me", "stopped")]

    def test_is_safe_twice(self, stand):
        elector, other = stand(), stand("other")
        elector.attempt()
        elector.resign()
        other.attempt()
        elector.resign()

        assert elector.said == ["elected", "stopped"]
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

        assert follower.said == []
        assert Leader.objects.get().leader_id == "leader"

    def test_of_an_older_term_touches_no_newer_one(self, stand):
        elector, other = stand(), stand("other")
        elector.attempt()
        expire()
        other.attempt()
        elector.resign()

        assert elector.said == ["elected", "stopped"]
        assert Leader.objects.get().leader_id == "other"

    def test_stops_the_work_though_the_database_is_away(self, stand, monkeypatch):
        elector = stand()
        elector.attempt()
        monkeypatch.setattr(elector.storage, "leader_resign", away)
        with pytest.raises(OperationalError):
            elector.resign()

        assert elector.said == ["elected", "stopped"]


class TestStepDown:
    def test_resigns_at_the_next_attempt_and_lets_others_lead(self, stand, clock):
        elector, other = stand(), stand("other")
        elector.attempt()
        elector.step_down(TermEnd.RESIGNED, "somebody asked")
        assert elector.is_leaving
        elector.attempt()
        elector.attempt()
        assert not elector.is_leader

        other.attempt()
        assert other.is_leader
        assert history() == [("me", "resigned"), ("other", "")]

    def test_is_followed_by_another_term_if_nobody_else_wants_it(self, stand, clock):
        elector = stand()
        elector.attempt()
        elector.step_down(TermEnd.RESIGNED, "somebody asked")
        elector.attempt()
        elector.attempt()
        clock.now += ABSTAIN_SECONDS
        elector.attempt()

        assert elector.said == ["elected", "resigned", "elected"]

    def test_waits_until_it_can_let_go_and_keeps_the_lease(self, stand, clock):
        can_go = [False]
        elector = stand(let_go=lambda: can_go[0])
        elector.attempt()
        expires_at = Leader.objects.get().expires_at
        elector.step_down(TermEnd.RESIGNED, "somebody asked")
        assert elector.attempt() == HURRIED_SECONDS
        assert Leader.objects.get().expires_at == expires_at

        clock.now += RENEWAL
        elector.attempt()
        assert elector.is_leader
        assert Leader.objects.get().expires_at > expires_at

        can_go[0] = True
        elector.attempt()
        assert elector.said == ["elected", "resigned"]

    def test_for_good_keeps_a_follower_from_standing(self, stand, clock):
        elector = stand()
        elector.step_down(TermEnd.STOPPED, "it is stopped", abstain_for=math.inf)
        elector.attempt()
        clock.now += 1e6
        elector.attempt()

        assert not Leader.objects.exists()

    def test_for_good_counts_though_another_reason_came_first(self, stand, clock):
        can_go = [False]
        elector = stand(let_go=lambda: can_go[0])
        elector.attempt()
        elector.step_down(TermEnd.RESIGNED, "somebody asked")
        elector.attempt()
        elector.step_down(TermEnd.STOPPED, "it is stopped", abstain_for=math.inf)
        elector.step_down(TermEnd.RESIGNED, "somebody asked again")
        can_go[0] = True
        elector.attempt()
        clock.now += 1e6
        elector.attempt()

        assert elector.said == ["elected", "stopped"]

    def test_for_good_counts_though_it_comes_at_the_last_moment(self, stand, clock):
        def let_go():
            elector.step_down(TermEnd.STOPPED, "it is stopped", abstain_for=math.inf)
            return True

        elector = stand(let_go=let_go)
        elector.attempt()
        elector.step_down(TermEnd.RESIGNED, "somebody asked")
        elector.attempt()
        elector.attempt()
        clock.now += 1e6
        elector.attempt()

        assert elector.said == ["elected", "resigned"]

    def test_during_an_election_is_not_forgotten(self, stand, monkeypatch):
        elector = stand()
        elect = elector.storage.leader_elect

        def meanwhile(*args, **kwargs):
            elector.step_down(TermEnd.STOPPED, "it is stopped", abstain_for=math.inf)
            return elect(*args, **kwargs)

        monkeypatch.setattr(elector.storage, "leader_elect", meanwhile)
        for _ in range(3):
            elector.attempt()

        assert elector.said == ["elected", "stopped"]

    def test_comes_of_an_objection_that_came_up(self, stand):
        elector = stand()
        elector.attempt()
        elector.candidacy.objection = "it is not office hours"
        elector.attempt()
        elector.attempt()

        assert elector.said == ["elected", "resigned"]


class TestRequest:
    def test_is_heard_at_the_next_renewal_even_by_who_cannot_listen(self, stand, using):
        elector = stand("me")
        elector.attempt()
        assert request_resign() == "me"
        elector.attempt()
        elector.attempt()

        assert elector.said == ["elected", "resigned"]

    def test_finds_nobody(self, using):
        assert request_resign(using=using) is None

    @pytest.mark.postgres
    def test_is_told_as_river_tells_it(self, stand, using):
        listener = storage.open_listener(using)
        listener.connect([TOPIC_LEADERSHIP])
        stand().attempt()
        request_resign()

        assert [json.loads(payload) for _, payload in listener.wait(10)] == [
            {"action": "request_resign", "leader_id": ""}
        ]
        listener.close()

    def test_counts_when_the_transaction_commits(self, stand, using):
        elector = stand()
        elector.attempt()
        with pytest.raises(LookupError), transaction.atomic():
            request_resign()
            raise LookupError
        elector.attempt()

        assert not elector.is_leaving


class TestPreference:
    def test_of_another_takes_the_lead_after_the_minimum_term(self, stand, clock):
        elector = stand(has_client=True, preference=1, minimum_term=60.0)
        elector.attempt()
        preferred = stand("preferred", has_client=True, preference=2)
        for _ in range(10):
            clock.now += 5
            elector.attempt()
        assert not elector.is_leaving

        clock.now += 10
        elector.attempt()
        elector.attempt()
        preferred.attempt()
        assert preferred.is_leader
        assert history() == [("me", "resigned"), ("preferred", "")]

    def test_of_an_equal_changes_nothing(self, stand, clock):
        elector = stand(has_client=True, preference=1, minimum_term=0.0)
        stand("equal", has_client=True, preference=1)
        elector.attempt()
        elector.attempt()

        assert not elector.is_leaving

    def test_lets_the_preferred_go_first_for_a_moment(self, stand, clock):
        elector = stand(has_client=True)
        ClientFactory(id="preferred", preference=1)
        assert elector.attempt() == HURRIED_SECONDS
        assert not elector.is_leader

        clock.now += DEFER_SECONDS
        elector.attempt()
        assert elector.is_leader

    def test_of_one_that_stands_down_again_does_not_hold_others_up(self, stand, clock):
        elector = stand(has_client=True)
        ClientFactory(id="preferred", preference=1)
        elector.attempt()
        Client.objects.filter(pk="preferred").update(can_lead=False)
        elector.attempt()

        assert elector.is_leader


@pytest.mark.postgres
class TestVanished:
    """A leader whose session is gone."""

    @pytest.fixture
    def listener(self, using):
        listener = storage.open_listener(using)
        listener.connect([TOPIC_LEADERSHIP])
        yield listener
        listener.close()

    @pytest.fixture
    def leader(self, stand, listener):
        ClientFactory(id="leader", session=listener.session)
        leader = stand("leader", clock=Clock())
        leader.attempt()
        return leader

    def test_is_replaced_after_two_looks(self, stand, clock, leader, listener):
        follower = stand("follower")
        follower.attempt()
        listener.close()
        wait_until(lambda: follower.storage.leader_watch().is_vanished)
        assert follower.attempt() == pytest.approx(VANISHED_SECONDS)
        assert not follower.is_leader

        clock.now += VANISHED_SECONDS
        follower.attempt()
        assert follower.is_leader
        assert history() == [("leader", "lost"), ("follower", "")]

        leader.attempt()
        assert leader.said == ["elected", "replaced"]

    def test_and_back_is_left_in_office(self, stand, clock, leader, listener):
        follower = stand("follower")
        listener.close()
        wait_until(lambda: follower.storage.leader_watch().is_vanished)
        follower.attempt()
        listener.connect([TOPIC_LEADERSHIP])
        Client.objects.filter(pk="leader").update(session=listener.session)
        clock.now += VANISHED_SECONDS
        follower.attempt()
        assert not follower.is_leader

        listener.close()
        wait_until(lambda: follower.storage.leader_watch().is_vanished)
        assert follower.attempt() == pytest.approx(VANISHED_SECONDS)

    def test_is_replaced_by_the_preferred(self, stand, clock, leader, listener):
        follower = stand("follower")
        ClientFactory(id="preferred", preference=1)
        listener.close()
        wait_until(lambda: follower.storage.leader_watch().is_vanished)
        follower.attempt()
        clock.now += VANISHED_SECONDS
        assert follower.attempt() == HURRIED_SECONDS
        clock.now += DEFER_SECONDS
        follower.attempt()

        assert follower.is_leader


def test_a_lease_is_renewed_often_enough_to_be_kept():
    shortest = 3.0

    assert shortest / RENEWALS < shortest - TRUST_MARGIN
    assert leadership.LOOK_SECONDS + VANISHED_SECONDS < 1.5
    assert timedelta(seconds=ABSTAIN_SECONDS) > timedelta(seconds=LOOK_SECONDS * 1.1 + DEFER_SECONDS)
