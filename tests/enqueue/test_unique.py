"""Unique jobs: the second of two is the first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from django_river import Unique, operations
from django_river.jobs.states import State
from django_river.models import Job
from tests.enqueue.test_options import columns, stored
from tests.shop.jobs import nothing, nothing_async

HOUR = timedelta(hours=1)
FIVE_O_CLOCK = datetime(2999, 1, 2, 5, tzinfo=UTC)


@pytest.fixture
def once():
    return nothing.using(unique=Unique(by_args=True))


@pytest.fixture
def hourly():
    return nothing.using(unique=Unique(by_period=HOUR))


class TestDuplicates:
    def test_are_the_job_that_was_there(self, db, once):
        first = once.using(priority=4, metadata={"a": 1}).enqueue(7)

        second = once.using(priority=1, run_after=HOUR).enqueue(7)

        assert (first.skipped_as_duplicate, second.skipped_as_duplicate) == (False, True)
        assert columns(second) == stored(first) == columns(first)
        assert Job.objects.count() == 1

    def test_show_how_far_it_has_come(self, db, once):
        first = once.enqueue(7)
        Job.objects.filter(pk=first.pk).update(state="retryable", attempt=2)

        second = once.enqueue(7)

        assert (second.state, second.attempt) == ("retryable", 2)

    def test_are_told_apart_by_what_counts(self, db, once):
        once.enqueue(7)

        assert not once.enqueue(8).skipped_as_duplicate
        assert not nothing.enqueue(7).skipped_as_duplicate
        assert not nothing_async.using(unique=Unique(by_args=True)).enqueue(7).skipped_as_duplicate

    def test_count_defaults_as_given(self, db, once):
        once.enqueue()

        assert once.enqueue(number=0).skipped_as_duplicate

    def test_may_come_when_the_first_has_let_go(self, db, once):
        first = once.enqueue(7)
        operations.cancel(first)

        assert not once.enqueue(7).skipped_as_duplicate

    def test_obey_the_states_they_are_told(self, db):
        states = set(State) - {State.COMPLETED}
        request = nothing.using(unique=Unique(by_args=True, by_state=states))
        Job.objects.filter(pk=request.enqueue(7).pk).update(state="completed", finalized_at=FIVE_O_CLOCK)

        assert not request.enqueue(7).skipped_as_duplicate

    def test_leave_the_transaction_around_them_alone(self, using, once):
        once.enqueue(7)
        with transaction.atomic():
            assert once.enqueue(7).skipped_as_duplicate
            once.enqueue(8)

        assert Job.objects.count() == 2

    def test_of_what_is_rolled_back_are_none(self, using, once):
        with pytest.raises(LookupError), transaction.atomic():
            once.enqueue(7)
            raise LookupError

        assert not once.enqueue(7).skipped_as_duplicate

    def test_follow_the_queue(self, db):
        request = nothing.using(unique=Unique(by_queue=True))
        request.enqueue(1)

        assert request.enqueue(2).skipped_as_duplicate
        assert not request.using(queue="other").enqueue(1).skipped_as_duplicate


class TestPeriods:
    def test_follow_the_moment_planned(self, db, hourly):
        hourly.using(run_after=FIVE_O_CLOCK).enqueue()

        for minutes, is_same in [(59, True), (60, False), (-1, False)]:
            job = hourly.using(run_after=FIVE_O_CLOCK + timedelta(minutes=minutes)).enqueue()
            assert job.skipped_as_duplicate == is_same

    def test_follow_a_span_from_now(self, hourly):
        now = hourly.build().row.unique_key
        later = [hourly.using(run_after=hours * HOUR).build().row.unique_key for hours in (2, 3)]

        assert len({now, *later}) == 3

    def test_follow_a_moment_in_the_past(self, db, hourly):
        past = datetime(2026, 1, 2, 5, 21, 5, tzinfo=UTC)

        job = hourly.using(run_after=past).enqueue()

        unique = Unique(by_period=HOUR)
        assert bytes(job.unique_key) == unique.key(
            kind="shop.nothing", args=b'{"number":0}', queue="default", scheduled_at=past
        )
