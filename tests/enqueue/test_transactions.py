"""A job belongs to the caller's transaction: it is there when that commits, and never if it does not."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_river import enqueue_many
from django_river.models import Job
from django_river.storage.postgres.driver import COPY_FROM
from tests.shop.jobs import nothing, nothing_async
from tests.shop.models import Order


@pytest.fixture
def seen(second):
    """How many jobs the rest of the world sees."""
    return lambda: Job.objects.using(second).count()


@pytest.fixture
def by_hand(using):
    """The caller commits by itself."""
    transaction.set_autocommit(False)
    yield
    transaction.rollback()
    transaction.set_autocommit(True)


class TestAutocommit:
    def test_stores_at_once(self, using, seen):
        nothing.enqueue()

        assert seen() == 1

    def test_costs_one_statement(self, using):
        with CaptureQueriesContext(connection) as queries:
            nothing.enqueue()

        assert len(queries) == 1

    def test_stores_all_or_none(self, using, seen):
        jobs = [nothing.build(), nothing.build()]
        jobs[1].row.priority = 9

        with pytest.raises(Exception, match="priority_in_range"):
            enqueue_many(jobs)

        assert seen() == 0


class TestAtomic:
    def test_is_seen_after_the_commit(self, using, seen):
        with transaction.atomic():
            nothing.enqueue()
            assert seen() == 0

        assert seen() == 1

    def test_costs_one_statement(self, using):
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            nothing.enqueue()

        assert len(queries) == 1

    @pytest.mark.parametrize("count", [1, 2, COPY_FROM])
    def test_leaves_nothing_when_it_rolls_back(self, using, seen, count):
        with pytest.raises(LookupError), transaction.atomic():
            enqueue_many([nothing.build(number) for number in range(count)])
            Order.objects.create(number=1)
            raise LookupError

        assert (seen(), Order.objects.count()) == (0, 0)

    def test_a_savepoint_takes_only_its_own_jobs_back(self, using):
        with transaction.atomic():
            kept = nothing.enqueue()
            with pytest.raises(LookupError), transaction.atomic():
                nothing.enqueue()
                raise LookupError
            also_kept = nothing.enqueue()

        assert {job.id for job in Job.objects.all()} == {kept.id, also_kept.id}

    def test_goes_on_after_wrong_arguments(self, using, seen):
        with transaction.atomic():
            with pytest.raises(TypeError, match="argument 'number': expected int"):
                nothing.enqueue("seven")
            nothing.enqueue(7)

        assert seen() == 1

    @pytest.mark.postgres
    def test_of_another_database_does_not_count(self, second):
        with pytest.raises(LookupError), transaction.atomic(using=second):
            kept = nothing.enqueue()
            raise LookupError

        assert Job.objects.get() == kept

    def test_may_be_the_one_around_a_test(self, db):
        stored = nothing.enqueue()

        assert Job.objects.get() == stored


class TestCommitByHand:
    def test_is_seen_after_the_commit(self, by_hand, seen):
        nothing.enqueue()
        enqueue_many([nothing.build(), nothing.build()])
        assert seen() == 0

        transaction.commit()

        assert seen() == 3

    def test_leaves_nothing_when_it_rolls_back(self, by_hand, seen):
        nothing.enqueue()
        enqueue_many([nothing.build() for _ in range(COPY_FROM)])

        transaction.rollback()

        assert seen() == 0

    def test_knows_atomic_blocks(self, by_hand, seen):
        with transaction.atomic():
            nothing.enqueue()
        transaction.commit()

        assert seen() == 1


class TestAsyncCallers:
    def test_enqueue_like_others(self, using):
        stored = async_to_sync(nothing_async.aenqueue)(7)

        assert Job.objects.get() == stored
        assert stored.args == {"number": 7}

    def test_may_say_how(self, using):
        stored = async_to_sync(nothing_async.using(priority=4, queue="other").aenqueue)(number=7)

        assert (stored.priority, stored.queue, stored.args) == (4, "other", {"number": 7})

    def test_hear_of_wrong_arguments(self, using):
        with pytest.raises(TypeError, match="argument 'number': expected int"):
            async_to_sync(nothing.aenqueue)("seven")

        assert not Job.objects.exists()

    def test_share_the_transaction_around_them(self, using, seen):
        with pytest.raises(LookupError), transaction.atomic():
            async_to_sync(nothing.aenqueue)()
            assert Job.objects.count() == 1
            raise LookupError

        assert seen() == 0
