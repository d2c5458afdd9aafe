"""Claims that count: never one job more than all clients together may run, or begin within a period."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from django_river import storage
from django_river.jobs.states import State
from django_river.models import Job, QueueStarts
from django_river.queue_options import RateLimit
from django_river.storage.base import JobSetState
from django_river.storage.queues import PARTS, LimitedDemand, Starts
from django_river.terms import Term
from tests.factories import JobFactory, LeaderFactory


@pytest.fixture
def store(any_store):
    return any_store


def jobs(count, **given):
    return [job.pk for job in JobFactory.create_batch(count, available=True, **given)]


def fetch(store, *demands, limit=100, client_id="me", **given):
    return store.job_fetch_limited(client_id, demands, limit, **given)


def demand(queue="default", limit=100, **given):
    return LimitedDemand(queue=queue, limit=limit, **given)


def ids(claim):
    return [job.id for job in claim.jobs]


def complete(store, claim, client_id="me"):
    changes = [JobSetState(id=job.id, attempt=job.attempt, state=State.COMPLETED) for job in claim.jobs]
    store.job_set_state_many(client_id, changes)


class TestGlobalMaxWorkers:
    def test_leaves_the_rest_in_line(self, store):
        made = jobs(5)

        claim = fetch(store, demand(most=3))

        assert ids(claim) == made[:3]
        assert claim.again_in == {"default": 0.05}

    def test_counts_what_others_run(self, store):
        JobFactory.create_batch(2, running=True)
        made = jobs(5)

        assert ids(fetch(store, demand(most=3))) == made[:1]
        assert ids(fetch(store, demand(most=3))) == []

    def test_gives_way_when_results_are_stored(self, store):
        made = jobs(5)
        complete(store, fetch(store, demand(most=2)))

        assert ids(fetch(store, demand(most=2))) == made[2:4]

    def test_is_each_queues_own(self, store):
        first, second = jobs(3, queue="a"), jobs(3, queue="b")

        claim = fetch(store, demand("a", most=1), demand("b", most=2))

        assert sorted(ids(claim)) == sorted([first[0], *second[:2]])

    def test_of_a_queue_without_work_need_not_be_asked_again(self, store):
        jobs(1)

        claim = fetch(store, demand(most=3))

        assert (len(claim.jobs), claim.again_in) == (1, {})

    def test_that_was_lowered_waits_until_enough_are_over(self, store):
        jobs(5)
        claim = fetch(store, demand(most=4))

        assert ids(fetch(store, demand(most=2))) == []
        complete(store, claim)
        assert len(ids(fetch(store, demand(most=2)))) == 1

    @pytest.mark.slow
    def test_is_never_exceeded_by_many_clients_at_once(self, using):
        """Eight connections claim and complete as fast as they can: at no moment do more than three run."""
        jobs(120)
        seen = []

        def work(number):
            store = storage.open_storage(using, timeout=20)
            try:
                while Job.objects.filter(state="available").exists():
                    claim = fetch(store, demand(most=3), client_id=f"c{number}")
                    seen.append(Job.objects.filter(state="running").count())
                    complete(store, claim, client_id=f"c{number}")
            finally:
                store.close()
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

        assert Job.objects.filter(state="completed").count() == 120
        assert max(seen) <= 3


class TestRateLimit:
    def test_leaves_the_rest_in_line(self, store):
        made = jobs(5)

        claim = fetch(store, demand(rate=RateLimit(3, 60.0)))

        assert ids(claim) == made[:3]
        assert claim.again_in == {"default": 0.05}
        assert 59 <= fetch(store, demand(rate=RateLimit(3, 60.0))).again_in["default"] <= 61

    def test_counts_what_began_before(self, store):
        made = jobs(5)
        complete(store, fetch(store, demand(rate=RateLimit(3, 60.0), limit=2)))

        assert ids(fetch(store, demand(rate=RateLimit(3, 60.0)))) == made[2:3]
        assert ids(fetch(store, demand(rate=RateLimit(3, 60.0)))) == []

    def test_lets_more_begin_after_the_period(self, store):
        made = jobs(2)
        fetch(store, demand(rate=RateLimit(1, 60.0)))
        (starts,) = QueueStarts.objects.all()
        starts.starts = [[end - 61, count] for end, count in starts.starts]
        starts.save()

        assert ids(fetch(store, demand(rate=RateLimit(1, 60.0)))) == made[1:]

    def test_goes_beside_the_other_limit(self, store):
        jobs(9)

        assert len(ids(fetch(store, demand(rate=RateLimit(4, 60.0), most=2)))) == 2
        assert len(ids(fetch(store, demand(rate=RateLimit(4, 60.0), most=9)))) == 2

    def test_of_an_idle_queue_is_not_touched(self, store):
        assert ids(fetch(store, demand(rate=RateLimit(1, 60.0)))) == []
        assert not QueueStarts.objects.exists()

    @given(
        rate=st.builds(RateLimit, st.integers(1, 20), st.floats(0.1, 100)),
        steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 30)), max_size=60),
    )
    def test_is_kept_in_every_period_there_is(self, rate, steps):
        now, parts, begun = 1_000_000.0, [], []
        for pause, wanted in steps:
            now += pause
            starts = Starts(rate, parts, now)
            count = min(wanted, starts.room)
            if count:
                parts = starts.add(count)
                begun.append((now, count))

        for at, _ in begun:
            within = sum(count for began, count in begun if at <= began < at + rate.seconds)
            assert within <= rate.jobs
        assert len(parts) <= PARTS + 2

    def test_wastes_no_more_than_a_hundredth(self):
        rate, now, parts, begun = RateLimit(10, 1.0), 5.0, [], 0
        while now < 105:
            starts = Starts(rate, parts, now)
            if starts.room:
                parts = starts.add(1)
                begun += 1
            else:
                now += starts.again_in

        assert 980 <= begun <= 1010


class TestPriorityAgeing:
    def test_lets_who_waits_long_go_first(self, store):
        now = timezone.now()
        old = JobFactory(available=True, priority=4, scheduled_at=now - timedelta(seconds=100))
        new = JobFactory(available=True, priority=1, scheduled_at=now - timedelta(seconds=1))
        middle = JobFactory(available=True, priority=3, scheduled_at=now - timedelta(seconds=25))

        assert ids(fetch(store, demand(ageing=30.0, limit=1))) == [old.pk]
        assert ids(fetch(store, demand(ageing=30.0))) == [new.pk, middle.pk]

    def test_is_each_queues_own(self, store):
        now = timezone.now()
        rows = {
            (queue, priority): JobFactory(
                available=True,
                queue=queue,
                priority=priority,
                scheduled_at=now - timedelta(seconds=100 * priority),
            ).pk
            for queue in "ab"
            for priority in (1, 4)
        }

        claim = fetch(store, demand("a", 1, ageing=10.0), demand("b", 1, most=5))

        assert set(ids(claim)) == {rows["a", 4], rows["b", 1]}

    def test_takes_no_more_than_it_may(self, store):
        for priority in (1, 2, 3, 4):
            jobs(3, priority=priority)

        assert len(ids(fetch(store, demand(ageing=10.0, limit=5), limit=4))) == 4


class TestTerm:
    def test_that_is_in_force_claims(self, store):
        made = jobs(1)
        leader = LeaderFactory(leader_id="me")
        assert ids(fetch(store, demand(most=3), term=Term("me", leader.elected_at))) == made
        assert ids(fetch(store, demand(most=3), term=Term("you", leader.elected_at))) == []


@pytest.mark.postgres
def test_a_queue_that_another_claims_from_is_asked_again_soon(store, other_store):
    jobs(3)
    with other_store.session.atomic():
        fetch(other_store, demand(most=2, limit=1))
        claim = fetch(store, demand(most=2))

    assert (claim.jobs, claim.again_in) == ([], {"default": 0.01})


def test_a_start_counts_from_when_its_claim_was_over():
    starts = Starts(RateLimit(1, 1.0), [], 100.0)

    assert starts.add(1, after=0.5) == [(100.5, 1)]
    assert Starts(RateLimit(1, 1.0), [(100.5, 1)], 101.25).room == 0
