"""Idle queues: who is a candidate, whether it has jobs, and what is deleted in the end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_river.jobs.states import State
from django_river.models import Queue, QueueRow
from tests.factories import JobFactory, QueueFactory
from tests.storage.steps import HOUR

DAY = timedelta(days=1)


def old(name="old", **given):
    return QueueFactory(name=name, updated_at=timezone.now() - 2 * DAY, **given)


def idle(upkeep, keep=(), limit=10):
    return upkeep.queue_idle(untouched_for=DAY, keep=keep, limit=limit)


def clean(upkeep, *names):
    return upkeep.queue_clean(names, untouched_for=DAY)


#: Queues that are left alone, as what speaks for them.
SPARED = {
    "a worker": lambda: QueueFactory(name="old", updated_at=timezone.now() - DAY + HOUR),
    "a pause": lambda: old(paused=True),
    "metadata": lambda: old(metadata={"limit": 5}),
    "settings at run time": lambda: (old(), QueueRow.objects.create(name="old")),
    "an available job": lambda: (old(), JobFactory(queue="old")),
}


class TestIdle:
    def test_is_what_nobody_has_worked_for_so_long(self, upkeep):
        old("a")
        old("b")

        assert sorted(idle(upkeep)) == ["a", "b"]

    @pytest.mark.parametrize("why", SPARED)
    def test_is_not_what_something_speaks_for(self, upkeep, why):
        SPARED[why]()

        assert idle(upkeep) == []

    def test_is_not_what_the_caller_knows(self, upkeep):
        old("a")
        old("b")

        assert idle(upkeep, keep=["a"]) == ["b"]

    def test_is_bounded(self, upkeep):
        for name in "abc":
            old(name)

        assert len(idle(upkeep, limit=2)) == 2


class TestSearch:
    @pytest.mark.parametrize("state", sorted(State))
    def test_finds_a_job_in_whatever_state(self, upkeep, state):
        JobFactory(queue="other")
        job = JobFactory(queue="old", state=state)

        assert upkeep.queue_search(["old", "empty"], after=0, limit=10) == (["old"], job.id)

    def test_goes_page_by_page(self, upkeep):
        jobs = [JobFactory(queue=queue) for queue in "xya"]

        assert upkeep.queue_search(["a", "b"], after=0, limit=2) == ([], jobs[1].id)
        assert upkeep.queue_search(["a", "b"], after=jobs[1].id, limit=2) == (["a"], jobs[2].id)
        assert upkeep.queue_search(["a", "b"], after=jobs[2].id, limit=2) == ([], None)


class TestClean:
    def test_deletes_what_is_idle(self, upkeep):
        for name in "abc":
            old(name)

        assert sorted(clean(upkeep, "a", "b")) == ["a", "b"]
        assert [queue.name for queue in Queue.objects.all()] == ["c"]

    @pytest.mark.parametrize("why", SPARED)
    def test_spares_what_is_idle_no_more(self, upkeep, why):
        SPARED[why]()

        assert clean(upkeep, "old") == []
        assert Queue.objects.count() == 1
