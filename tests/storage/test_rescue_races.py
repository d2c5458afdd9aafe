"""A rescue against a result, and against another rescue: never two winners."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from django_river import storage
from django_river.jobs.states import State
from django_river.models import Client, Job
from django_river.storage.base import JobSetState
from tests.factories import ClientFactory
from tests.storage.steps import HOUR, ME, claim, new

#: Each job of each round is a race of its own.
ROUNDS, JOBS = 20, 500


@pytest.fixture
def lost_client():
    # It will be by then: what is claimed after the loss is kept.
    return ClientFactory(id=ME, lost_at=timezone.now() + HOUR, lost_why="client_lost")


@pytest.fixture
def upkeeps(using, store):
    """Two connections of one leader: what two leaders would be whose terms overlapped."""
    term = store.leader_elect("leader", timedelta(hours=1)).term
    opened = [storage.open_upkeep(using, term=term, timeout=30) for _ in range(2)]
    yield opened
    for upkeep in opened:
        upkeep.close()


def rescue_all(upkeep, rescued, *, limit):
    misses = 0
    while misses < 3:
        page = upkeep.job_rescue(
            rescue_after=None, client_timeout=HOUR, poison_after=99, known_kinds=["tests.work"], limit=limit
        )
        rescued += [job.id for job in page]
        misses += not page


def settle_all(store, jobs, settled):
    jobs = list(jobs)
    while jobs:
        part = [jobs.pop() for _ in range(min(len(jobs), random.randint(1, 40)))]
        changes = [JobSetState(id=job.id, attempt=job.attempt, state=State.COMPLETED) for job in part]
        settled += [one.id for one in store.job_set_state_many(ME, changes)]


def together(*calls):
    threads = [
        threading.Thread(target=function, args=args, kwargs=kwargs) for function, args, kwargs in calls
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.slow
def test_a_rescue_and_a_result_are_never_both_stored(store, upkeeps, lost_client):
    won = Counter()
    for number in range(ROUNDS):
        store.job_insert_many([new() for _ in range(JOBS)])
        jobs = claim(store, JOBS)
        random.Random(number).shuffle(jobs)
        rescued, settled = [], []
        together((rescue_all, (upkeeps[0], rescued), {"limit": 20}), (settle_all, (store, jobs, settled), {}))

        assert not set(rescued) & set(settled)
        assert sorted(rescued + settled) == sorted(job.id for job in jobs)
        assert set(Job.objects.filter(state="completed").values_list("id", flat=True)) == set(settled)
        assert set(Job.objects.filter(state="retryable").values_list("id", flat=True)) == set(rescued)
        Job.objects.all().delete()
        won += Counter(rescued=len(rescued), settled=len(settled))

    # It was a race: both have won many.
    assert won.total() == ROUNDS * JOBS
    assert min(won["rescued"], won["settled"]) > JOBS / 10


@pytest.mark.slow
def test_two_rescuers_rescue_each_job_once(store, upkeeps, lost_client):
    store.job_insert_many([new() for _ in range(JOBS)])
    jobs = claim(store, JOBS)
    first, second = [], []
    together(
        *(
            (rescue_all, (upkeep, found), {"limit": 7})
            for upkeep, found in zip(upkeeps, (first, second), strict=True)
        )
    )

    assert sorted(first + second) == sorted(job.id for job in jobs)
    assert {job.metadata["river:rescue_count"] for job in Job.objects.all()} == {1}
    assert Client.objects.count() == 1
