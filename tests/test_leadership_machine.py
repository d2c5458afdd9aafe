"""Whatever becomes of clients, their clocks, cables and sessions, in whatever order: no two terms are valid at once."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models import F
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_river import storage
from django_river.leadership import request_resign
from django_river.models import Client, Job, Leader, LeaderTerm
from django_river.storage.base import Demand
from django_river.terms import Term, TermEnd
from tests.electing import TTL, Clock, Standing, candidacy
from tests.factories import ClientFactory, JobFactory, LeaderFactory

NAMES = ("a", "b", "c", "d")
FOREIGN = "go-1"
keys = itertools.count(1)

who = st.sampled_from(NAMES)


class Cable:
    """Real storage behind a cable that can be cut, before a statement or before its answer."""

    def __init__(self, store):
        self._store = store
        self.is_cut = False
        self.loses_answers = False

    def __getattr__(self, name):
        statement = getattr(self._store, name)

        def run(*args, **kwargs):
            if self.is_cut:
                raise OperationalError("cut")
            answer = statement(*args, **kwargs)
            if self.loses_answers:
                self.loses_answers = False
                raise OperationalError("the answer was lost")
            return answer

        return run


class Running(Clock):
    """Goes on by itself as the database's does, and jumps when it is told."""

    def __call__(self):
        return self.now + time.monotonic()


class Member:
    """One client: its elector, its clock, and what has befallen it."""

    def __init__(self, name, cable, *, ahead):
        self.cable = cable
        self.clock = Running(ahead)
        self.is_frozen = False
        self.is_busy = False
        self.has_session = True
        # Since its term began: whether something has ended that without its knowledge. No lease can prevent it.
        self.is_betrayed = False
        self.elector = Standing(
            storage=cable,
            client_id=name,
            ttl=TTL,
            clock=self.clock,
            candidacy=candidacy(),
            minimum_term=5.0,
            let_go=lambda: not self.is_busy,
        )

    @property
    def is_sure(self):
        """Whether it leads, and nobody can have taken that from it."""
        return self.elector.term is not None and self.has_session and not self.is_betrayed

    def betray(self):
        self.is_betrayed = self.elector.term is not None

    def try_once(self):
        before = self.elector.term
        try:
            self.elector.attempt()
        except OperationalError:
            self.cable.loses_answers = False
        if self.elector.term != before:
            self.is_betrayed = False


class Election(RuleBasedStateMachine):
    """Rules do something to somebody; the invariants ask who believes to lead, and whose word counts."""

    stores: dict
    checker: object

    def __init__(self):
        super().__init__()
        for model in (Leader, LeaderTerm, Client):
            model.objects.all().delete()
        self.members = {name: self.begin(name) for name in NAMES}
        #: All terms that anybody has ever had.
        self.terms = set()

    def begin(self, name):
        store = self.stores[name]
        store.session.close()
        # No two clocks show the same time.
        member = Member(name, Cable(store), ahead=1000.0 * NAMES.index(name))
        Client.objects.filter(pk=name).delete()
        ClientFactory(id=name, session=self.hold())
        return member

    def teardown(self):
        self.release_all()

    # Sessions: on Postgres, locks that another connection holds for the clients.

    def hold(self):
        if connection.vendor != "postgresql":
            return None
        key = next(keys)
        self.checker.session.execute("SELECT pg_advisory_lock(%(key)s)", {"key": key})
        return key

    def release_all(self):
        if connection.vendor == "postgresql":
            self.checker.session.execute("SELECT pg_advisory_unlock_all()", {})

    def let_go_of_session(self, name):
        key = Client.objects.get(pk=name).session
        if key is not None:
            self.checker.session.execute("SELECT pg_advisory_unlock(%(key)s)", {"key": key})

    # What happens

    @rule(name=who)
    def look(self, name):
        if not self.members[name].is_frozen:
            self.members[name].try_once()

    @rule()
    def everybody_looks(self):
        for name in NAMES:
            self.look(name)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.5, 5.0, 13.5, 14.5, 16.0]))
    def time_passes(self, seconds):
        """For the database, by what it has noted; for the clients, by their clocks, also while they are frozen."""
        Leader.objects.update(expires_at=F("expires_at") - timedelta(seconds=seconds))
        for member in self.members.values():
            member.clock.now += seconds

    @rule(name=who)
    def freezes_or_wakes(self, name):
        self.members[name].is_frozen ^= True

    @rule(name=who)
    def is_cut_off_or_mended(self, name):
        self.members[name].cable.is_cut ^= True

    @rule(name=who)
    def loses_an_answer(self, name):
        self.members[name].cable.loses_answers = True

    @rule(name=who)
    def has_work_to_finish_or_not(self, name):
        self.members[name].is_busy ^= True

    @rule(name=who)
    def is_told_to_step_down(self, name):
        self.members[name].elector.step_down(TermEnd.RESIGNED, "somebody asked", abstain_for=1.0)

    @rule()
    def the_leader_is_asked_to_resign(self):
        request_resign()

    @rule(name=who, preference=st.integers(0, 2))
    def is_wanted_more_or_less(self, name, preference):
        self.members[name].elector.candidacy.preference = preference
        Client.objects.filter(pk=name).update(preference=preference)

    @rule(name=who)
    def is_stopped_and_started_again(self, name):
        member = self.members[name]
        try:
            member.elector.resign()
        except OperationalError:
            assert member.elector.term is None
        self.let_go_of_session(name)
        self.members[name] = self.begin(name)

    @rule(name=who)
    def is_killed_and_started_again_with_the_same_id(self, name):
        self.let_go_of_session(name)
        self.members[name] = self.begin(name)

    @rule(name=who)
    def loses_its_session_and_does_not_know(self, name):
        self.let_go_of_session(name)
        self.members[name].has_session = False
        self.members[name].betray()

    @rule(name=who)
    def gets_a_session_again(self, name):
        self.let_go_of_session(name)
        Client.objects.filter(pk=name).update(session=self.hold())
        self.members[name].has_session = True

    @rule()
    def the_server_crashes(self):
        """The row of the leader is not logged."""
        Leader.objects.all().delete()
        for member in self.members.values():
            member.betray()

    @precondition(lambda self: not Leader.objects.exists())
    @rule()
    def a_client_of_another_language_is_elected(self):
        LeaderFactory(leader_id=FOREIGN)

    @rule()
    def a_client_of_another_language_resigns(self):
        Leader.objects.filter(leader_id=FOREIGN).delete()

    # What must be so

    @invariant()
    def one_term_counts_at_most(self):
        self.terms |= {member.elector.term for member in self.members.values()} - {None}
        # Also that of somebody who was killed, or who has long forgotten it.
        assert sum(self.counts(term) for term in self.terms) <= 1

    @invariant()
    def one_believes_to_lead_at_most(self):
        sure = [member for member in self.members.values() if member.is_sure]
        assert len(sure) <= 1
        for member in sure:
            assert self.counts(member.elector.term)

    @invariant()
    def one_term_is_open_at_most_and_it_is_the_one_that_counts(self):
        open_terms = [
            Term(*names)
            for names in LeaderTerm.objects.filter(ended_at=None).values_list("client_id", "elected_at")
        ]
        assert len(open_terms) <= 1
        leader = Leader.objects.exclude(leader_id=FOREIGN).first()
        if leader is not None and leader.expires_at > leader.elected_at:
            assert [Term(leader.leader_id, leader.elected_at)] == open_terms

    def counts(self, term):
        """Whether what is written in the name of this term takes effect."""
        claimed = self.checker.job_fetch_as_leader(term, [Demand(queue="bound", limit=1)], 1)
        Job.objects.filter(pk__in=[job.id for job in claimed]).update(state="available", attempted_by=None)
        return bool(claimed)


@pytest.fixture
def electorate(using):
    stores = {name: storage.open_storage(using, timeout=10) for name in NAMES}
    checker = storage.open_storage(using, timeout=10)
    # There for the taking: who gets nothing has no term.
    JobFactory(available=True, queue="bound")
    yield type("Votes", (Election,), {"stores": stores, "checker": checker})
    for store in [*stores.values(), checker]:
        store.close()


def test_never_two_valid_terms(electorate):
    run_state_machine_as_test(
        electorate, settings=settings(max_examples=25, stateful_step_count=40, deadline=None)
    )
