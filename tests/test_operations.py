"""Retry, cancel and delete: what they take, what they say, and where they do it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from django_river import operations, storage
from django_river.hints import hints
from django_river.jobs.states import State
from django_river.models import Job, Queue
from django_river.operations import Result
from tests.factories import JobFactory
from tests.shop.jobs import nothing

MISSING = 2**62
ALL = pytest.mark.parametrize(
    "operation", [operations.cancel, operations.delete, operations.retry], ids=lambda given: given.__name__
)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(operations, "BATCH", 2)


def states():
    return list(Job.objects.order_by("id").values_list("state", flat=True))


class TestCancel:
    def test_skips_what_is_over(self, db):
        jobs = {state: JobFactory(state=state) for state in State}

        result = operations.cancel(jobs.values())

        over = ("cancelled", "completed", "discarded")
        assert result.skipped == {jobs[State(state)].id: state for state in over}
        assert result.changed == sorted(job.id for state, job in jobs.items() if state not in over)
        assert set(states()) == {"cancelled", "completed", "discarded", "running"}

    def test_asks_what_runs_to_stop(self, db):
        job = JobFactory(running=True)

        assert operations.cancel(job) == Result(changed=[job.id])
        job.refresh_from_db()
        assert (job.state, "cancel_attempted_at" in job.metadata) == ("running", True)


class TestDelete:
    def test_skips_what_runs(self, db):
        jobs = {state: JobFactory(state=state) for state in State}

        result = operations.delete(jobs.values())

        assert result.skipped == {jobs[State.RUNNING].id: "running"}
        assert sorted(result.changed) == sorted({job.id for job in jobs.values()} - {jobs[State.RUNNING].id})
        assert states() == ["running"]


class TestRetry:
    def test_skips_what_runs(self, db):
        jobs = {state: JobFactory(state=state) for state in State}

        result = operations.retry(jobs.values())

        assert result.skipped == {jobs[State.RUNNING].id: "running"}
        assert sorted(states()) == ["available"] * 7 + ["running"]

    def test_releases_what_was_parked(self, db):
        job = nothing.using(pending=True).enqueue()

        assert operations.retry(job).changed == [job.id]
        assert states() == ["available"]

    def test_skips_what_has_lost_its_key(self, db):
        key = {"unique_key": b"." * 32, "unique_states": 245}
        job, _ = JobFactory(discarded=True, **key), JobFactory(**key)

        assert operations.retry(job) == Result(skipped={job.id: "discarded"})

    @pytest.mark.parametrize("state", ["completed", "running"])
    def test_wakes_this_process_if_it_changed_anything(self, using, woken, state):
        operations.retry(JobFactory(state=state))

        assert woken == ([()] if state == "completed" else [])

    def test_wakes_this_process_when_the_job_can_be_seen(self, using, woken):
        with transaction.atomic():
            operations.retry(JobFactory(completed=True))
            assert woken == []

        assert woken == [()]

    def test_leaves_a_commit_by_hand_to_polling(self, using, woken):
        job = JobFactory(completed=True)
        transaction.set_autocommit(False)
        try:
            operations.retry(job)
            transaction.commit()
        finally:
            transaction.set_autocommit(True)

        assert woken == []
        assert states() == ["available"]


@pytest.fixture
def woken():
    calls = []
    hints.add_waker("default", calls.append)
    yield calls
    hints.remove_waker("default", calls.append)


class TestWhatTheyTake:
    @ALL
    def test_an_id_or_a_job(self, db, operation):
        job, other = JobFactory(), JobFactory()

        assert operation(job.id) == Result(changed=[job.id])
        assert operation(other) == Result(changed=[other.id])

    @ALL
    def test_many_of_either_in_any_order(self, db, operation):
        first, second, third = JobFactory(), JobFactory(), JobFactory()

        result = operation(item for item in [third, first.id, second, first])

        assert result == Result(changed=[first.id, second.id, third.id])

    @ALL
    def test_none_at_all(self, db, operation):
        assert operation([]) == operation(Job.objects.none()) == operation(iter(())) == Result()

    @ALL
    @pytest.mark.parametrize("missing", [MISSING, 0, -1])
    def test_what_is_missing_and_say_so(self, db, operation, missing):
        job = JobFactory()

        assert operation([job.id, missing]) == Result(changed=[job.id], skipped={missing: "missing"})

    @ALL
    def test_more_than_a_batch(self, db, operation, small_batches):
        ids = [JobFactory().id for _ in range(5)]

        assert operation([*ids, MISSING]) == Result(changed=ids, skipped={MISSING: "missing"})

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            (None, "None"),
            (True, "True"),
            (1.0, "1.0"),
            ("1", "'1'"),
            ([1, "2"], "'2'"),
            ([1, None], "None"),
            ([1, False], "False"),
            ({"id": 1}, "'id'"),
            (User(pk=1), "<User: >"),
            ([Queue(name="default")], "<Queue: default>"),
            (Job(), "<Job:  #None>"),
            (Job, f"{Job!r}"),
        ],
        ids=str,
    )
    @ALL
    def test_nothing_else(self, db, operation, wrong, named):
        job = JobFactory(id=1)

        with pytest.raises(TypeError) as caught:
            operation(wrong)
        assert str(caught.value) == f"jobs must be ids or jobs, got {named}"
        assert Job.objects.get().state == job.state

    @ALL
    def test_no_queryset_of_something_else(self, db, operation):
        JobFactory(id=User.objects.create(username="somebody").pk)

        with pytest.raises(TypeError) as caught:
            operation(User.objects.all())
        assert str(caught.value) == "jobs must be a queryset of jobs, got one of User"
        assert states() == ["available"]


class TestQuerysets:
    @ALL
    def test_are_changed_batch_by_batch(self, db, operation, small_batches):
        """Rows leave the queryset on the way, and none is passed over."""
        ids = [JobFactory(scheduled=True).id for _ in range(5)]
        JobFactory(running=True)

        assert operation(Job.objects.in_state(State.SCHEDULED)) == Result(changed=ids)

    @ALL
    def test_may_be_sliced(self, db, operation, small_batches):
        ids = [JobFactory().id for _ in range(6)]

        assert operation(Job.objects.order_by("-id")[:3]) == Result(changed=ids[3:])

    @ALL
    def test_may_be_in_any_order(self, db, operation, small_batches):
        ids = [JobFactory(priority=1 + number % 2).id for number in range(5)]

        assert operation(Job.objects.order_by("-priority", "-id")) == Result(changed=ids)

    @ALL
    def test_may_be_combined(self, db, operation, small_batches):
        ids = [JobFactory(queue=queue).id for queue in "abcab"]
        either = Job.objects.filter(queue="a").union(Job.objects.filter(queue="b"))

        assert operation(either) == Result(changed=[ids[0], ids[1], ids[3], ids[4]])

    @pytest.mark.postgres
    @ALL
    def test_may_have_one_of_each(self, db, operation):
        ids = [JobFactory(queue=queue).id for queue in "aabb"]

        assert operation(Job.objects.order_by("queue", "id").distinct("queue")).changed == [ids[0], ids[2]]

    @ALL
    def test_may_hold_values_or_parts(self, db, operation):
        first, second = JobFactory(), JobFactory()

        assert operation(Job.objects.filter(pk=first.pk).values("kind")) == Result(changed=[first.id])
        assert operation(Job.objects.filter(pk=second.pk).only("queue")) == Result(changed=[second.id])

    def test_may_be_large(self, db):
        Job.objects.bulk_create(JobFactory.build() for _ in range(operations.BATCH + 1))

        assert len(operations.delete(Job.objects.all()).changed) == operations.BATCH + 1
        assert not Job.objects.exists()

    def test_cost_two_reads_and_their_changes(self, db, django_assert_max_num_queries):
        for _ in range(20):
            JobFactory()

        with django_assert_max_num_queries(6):
            operations.delete(Job.objects.all())


class TestTransactions:
    @ALL
    def test_are_the_callers(self, using, operation, small_batches):
        jobs = [JobFactory(pending=True) for _ in range(5)]
        with pytest.raises(LookupError), transaction.atomic():
            assert len(operation(jobs).changed) == 5
            raise LookupError

        assert states() == ["pending"] * 5

    def test_are_one_for_each_batch(self, using, small_batches, monkeypatch):
        """What was changed before an error stays changed."""
        ids = [JobFactory().id for _ in range(4)]
        stores = iter([storage.for_caller(using)])
        monkeypatch.setattr(storage, "for_caller", lambda using: next(stores))

        with pytest.raises(StopIteration):
            operations.cancel(ids)
        assert states() == ["cancelled", "cancelled", "available", "available"]


class TestDatabases:
    @ALL
    def test_are_named_by_alias(self, second, operation):
        job = JobFactory(pending=True)
        with transaction.atomic(using=second):
            assert operation(job.id, using=second).changed == [job.id]
            transaction.set_rollback(True, using=second)

        assert states() == ["pending"]

    @ALL
    def test_follow_the_settings(self, second, settings, operation):
        settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"DATABASE": second}
        job = JobFactory(pending=True)
        with transaction.atomic(using=second):
            assert operation(Job.objects.filter(pk=job.pk)).changed == [job.id]
            transaction.set_rollback(True, using=second)

        assert states() == ["pending"]

    @ALL
    def test_of_a_queryset_are_where_it_is_changed(self, second, operation):
        """Ids of one database mean other jobs in the next."""
        with transaction.atomic(using=second):
            stored = nothing.using(database=second).enqueue()
            assert operation(Job.objects.all(), using=second).changed == [stored.id]
            transaction.set_rollback(True, using=second)

    @ALL
    def test_are_those_that_the_jobs_come_from(self, second, operation):
        with transaction.atomic(using=second):
            one, other = (nothing.using(database=second).enqueue() for _ in range(2))
            assert operation(one).changed == [one.id]
            assert operation(Job.objects.using(second).filter(pk=other.pk)).changed == [other.id]
            transaction.set_rollback(True, using=second)

    @ALL
    def test_of_one_call_are_one(self, second, operation):
        job = JobFactory()
        jobs = [job, Job.objects.using(second).get()]

        with pytest.raises(ValueError) as caught:
            operation(jobs)
        assert str(caught.value) == "jobs must come from one database, got default and second"
        assert operation(jobs, using=second).changed == [job.id]

    def test_of_jobs_that_a_replica_gave_are_chosen_by_the_router(self, second, settings):
        settings.DATABASE_ROUTERS = [SimpleNamespace(db_for_write=lambda model, **hints: "default")]
        JobFactory()
        job = Job.objects.using(second).get()
        with transaction.atomic(using="default"):
            assert operations.cancel(job).changed == [job.id]
            assert Job.objects.using(second).get().state == "available"
