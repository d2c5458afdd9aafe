"""A queue's slots: what may run, what may wait, what is asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from django_river.terms import Term
from django_river.work import producer as module
from django_river.work.producer import LONGEST_WAIT, MAX_PREFETCH, PREFETCH_SECONDS, Producer
from tests.work.building import attempt_at


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


def attempts(count):
    return [attempt_at() for _ in range(count)]


def work(producer, clock, *, count, seconds):
    """Run jobs one after the other, so that the producer knows how fast its queue is."""
    for attempt in attempts(count):
        producer.admit([attempt])
        clock.now += seconds
        producer.release()
        producer.demand()


class TestLeaderBound:
    def test_wants_nothing_without_a_term(self):
        producer = Producer("q", max_workers=2, is_leader_bound=True)
        assert producer.is_closed
        assert producer.demand() == 0

        producer.term = Term("me", datetime(2026, 3, 1, tzinfo=UTC))
        assert producer.demand() == 2

    def test_is_paused_like_any_other(self):
        producer = Producer("q", max_workers=2, is_leader_bound=True)
        producer.term = Term("me", datetime(2026, 3, 1, tzinfo=UTC))
        producer.is_paused = True

        assert producer.demand() == 0


class TestDemand:
    def test_is_what_the_slots_can_take(self, clock):
        producer = Producer("q", max_workers=5)
        assert producer.demand() == 5

        producer.admit(attempts(2))
        assert producer.demand() == 3
        assert producer.wants_more

    def test_is_nothing_while_all_slots_are_taken(self, clock):
        producer = Producer("q", max_workers=2)
        producer.admit(attempts(2))

        assert producer.demand() == 0
        assert not producer.wants_more

    def test_is_nothing_without_work_and_while_paused(self, clock):
        producer = Producer("q", max_workers=2)
        producer.may_have_work = False
        assert producer.demand() == 0

        producer.may_have_work, producer.is_paused = True, True
        assert producer.demand() == 0

    def test_of_slow_jobs_looks_no_further_than_the_slots(self, clock):
        producer = Producer("q", max_workers=2)
        work(producer, clock, count=20, seconds=60)

        assert producer.prefetch == 0
        assert producer.demand() == 2

    def test_of_fast_jobs_is_what_ends_within_the_prefetch_time(self, clock):
        producer = Producer("q", max_workers=2)
        work(producer, clock, count=1000, seconds=0.0001)

        assert producer.prefetch == pytest.approx(PREFETCH_SECONDS / 0.0001, rel=0.1)
        assert producer.demand() == 2 + producer.prefetch

    def test_has_a_limit_however_fast_the_jobs_are(self, clock):
        producer = Producer("q", max_workers=1)
        work(producer, clock, count=50_000, seconds=1e-6)

        assert producer.prefetch == MAX_PREFETCH

    def test_waits_until_it_is_worth_a_statement(self, clock):
        producer = Producer("q", max_workers=1)
        work(producer, clock, count=1000, seconds=0.0001)
        size = producer.demand()
        producer.admit(attempts(size))
        for _ in range(size // 4):
            producer.release()
        assert producer.demand() == 0

        for _ in range(size // 4 + 1):
            producer.release()
        assert producer.demand() > 0

    def test_forgets_at_once_that_jobs_were_fast(self, clock):
        producer = Producer("q", max_workers=1)
        work(producer, clock, count=1000, seconds=0.0001)
        work(producer, clock, count=1, seconds=60)

        assert producer.prefetch == 0


class TestSlots:
    def test_start_as_many_as_are_free_and_keep_the_rest_waiting(self, clock):
        producer = Producer("q", max_workers=2)
        given = attempts(5)

        assert producer.admit(given) == given[:2]
        assert (producer.running, producer.load) == (2, 5)

    def test_go_to_those_who_wait_in_their_order(self, clock):
        producer = Producer("q", max_workers=1)
        given = attempts(3)
        producer.admit(given)

        assert [producer.release() for _ in range(3)] == [given[1], given[2], None]
        assert (producer.running, producer.load) == (0, 0)

    def test_are_given_up_when_there_are_fewer_than_before(self, clock):
        producer = Producer("q", max_workers=3)
        producer.admit(attempts(5))
        producer.max_workers = 1

        assert [producer.release() for _ in range(2)] == [None, None]
        assert producer.release() is not None
        assert producer.admit(attempts(1)) == []


class TestTakeWaiting:
    def test_takes_all(self, clock):
        producer = Producer("q", max_workers=1)
        given = attempts(3)
        producer.admit(given)

        assert producer.take_waiting() == given[1:]
        assert producer.take_waiting() == []
        assert producer.load == 1

    def test_leaves_those_for_whom_a_slot_became_free_lately(self, clock):
        producer = Producer("q", max_workers=1)
        producer.admit(attempts(3))
        clock.now += LONGEST_WAIT
        assert producer.take_waiting(longer_than=LONGEST_WAIT) == []

        producer.release()
        clock.now += LONGEST_WAIT
        assert producer.take_waiting(longer_than=LONGEST_WAIT) == []
        clock.now += 0.1
        assert len(producer.take_waiting(longer_than=LONGEST_WAIT)) == 1

    def test_asks_for_no_more_than_the_slots_afterwards(self, clock):
        producer = Producer("q", max_workers=1)
        work(producer, clock, count=1000, seconds=0.0001)
        producer.admit(attempts(5))
        producer.take_waiting()

        assert producer.prefetch == 0


class Slots(RuleBasedStateMachine):
    """Whatever comes in whatever order: each attempt starts once or is taken back once, and no slot is used twice."""

    def __init__(self):
        super().__init__()
        self.producer = Producer("q", max_workers=3)
        self.now = 0.0
        self.real = module.time.monotonic
        module.time.monotonic = lambda: self.now
        self.waiting, self.running, self.over = [], [], 0

    def teardown(self):
        module.time.monotonic = self.real

    @rule(share=st.floats(0, 1))
    def fetch(self, share):
        given = attempts(round(self.producer.demand() * share))
        started = self.producer.admit(given)
        self.running += started
        self.waiting += [attempt for attempt in given if attempt not in started]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seconds=st.floats(0, 0.1))
    def finish(self, data, seconds):
        self.now += seconds
        self.running.remove(data.draw(st.sampled_from(self.running)))
        self.over += 1
        following = self.producer.release()
        if following is not None:
            self.waiting.remove(following)
            self.running.append(following)

    @rule(longer_than=st.sampled_from([-1.0, 1.0]))
    def take(self, longer_than):
        for attempt in self.producer.take_waiting(longer_than=longer_than):
            self.waiting.remove(attempt)

    @rule(seconds=st.floats(0, 5), is_paused=st.booleans(), may_have_work=st.booleans())
    def change(self, seconds, is_paused, may_have_work):
        self.now += seconds
        self.producer.is_paused, self.producer.may_have_work = is_paused, may_have_work

    @invariant()
    def counts_what_runs(self):
        assert self.producer.running == len(self.running) <= self.producer.max_workers
        assert self.producer.load == len(self.running) + len(self.waiting)

    @invariant()
    def leaves_no_slot_free_while_one_waits(self):
        assert not self.waiting or len(self.running) == self.producer.max_workers

    @invariant()
    def asks_for_something_when_idle(self):
        producer = self.producer
        if producer.may_have_work and not producer.is_paused and not producer.load:
            assert producer.demand() >= producer.max_workers


TestSlotsInAnyOrder = Slots.TestCase
TestSlotsInAnyOrder.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
