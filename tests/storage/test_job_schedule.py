"""Waiting jobs become available when they are due, unless another one has taken their key."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from django_river.jobs.states import State
from django_river.models import Job
from tests.factories import JobFactory
from tests.storage.steps import HOUR, WITHOUT_RETRYABLE, insert, make_due, row, unique


@pytest.mark.parametrize("state", ["scheduled", "retryable"])
def test_makes_due_jobs_available(store, state):
    due = JobFactory(state=state, scheduled_at=timezone.now() - HOUR)
    later = JobFactory(state=state)

    assert store.job_schedule(10) == [("default", 1)]
    assert (row(due).state, row(due).scheduled_at) == ("available", due.scheduled_at)
    assert row(later).state == state


def test_counts_by_queue(store):
    for queue in "aab":
        JobFactory(scheduled=True, queue=queue, scheduled_at=timezone.now() - HOUR)

    assert sorted(store.job_schedule(10)) == [("a", 2), ("b", 1)]
    assert store.job_schedule(10) == []


def test_takes_the_longest_due_first(store):
    jobs = [JobFactory(scheduled=True, scheduled_at=timezone.now() - HOUR * age) for age in (1, 3, 2)]

    store.job_schedule(2)

    assert [row(job).state for job in jobs] == ["scheduled", "available", "available"]


def test_discards_a_job_whose_key_another_has_taken(store):
    job = JobFactory(retryable=True, metadata={"a": 1}, **unique("a", unique_states=WITHOUT_RETRYABLE))
    JobFactory(**unique("a"))
    make_due(job)

    assert store.job_schedule(10) == []
    after = row(job)
    assert after.state == "discarded"
    assert after.finalized_at is not None
    assert after.metadata == {"a": 1, "unique_key_conflict": "scheduler_discarded"}


def test_of_twins_in_one_pass_keeps_the_one_due_first(store):
    states = unique("a", unique_states=WITHOUT_RETRYABLE)
    late, early = (
        JobFactory(retryable=True, **states, scheduled_at=timezone.now() - age) for age in (HOUR, 2 * HOUR)
    )

    assert store.job_schedule(10) == [("default", 1)]
    assert (row(late).state, row(early).state) == ("discarded", "available")


def test_a_twin_in_the_same_pass_that_holds_the_key_keeps_it(store):
    states = WITHOUT_RETRYABLE
    loser = JobFactory(
        retryable=True, **unique("a", unique_states=states), scheduled_at=timezone.now() - 2 * HOUR
    )
    holder = JobFactory(
        scheduled=True, **unique("a", unique_states=states), scheduled_at=timezone.now() - HOUR
    )

    store.job_schedule(10)

    assert (row(loser).state, row(holder).state) == ("discarded", "available")


@pytest.mark.parametrize("state", ["scheduled", "retryable"])
def test_a_job_in_its_own_mask_is_no_rival_of_itself(store, state):
    job = JobFactory(state=state, **unique("a"), scheduled_at=timezone.now() - HOUR)

    assert store.job_schedule(10) == [("default", 1)]
    assert row(job).state == "available"


def test_a_loser_whose_key_would_count_when_discarded_blocks_nothing(store):
    states = WITHOUT_RETRYABLE | State.DISCARDED.bit
    loser = JobFactory(
        retryable=True, **unique("a", unique_states=states), scheduled_at=timezone.now() - HOUR
    )
    JobFactory(**unique("a", unique_states=states))
    other = JobFactory(scheduled=True, scheduled_at=timezone.now() - HOUR)

    assert store.job_schedule(10) == [("default", 1)]
    assert (row(loser).state, row(loser).unique_states) == ("discarded", WITHOUT_RETRYABLE)
    assert row(other).state == "available"


def test_copes_with_a_huge_page_of_losers(store):
    holder = insert(store, **unique("a"))
    states = unique("a", unique_states=WITHOUT_RETRYABLE)
    losers = JobFactory.build_batch(4000, retryable=True, **states, scheduled_at=timezone.now() - HOUR)
    Job.objects.bulk_create(losers, batch_size=500)
    Job.objects.bulk_create(JobFactory.build_batch(4000, scheduled=True, scheduled_at=timezone.now() - HOUR))

    assert store.job_schedule(10_000) == [("default", 4000)]
    assert Job.objects.in_state(State.DISCARDED).count() == 4000
    assert row(holder).state == "available"


def test_knows_when_the_next_job_is_due(store):
    assert store.job_seconds_until_due() is None

    JobFactory(scheduled=True, scheduled_at=timezone.now() + timedelta(seconds=90))
    assert 80 < store.job_seconds_until_due() <= 90

    JobFactory(retryable=True, scheduled_at=timezone.now() - timedelta(seconds=30))
    assert -31 <= store.job_seconds_until_due() <= -29


def test_waits_for_no_job_that_is_in_another_state(store):
    for state in sorted(set(State) - {State.SCHEDULED, State.RETRYABLE}):
        JobFactory(state=state)
    Job.objects.update(scheduled_at=F("created_at"))

    assert store.job_seconds_until_due() is None
    assert store.job_schedule(10) == []
