"""Finished jobs are deleted when they have been kept for long enough, page by page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_river.jobs.states import FINAL, OPEN, State
from django_river.models import Job, Leader
from django_river.storage.upkeep import CleanedPage, Retention
from tests.factories import JobFactory
from tests.storage.steps import HOUR

MINUTE = timedelta(minutes=1)
NONE = timedelta(0)


def job(state="completed", *, age=2 * HOUR, created=None, **given):
    """A job that has been over for so long."""
    created_at = timezone.now() - (created or age + MINUTE)
    finalized_at = timezone.now() - age if State(state).is_final else None
    return JobFactory(state=state, created_at=created_at, finalized_at=finalized_at, **given)


def clean(
    upkeep, state=State.COMPLETED, *, kept_for=HOUR, after=0, span=10**12, slack=NONE, limit=100, **retention
):
    return upkeep.job_clean(
        Retention(state=state, kept_for=kept_for, **retention),
        after=after,
        span=span,
        slack=slack,
        limit=limit,
    )


def ids():
    return list(Job.objects.order_by("id").values_list("id", flat=True))


class TestWhatIsDeleted:
    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_is_what_has_been_over_for_long_enough(self, upkeep, state):
        old, young = job(state), job(state, age=HOUR - MINUTE)

        assert clean(upkeep, state).deleted == 1
        assert ids() == [young.id]
        assert old.id < young.id

    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_is_nothing_that_ended_otherwise_or_is_open(self, upkeep, state):
        others = [job(other) for other in sorted(set(State) - {state})]

        assert clean(upkeep, state).deleted == 0
        assert ids() == [other.id for other in others]

    def test_is_by_the_end_and_not_by_the_creation(self, upkeep):
        waited = job(age=MINUTE, created=50 * HOUR)

        clean(upkeep)

        assert ids() == [waited.id]

    def test_is_everything_if_nothing_is_kept(self, upkeep):
        job(age=NONE)

        assert clean(upkeep, kept_for=NONE).deleted == 1

    def test_may_be_in_some_queues_only(self, upkeep):
        a, b, c = (job(queue=queue) for queue in "abc")

        assert clean(upkeep, queues=("a", "c"), is_for_others=False).deleted == 2
        assert ids() == [b.id]
        assert a.id < c.id

    def test_may_be_in_all_other_queues(self, upkeep):
        a, _, c = (job(queue=queue) for queue in "abc")

        assert clean(upkeep, queues=("a", "c")).deleted == 1
        assert ids() == [a.id, c.id]

    def test_is_not_what_stands_before_the_page(self, upkeep):
        first, second = job(), job()

        clean(upkeep, after=first.id)

        assert ids() == [first.id]
        assert second.id > first.id

    @pytest.mark.postgres
    def test_is_not_what_somebody_holds(self, upkeep):
        held, free = job(), job()
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=held.pk)
            assert clean(upkeep).deleted == 1

        assert ids() == [held.id]
        assert free.id > held.id

    @pytest.mark.sqlite
    def test_is_not_what_was_retried_since_the_page_was_read(self, upkeep, other_store, monkeypatch):
        retried, other = job(), job()
        atomic = upkeep.session.atomic

        def after_a_retry():
            other_store.job_retry([retried.id])
            return atomic()

        monkeypatch.setattr(upkeep.session, "atomic", after_a_retry)

        assert clean(upkeep).deleted == 1
        assert ids() == [retried.id]
        assert other.id > retried.id


class TestPage:
    def test_without_jobs_is_empty(self, upkeep):
        assert clean(upkeep) == CleanedPage(examined=0, deleted=0, passed_id=None, has_more=False)

    def test_has_no_more_than_its_limit_and_passes_them(self, upkeep):
        jobs = [job() for _ in range(5)]

        assert clean(upkeep, limit=2) == CleanedPage(2, 2, passed_id=jobs[1].id, has_more=True)
        assert clean(upkeep, limit=2, after=jobs[1].id) == CleanedPage(2, 2, jobs[3].id, has_more=True)
        assert clean(upkeep, limit=2, after=jobs[3].id) == CleanedPage(1, 1, jobs[4].id, has_more=False)

    def test_passes_jobs_that_are_not_over(self, upkeep):
        jobs = [job(state) for state in sorted(OPEN)]

        assert clean(upkeep, limit=5) == CleanedPage(5, 0, passed_id=jobs[-1].id, has_more=True)

    def test_of_failed_jobs_has_no_others(self, upkeep):
        job()
        first, second = job("discarded"), job("discarded", age=NONE)

        page = clean(upkeep, State.DISCARDED)

        assert page == CleanedPage(examined=2, deleted=1, passed_id=first.id, has_more=False)
        assert ids()[-1] == second.id

    def test_ends_the_walk_where_jobs_are_too_young_to_be_over(self, upkeep):
        old = job(age=NONE, created=2 * HOUR)
        for _ in range(3):
            job(age=NONE, created=MINUTE)

        assert clean(upkeep, limit=3) == CleanedPage(3, 0, passed_id=old.id, has_more=False)

    def test_ends_the_walk_also_if_all_of_a_full_page_are_too_young(self, upkeep):
        for _ in range(3):
            job(age=MINUTE)

        assert clean(upkeep, limit=2) == CleanedPage(2, 0, None, has_more=False)

    def test_lets_jobs_take_a_while_to_end(self, upkeep):
        old, younger = job(created=5 * HOUR), job(age=NONE, created=2 * HOUR)

        assert clean(upkeep, limit=2, slack=2 * HOUR) == CleanedPage(2, 1, old.id, has_more=False)
        assert clean(upkeep, limit=1, slack=MINUTE) == CleanedPage(1, 0, younger.id, has_more=True)

    def test_has_no_more_than_its_span(self, upkeep):
        first, *_, last = [job() for _ in range(5)]
        start = first.id - 1

        assert clean(upkeep, after=start, span=2) == CleanedPage(2, 2, passed_id=start + 2, has_more=True)
        assert clean(upkeep, after=start + 2, span=5) == CleanedPage(3, 3, passed_id=last.id, has_more=False)

    @pytest.mark.parametrize("state", [State.COMPLETED, State.DISCARDED])
    def test_that_is_empty_is_passed_if_there_are_more(self, upkeep, state):
        last = job(state)
        before = last.id - 1
        Job.objects.filter(pk=last.pk).update(id=last.id + 100)

        assert clean(upkeep, state, after=before, span=60) == CleanedPage(0, 0, before + 60, has_more=True)
        assert clean(upkeep, state, after=before + 60, span=60) == CleanedPage(
            1, 1, last.id + 100, has_more=False
        )

    def test_of_failed_jobs_does_not_pass_those_that_may_still_fail(self, upkeep):
        running = job("running")

        assert clean(upkeep, State.DISCARDED, after=0, span=1) == CleanedPage(0, 0, None, has_more=False)
        assert clean(upkeep, State.DISCARDED, after=0, span=running.id) == CleanedPage(
            0, 0, None, has_more=False
        )

    def test_after_the_term_has_no_more(self, upkeep, term):
        job()
        last = job()
        Leader.objects.all().delete()

        assert not clean(upkeep, after=last.id - 2, span=1).has_more

    def test_is_not_ended_by_one_job_whose_creation_is_dated_ahead(self, upkeep):
        job(age=NONE, created=-HOUR)
        last = job()

        assert clean(upkeep, limit=2) == CleanedPage(2, 1, passed_id=last.id, has_more=True)
