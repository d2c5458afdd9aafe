"""Due jobs are claimed once, in their order and within the limits."""

from __future__ import annotations

import random
import threading
from datetime import timedelta

import factory
import pytest
from django.utils import timezone

from django_river import storage
from django_river.jobs.states import State
from django_river.models import Job
from django_river.storage.base import ATTEMPTED_BY_LIMIT, ClaimedJob, Demand
from tests.factories import JobFactory, error
from tests.storage.steps import HOUR, ME, OTHER, claim, insert, new, row, settle

MINUTE = timedelta(minutes=1)


def demands(**limits: int) -> list[Demand]:
    return [Demand(queue=queue, limit=limit) for queue, limit in limits.items()]


def queues_of(jobs: list[ClaimedJob]) -> list[str]:
    return sorted(job.queue for job in jobs)


class TestClaim:
    def test_answers_what_a_worker_needs(self, store):
        job = JobFactory(
            kind="shop.send", queue="other", priority=2, max_attempts=9, attempt=3, errors=[error(1), error(2)],
            args={"a": [1]}, metadata={"m": None},
        )  # fmt: skip

        (claimed,) = claim(store, queue="other")

        assert claimed[:7] == (job.id, "shop.send", "other", 2, 4, 9, 2)
        assert (claimed.args.replace(" ", ""), claimed.metadata.replace(" ", "")) == (
            '{"a":[1]}',
            '{"m":null}',
        )

    def test_makes_the_row_ours(self, store):
        inserted = insert(store)

        claim(store)

        job = row(inserted)
        assert (job.state, job.attempt, job.attempted_by, job.finalized_at) == ("running", 1, [ME], None)
        assert job.created_at <= job.attempted_at < job.created_at + MINUTE
        assert job.scheduled_at == inserted.scheduled_at

    def test_is_made_once(self, store):
        insert(store)

        assert len(claim(store)) == 1
        assert claim(store, client_id=OTHER) == []

    @pytest.mark.parametrize(
        "state", ["cancelled", "completed", "discarded", "pending", "retryable", "running", "scheduled"]
    )
    def test_takes_available_jobs_only(self, store, state):
        JobFactory(state=state, scheduled_at=timezone.now() - HOUR)

        assert claim(store) == []

    def test_leaves_what_is_not_due(self, store):
        JobFactory(scheduled_at=timezone.now() + HOUR)

        assert claim(store) == []

    def test_of_nothing_is_nothing(self, store):
        insert(store)

        assert claim(store, queue="other") == []
        assert store.job_fetch(ME, [], 10) == []
        assert claim(store, limit=0) == []

    def test_adds_to_the_clients_that_tried_before(self, store):
        job = JobFactory(attempt=1, attempted_by=[OTHER])

        claim(store)

        assert row(job).attempted_by == [OTHER, ME]

    @pytest.mark.parametrize("tried", [ATTEMPTED_BY_LIMIT - 1, ATTEMPTED_BY_LIMIT, ATTEMPTED_BY_LIMIT + 7])
    def test_keeps_the_last_hundred_clients(self, store, tried):
        before = [f"client-{number}" for number in range(tried)]
        job = JobFactory(attempted_by=before)

        claim(store)

        assert row(job).attempted_by == [*before, ME][-ATTEMPTED_BY_LIMIT:]

    def test_a_job_out_of_countable_attempts_harms_no_other(self, store):
        worn, fresh = JobFactory(attempt=32767, max_attempts=32767, attempted_by=[OTHER]), JobFactory()

        assert {job.id for job in claim(store)} == {worn.id, fresh.id}


class TestOrder:
    def test_is_priority_then_time_then_id(self, store):
        now = timezone.now()
        keys = [(priority, now - MINUTE * age) for priority in (1, 2, 4) for age in (1, 5, 60)] * 2
        random.Random(5).shuffle(keys)
        jobs = [JobFactory(priority=priority, scheduled_at=at) for priority, at in keys]
        expected = sorted(jobs, key=lambda job: (job.priority, job.scheduled_at, job.id))

        claimed = [claim(store, 5) for _ in range(4)]

        assert [job.id for page in claimed for job in page] == [job.id for job in expected]

    def test_holds_within_each_queue_of_one_claim(self, store):
        jobs = [JobFactory(queue=queue, priority=priority) for priority in (3, 1, 2) for queue in ("a", "b")]
        expected = sorted(jobs, key=lambda job: job.priority)

        claimed = store.job_fetch(ME, demands(b=9, a=9), 9)

        for queue in ("a", "b"):
            ids = [job.id for job in claimed if job.queue == queue]
            assert ids == [job.id for job in expected if job.queue == queue]

    def test_a_job_that_is_due_later_waits_for_its_turn(self, store):
        urgent = JobFactory(priority=1, scheduled_at=timezone.now() + HOUR)
        other = JobFactory(priority=4)

        assert [job.id for job in claim(store, 1)] == [other.id] != [urgent.id]


def claimed_after(store, job: ClaimedJob) -> list[int]:
    found = store.job_fetch(ME, [Demand(queue="default", limit=9, after=job.place)], 9)
    return [job.id for job in found]


class TestAfterAJob:
    def test_all_that_stand_behind_it_are_claimed_in_their_order(self, store):
        jobs = JobFactory.create_batch(5, available=True, priority=2)
        late = JobFactory(available=True, priority=4)
        _, last = claim(store, 2)
        urgent = JobFactory(available=True, priority=1)

        claimed = claimed_after(store, last)

        behind = [job.id for job in (*jobs[2:], late)]
        # Those before it may be left out.
        assert [id for id in claimed if id in behind] == behind
        assert set(claimed) - set(behind) <= {urgent.id}

    def test_that_is_gone_those_of_its_priority_need_not_be_found(self, store):
        jobs = JobFactory.create_batch(2, available=True)
        (last,) = claim(store, 1)
        Job.objects.filter(pk=last.id).delete()

        assert set(claimed_after(store, last)) <= {jobs[1].id}

    @pytest.mark.postgres
    def test_each_queue_has_its_own(self, store):
        one, other = (JobFactory.create_batch(3, available=True, queue=queue) for queue in ("a", "b"))
        last = claim(store, 2, queue="a")[-1]
        Job.objects.filter(pk=one[0].pk).update(state="available")
        asked = [Demand(queue="a", limit=9, after=last.place), Demand(queue="b", limit=9)]

        assert {job.id for job in store.job_fetch(ME, asked, 9)} == {one[2].id, *(job.id for job in other)}

    @pytest.mark.postgres
    def test_what_stands_before_it_is_left_out(self, store):
        first, second, third = JobFactory.create_batch(3, available=True)
        last = claim(store, 2)[-1]
        Job.objects.filter(pk__in=[first.pk, second.pk]).update(state="available")

        assert claimed_after(store, last) == [third.id]
        assert [found.id for found in store.job_fetch(ME, demands(default=9), 9)] == [first.id, second.id]

    @pytest.mark.parametrize("queues", [("default",), ("default", "other")])
    @pytest.mark.parametrize("seed", range(5))
    def test_whatever_becomes_of_it_none_is_passed_over(self, store, queues, seed):
        """It may be put off, or run again, and stand elsewhere by the next claim."""
        dice = random.Random(seed)
        moments = [timezone.now() - dice.choice([MINUTE, 20_000 * HOUR, 500_000 * HOUR]) for _ in range(5)]
        JobFactory.create_batch(
            60,
            available=True,
            priority=factory.LazyFunction(lambda: dice.choice([1, 2, 4])),
            scheduled_at=factory.LazyFunction(lambda: dice.choice(moments)),
        )
        expected = list(Job.objects.order_by("priority", "scheduled_at", "id").values_list("id", flat=True))
        claimed, place = [], None
        while len(claimed) < 60:
            asked = [Demand(queue=queue, limit=7, after=place) for queue in queues]
            found = store.job_fetch(ME, asked, 7)
            claimed += [job.id for job in found]
            last = found[-1]
            place = last.place
            settle(
                store,
                last,
                dice.choice([State.RETRYABLE, State.AVAILABLE, State.SCHEDULED]),
                delay=dice.choice([HOUR, MINUTE]),
            )

        assert claimed == expected


class TestLimits:
    @pytest.fixture(autouse=True)
    def jobs(self, store):
        store.job_insert_many([new(queue=queue) for queue in "aaaabbbbcccc"])

    def test_bound_each_queue(self, store):
        assert queues_of(store.job_fetch(ME, demands(a=1, b=2, c=9), 100)) == list("abbcccc")

    def test_bound_them_all(self, store):
        assert len(store.job_fetch(ME, demands(a=3, b=3, c=3), 5)) == 5

    @pytest.mark.parametrize(("order", "expected"), [("abc", "aaab"), ("cab", "accc"), ("bca", "bbbc")])
    def test_serve_earlier_demands_first(self, store, order, expected):
        claimed = store.job_fetch(ME, [Demand(queue=queue, limit=3) for queue in order], 4)

        assert queues_of(claimed) == list(expected)

    def test_pass_over_queues_that_are_empty(self, store):
        assert queues_of(store.job_fetch(ME, demands(none=5, b=5, nothing=5), 3)) == list("bbb")


class TestManyClients:
    def test_never_claim_the_same_job(self, store, using):
        store.job_insert_many([new() for _ in range(200)])
        claimed: dict[str, list[int]] = {}

        def work(name: str) -> None:
            own = storage.open_storage(using, timeout=20)
            claimed[name] = []
            while jobs := claim(own, 7, client_id=name):
                claimed[name] += [job.id for job in jobs]
            own.close()

        threads = [threading.Thread(target=work, args=(f"client-{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        ids = sorted(id for ids in claimed.values() for id in ids)
        assert ids == sorted(Job.objects.values_list("id", flat=True))
        assert all(row(id).attempted_by == [name] for name, ids in claimed.items() for id in ids)

    @pytest.mark.postgres
    def test_pass_over_what_another_is_claiming(self, store, other_store):
        first, second = insert(store), insert(store)

        with store.session.atomic():
            mine = claim(store, 1)
            theirs = claim(other_store, 10, client_id=OTHER)

        assert ([job.id for job in mine], [job.id for job in theirs]) == ([first.id], [second.id])

    @pytest.mark.postgres
    def test_pass_over_what_somebody_has_locked(self, store, other_store):
        locked, free = insert(store), insert(store)

        with other_store.session.atomic():
            other_store.session.execute(
                "SELECT id FROM river_job WHERE id = %(id)s FOR UPDATE", {"id": locked.id}
            )
            assert [job.id for job in claim(store)] == [free.id]

    def test_do_not_see_what_is_not_committed(self, store, other_store):
        if not store.can_notify:
            pytest.skip("one writer at a time")
        with other_store.session.atomic():
            insert(other_store)
            assert claim(store) == []
        assert len(claim(store)) == 1


class TestLostAnswer:
    def test_hands_back_what_the_client_does_not_know(self, store):
        known, lost = insert(store), insert(store)
        before = row(lost).scheduled_at
        claim(store)

        assert store.job_release_unknown(ME, [known.id]) == [lost.id]
        job = row(lost)
        assert (job.state, job.attempt, job.scheduled_at, job.errors) == ("available", 0, before, None)
        assert row(known).state == "running"

    def test_leaves_other_clients_alone(self, store):
        theirs = insert(store)
        claim(store, client_id=OTHER)

        assert store.job_release_unknown(ME, []) == []
        assert row(theirs).state == "running"

    def test_leaves_a_job_that_another_client_has_now(self, store):
        job = JobFactory(running=True, attempt=2, attempted_by=[ME, OTHER])

        assert store.job_release_unknown(ME, []) == []
        assert row(job).attempt == 2

    def test_cancels_what_was_asked_to_be_cancelled(self, store):
        inserted = insert(store)
        claim(store)
        store.job_cancel([inserted.id])

        store.job_release_unknown(ME, [])

        job = row(inserted)
        assert job.state == "cancelled"
        assert job.finalized_at is not None

    def test_lets_the_job_be_claimed_again(self, store):
        inserted = insert(store)
        claim(store)
        store.job_release_unknown(ME, [])

        (again,) = claim(store, client_id=OTHER)

        assert (again.id, again.attempt) == (inserted.id, 1)
        assert settle(store, again, client_id=OTHER) == "completed"


class TestDueWork:
    def test_is_there_when_a_job_could_be_claimed(self, store):
        insert(store)

        assert store.job_has_due(["other", "default"])
        assert not store.job_has_due(["other"])
        assert not store.job_has_due([])

    @pytest.mark.parametrize("state", ["scheduled", "retryable"])
    def test_counts_what_the_leader_must_make_available_if_asked_to(self, store, state):
        JobFactory(state=state, scheduled_at=timezone.now() - HOUR)

        assert store.job_has_due(["default"])
        assert not store.job_has_due(["default"], scheduled=False)

    @pytest.mark.parametrize("state", ["cancelled", "completed", "discarded", "pending", "running"])
    def test_is_not_what_is_over_parked_or_running(self, store, state):
        JobFactory(state=state, scheduled_at=timezone.now() - HOUR)

        assert not store.job_has_due(["default"])

    @pytest.mark.parametrize("state", ["available", "scheduled", "retryable"])
    def test_is_not_what_is_due_later(self, store, state):
        JobFactory(state=state, scheduled_at=timezone.now() + HOUR)

        assert not store.job_has_due(["default"])

    def test_is_not_in_paused_queues(self, store):
        insert(store)
        store.queue_pause("default")

        assert not store.job_has_due(["default"])
