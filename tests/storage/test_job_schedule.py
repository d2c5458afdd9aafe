"""Waiting jobs become available when they are due, unless another one has taken their key."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError
from django.db.models import F
from django.utils import timezone

from django_river import storage
from django_river.jobs.states import State
from django_river.models import Job
from tests.factories import JobFactory, LeaderFactory
from tests.storage.steps import HOUR, WITHOUT_RETRYABLE, insert, make_due, row, unique
from tests.waiting import wait_until


@pytest.mark.parametrize("state", ["scheduled", "retryable"])
def test_makes_due_jobs_available(upkeep, state):
    due = JobFactory(state=state, scheduled_at=timezone.now() - HOUR)
    later = JobFactory(state=state)

    assert upkeep.job_schedule(10) == [("default", 1)]
    assert (row(due).state, row(due).scheduled_at) == ("available", due.scheduled_at)
    assert row(later).state == state


def test_counts_by_queue(upkeep):
    for queue in "aab":
        JobFactory(scheduled=True, queue=queue, scheduled_at=timezone.now() - HOUR)

    assert sorted(upkeep.job_schedule(10)) == [("a", 2), ("b", 1)]
    assert upkeep.job_schedule(10) == []


def test_takes_the_longest_due_first(upkeep):
    jobs = [JobFactory(scheduled=True, scheduled_at=timezone.now() - HOUR * age) for age in (1, 3, 2)]

    upkeep.job_schedule(2)

    assert [row(job).state for job in jobs] == ["scheduled", "available", "available"]


def test_discards_a_job_whose_key_another_has_taken(upkeep):
    job = JobFactory(retryable=True, metadata={"a": 1}, **unique("a", unique_states=WITHOUT_RETRYABLE))
    JobFactory(**unique("a"))
    make_due(job)

    assert upkeep.job_schedule(10) == []
    after = row(job)
    assert after.state == "discarded"
    assert after.finalized_at is not None
    assert after.metadata == {"a": 1, "unique_key_conflict": "scheduler_discarded"}


def test_of_twins_in_one_pass_keeps_the_one_due_first(upkeep):
    states = unique("a", unique_states=WITHOUT_RETRYABLE)
    late, early = (
        JobFactory(retryable=True, **states, scheduled_at=timezone.now() - age) for age in (HOUR, 2 * HOUR)
    )

    assert upkeep.job_schedule(10) == [("default", 1)]
    assert (row(late).state, row(early).state) == ("discarded", "available")


def test_a_twin_in_the_same_pass_that_holds_the_key_keeps_it(upkeep):
    states = WITHOUT_RETRYABLE
    loser = JobFactory(
        retryable=True, **unique("a", unique_states=states), scheduled_at=timezone.now() - 2 * HOUR
    )
    holder = JobFactory(
        scheduled=True, **unique("a", unique_states=states), scheduled_at=timezone.now() - HOUR
    )

    upkeep.job_schedule(10)

    assert (row(loser).state, row(holder).state) == ("discarded", "available")


@pytest.mark.parametrize("state", ["scheduled", "retryable"])
def test_a_job_in_its_own_mask_is_no_rival_of_itself(upkeep, state):
    job = JobFactory(state=state, **unique("a"), scheduled_at=timezone.now() - HOUR)

    assert upkeep.job_schedule(10) == [("default", 1)]
    assert row(job).state == "available"


def test_a_loser_whose_key_would_count_when_discarded_blocks_nothing(upkeep):
    states = WITHOUT_RETRYABLE | State.DISCARDED.bit
    loser = JobFactory(
        retryable=True, **unique("a", unique_states=states), scheduled_at=timezone.now() - HOUR
    )
    JobFactory(**unique("a", unique_states=states))
    other = JobFactory(scheduled=True, scheduled_at=timezone.now() - HOUR)

    assert upkeep.job_schedule(10) == [("default", 1)]
    assert (row(loser).state, row(loser).unique_states) == ("discarded", WITHOUT_RETRYABLE)
    assert row(other).state == "available"


def test_copes_with_a_huge_page_of_losers(store, upkeep):
    holder = insert(store, **unique("a"))
    states = unique("a", unique_states=WITHOUT_RETRYABLE)
    losers = JobFactory.build_batch(4000, retryable=True, **states, scheduled_at=timezone.now() - HOUR)
    Job.objects.bulk_create(losers, batch_size=500)
    Job.objects.bulk_create(JobFactory.build_batch(4000, scheduled=True, scheduled_at=timezone.now() - HOUR))

    assert upkeep.job_schedule(10_000) == [("default", 4000)]
    assert Job.objects.in_state(State.DISCARDED).count() == 4000
    assert row(holder).state == "available"


def test_knows_when_the_next_job_is_due(upkeep):
    assert upkeep.job_seconds_until_due() is None

    JobFactory(scheduled=True, scheduled_at=timezone.now() + timedelta(seconds=90))
    assert 80 < upkeep.job_seconds_until_due() <= 90

    JobFactory(retryable=True, scheduled_at=timezone.now() - timedelta(seconds=30))
    assert -31 <= upkeep.job_seconds_until_due() <= -29


def test_waits_for_no_job_that_is_in_another_state(upkeep):
    for state in sorted(set(State) - {State.SCHEDULED, State.RETRYABLE}):
        JobFactory(state=state)
    Job.objects.update(scheduled_at=F("created_at"))

    assert upkeep.job_seconds_until_due() is None
    assert upkeep.job_schedule(10) == []


@pytest.mark.postgres
class TestKeyInDispute:
    """Somebody's transaction has taken a key, and may yet give it back."""

    @pytest.fixture
    def disputed(self, other_store):
        states = WITHOUT_RETRYABLE
        job = JobFactory(retryable=True, **unique("a", unique_states=states))
        make_due(job)
        with other_store.session.atomic():
            insert(other_store, **unique("a"))
            yield job

    def test_keeps_nobody_else_waiting(self, upkeep, disputed):
        plain = JobFactory(scheduled=True, scheduled_at=timezone.now() - HOUR)

        assert upkeep.job_schedule(10) == [("default", 1)]
        assert (row(plain).state, row(disputed).state) == ("available", "retryable")

    def test_keeps_no_other_unique_job_from_its_turn_for_long(self, upkeep, disputed):
        others = [
            JobFactory(retryable=True, **unique(key, unique_states=WITHOUT_RETRYABLE), queue=key)
            for key in "bc"
        ]
        make_due(*others)
        wait_until(lambda: upkeep.job_schedule(10) == [] and all(row(o).state == "available" for o in others))

        assert row(disputed).state == "retryable"

    def test_alone_moves_nothing(self, upkeep, disputed):
        assert upkeep.job_schedule(10) == []
        assert not upkeep.session.in_transaction


@pytest.mark.postgres
def test_a_key_that_is_taken_while_we_look_leaves_the_job_for_the_next_time(upkeep, monkeypatch):
    job = JobFactory(retryable=True, **unique("a", unique_states=WITHOUT_RETRYABLE))
    make_due(job)
    execute, tries = upkeep.session.execute, []

    def taken_once(sql, params):
        if "lock_timeout" in params and not tries:
            tries.append(1)
            raise IntegrityError("taken")
        return execute(sql, params)

    monkeypatch.setattr(upkeep.session, "execute", taken_once)

    assert upkeep.job_schedule(10) == []
    assert upkeep.job_schedule(10) == [("default", 1)]


@pytest.mark.postgres
def test_other_errors_are_told(upkeep, monkeypatch):
    job = JobFactory(retryable=True, **unique("a", unique_states=WITHOUT_RETRYABLE))
    make_due(job)
    execute = upkeep.session.execute

    def away(sql, params):
        if "lock_timeout" in params:
            raise OperationalError("away")
        return execute(sql, params)

    monkeypatch.setattr(upkeep.session, "execute", away)

    with pytest.raises(OperationalError, match="away"):
        upkeep.job_schedule(10)


class TestVacant:
    @pytest.fixture
    def nobody(self, store, using):
        return storage.upkeep_on(store.session, using)

    @pytest.fixture
    def due(self):
        return [JobFactory(scheduled=True, queue=q, scheduled_at=timezone.now() - HOUR) for q in "ab"]

    def test_moves_due_jobs_of_the_named_queues(self, nobody, due):
        assert nobody.job_schedule_vacant(["a", "c"], 10) == [("a", 1)]
        assert [row(job).state for job in due] == ["available", "scheduled"]
        assert nobody.job_schedule_vacant(["a", "c"], 10) == []

    def test_discards_a_job_whose_key_another_has_taken(self, nobody, store):
        job = JobFactory(retryable=True, **unique("a", unique_states=WITHOUT_RETRYABLE))
        insert(store, **unique("a"))
        make_due(job)

        assert nobody.job_schedule_vacant(["default"], 10) == []
        assert row(job).state == "discarded"

    def test_moves_them_when_the_lease_is_over(self, nobody, due):
        LeaderFactory(expired=True)

        assert nobody.job_schedule_vacant(["a"], 10) == [("a", 1)]

    def test_moves_nothing_while_anybody_leads(self, nobody, due):
        LeaderFactory()

        assert nobody.job_schedule_vacant(["a"], 10) == []
        assert [row(job).state for job in due] == ["scheduled", "scheduled"]
