"""Many jobs at once: all or none, each as it was asked for, answered in the order of the question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from django_river import ArgumentTypeError, Unique, enqueue_many
from django_river.models import Job
from django_river.storage.postgres.driver import COPY_FROM
from tests.enqueue.test_options import columns, stored
from tests.shop.jobs import nothing, nothing_async, record_async

HOUR = timedelta(hours=1)
FEW_AND_MANY = pytest.mark.parametrize("count", [3, COPY_FROM - 1, COPY_FROM])


def numbers(jobs):
    return [job.args["number"] for job in jobs]


class TestBuilding:
    def test_stores_nothing(self, db):
        built = nothing.build(7)

        assert (built.row.kind, built.row.args, built.database) == (
            "shop.nothing",
            b'{"number":7}',
            "default",
        )
        assert not Job.objects.exists()

    def test_checks_the_arguments(self):
        with pytest.raises(ArgumentTypeError, match="argument 'number': expected int, got str"):
            nothing.using(priority=2).build("seven")

    def test_may_be_stored_more_than_once(self, db):
        built = nothing.build(7)

        jobs = enqueue_many([built, built])

        assert jobs[0].pk != jobs[1].pk


class TestStoring:
    @FEW_AND_MANY
    def test_answers_in_the_order_given(self, db, count):
        jobs = enqueue_many(nothing.build(number) for number in range(count))

        rows = Job.objects.in_bulk(jobs.ids)
        assert numbers(jobs) == numbers(rows[id] for id in jobs.ids) == list(range(count))

    @FEW_AND_MANY
    def test_keeps_every_jobs_own_options(self, db, count):
        moment = datetime(2999, 1, 1, tzinfo=UTC)
        requests = [
            nothing.using(tags=["a", "b-c"], metadata={"k": ["\n\t\\", 'quo"ted', None]}, priority=4),
            nothing.using(run_after=HOUR, max_attempts=1),
            nothing_async.using(run_after=moment, queue="other"),
            nothing.using(pending=True, run_after=-HOUR),
            nothing,
        ]

        jobs = enqueue_many(requests[number % 5].build(number) for number in range(count))

        states = ["available", "scheduled", "scheduled", "pending", "available"]
        assert [job.state for job in jobs] == [states[number % 5] for number in range(count)]
        assert [columns(job) for job in jobs[-5:]] == [stored(job) for job in jobs[-5:]]

    @FEW_AND_MANY
    @pytest.mark.parametrize("use_tz", [True, False])
    def test_keeps_moments(self, using, settings, use_tz, count):
        settings.USE_TZ = use_tz
        moment = datetime(2999, 7, 1, 10, tzinfo=UTC)

        jobs = enqueue_many(nothing.using(run_after=moment).build(number) for number in range(count))

        assert columns(jobs[-1]) == stored(jobs[-1])
        settings.USE_TZ = True
        assert set(Job.objects.values_list("state", "scheduled_at")) == {("scheduled", moment)}

    @pytest.mark.postgres
    @pytest.mark.parametrize("count", [2, COPY_FROM])
    def test_costs_a_fixed_number_of_statements(self, db, count):
        with CaptureQueriesContext(connection) as queries:
            enqueue_many(nothing.build(number) for number in range(count))

        # A savepoint around them; of very many, a look at the rows of their queues, and their ids.
        assert len(queries) <= 5

    def test_joins_the_transaction_around_it(self, using):
        with pytest.raises(LookupError), transaction.atomic():
            enqueue_many(nothing.build(number) for number in range(COPY_FROM))
            assert Job.objects.count() == COPY_FROM
            raise LookupError

        assert not Job.objects.exists()

    @FEW_AND_MANY
    def test_is_all_or_nothing_inside_one_too(self, using, count):
        jobs = [nothing.build(number) for number in range(count)]
        jobs[1].row.priority = 9

        with transaction.atomic():
            kept = nothing.enqueue()
            with pytest.raises(IntegrityError):
                enqueue_many(jobs)

        assert Job.objects.get() == kept

    def test_goes_to_the_database_of_the_jobs(self, second):
        with transaction.atomic(using=second):
            jobs = enqueue_many([nothing.using(database=second).build()] * COPY_FROM)
            assert not Job.objects.using("default").exists()

        assert {job._state.db for job in jobs[:2]} == {second}
        assert Job.objects.count() == COPY_FROM


class TestUniqueOnes:
    @pytest.fixture
    def once(self):
        return nothing.using(unique=Unique(by_args=True))

    def test_are_stored_once(self, db, once):
        jobs = enqueue_many(once.build(number) for number in [1, 2, 1, 1, 3])

        assert [job.skipped_as_duplicate for job in jobs] == [False, False, True, True, False]
        assert jobs.ids[0] == jobs.ids[2] == jobs.ids[3]
        assert numbers(jobs) == [1, 2, 1, 1, 3]
        assert Job.objects.count() == 3

    def test_answer_with_the_job_that_was_there(self, db, once):
        there = once.using(priority=4, tags=["first"]).enqueue(2)

        jobs = enqueue_many([once.build(1), once.build(2), nothing.build(2)])

        assert [job.skipped_as_duplicate for job in jobs] == [False, True, False]
        assert columns(jobs[1]) == stored(there)

    def test_may_be_many(self, db, once):
        first = enqueue_many(once.build(number) for number in range(COPY_FROM))

        again = enqueue_many(once.build(number) for number in reversed(range(COPY_FROM)))

        assert again.ids == first.ids[::-1]
        assert Job.objects.count() == COPY_FROM


class TestTheAnswer:
    @pytest.fixture
    def jobs(self, db):
        return enqueue_many(nothing.build(number) for number in range(5))

    def test_is_a_sequence(self, jobs):
        assert len(jobs) == 5
        assert numbers(jobs) == [0, 1, 2, 3, 4]
        assert (jobs[-1].args, jobs[3] in jobs) == ({"number": 4}, True)
        with pytest.raises(IndexError):
            jobs[5]

    def test_has_slices_that_are_answers_too(self, jobs):
        assert numbers(jobs[1:3]) == [1, 2]
        assert jobs[::-2].ids == [jobs.ids[4], jobs.ids[2], jobs.ids[0]]
        assert jobs[9:].ids == []

    def test_reads_nothing_unless_something_was_there(self, jobs, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert [job.pk for job in jobs] == jobs.ids

    @pytest.mark.parametrize("nothing_at_all", [[], (), iter(())], ids=["list", "tuple", "iterator"])
    def test_to_no_question_is_empty(self, nothing_at_all):
        jobs = enqueue_many(nothing_at_all)

        assert (list(jobs), len(jobs), jobs.ids) == ([], 0, [])


class TestWrongItems:
    @pytest.mark.parametrize("wrong", [nothing, nothing.using(), 7, None], ids=["job", "using", "id", "none"])
    def test_are_refused(self, db, wrong):
        with pytest.raises(ArgumentTypeError) as caught:
            enqueue_many([nothing.build(), wrong])

        assert str(caught.value) == f"enqueue_many takes what build() returns, got {wrong!r}"
        assert not Job.objects.exists()

    def test_of_two_databases_are_refused(self, db):
        with pytest.raises(ValueError) as caught:
            enqueue_many([nothing.build(), record_async.using(database="second").build(1)])

        assert str(caught.value) == (
            "enqueue_many stores all jobs in one transaction, so they must share a database, got default and second"
        )
        assert not Job.objects.exists()
