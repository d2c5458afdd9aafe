"""Thousands of jobs of every sort over several processes: each ends in the right state, exactly once."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import connection, transaction

from django_river import enqueue_many, operations
from django_river.models import Job
from tests.e2e.processes import Workers
from tests.shop import jobs
from tests.shop.models import Run
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

#: Of every hundred jobs: what is enqueued, its final state, and how often its code runs.
MIX = (
    (30, lambda: jobs.record.build(1), "completed", 1),
    (20, lambda: jobs.record_async.build(1), "completed", 1),
    (10, lambda: jobs.fail.build(2), "completed", 3),
    (10, lambda: jobs.fail.build(9), "discarded", 3),
    (10, lambda: jobs.snooze.build(2), "completed", 3),
    (8, lambda: jobs.record.using(run_after=jobs.timedelta(seconds=2)).build(1), "completed", 1),
    (4, jobs.cancel_itself.build, "cancelled", 1),
    (4, jobs.discard_itself.build, "discarded", 1),
    (4, lambda: jobs.record.using(pending=True).build(1), "cancelled", 0),
)


def test_every_job_ends_in_the_right_state_exactly_once(process_environ):
    hundreds, processes = (100, 3) if connection.vendor == "postgresql" else (10, 1)
    expected = {}
    with transaction.atomic():
        for size, build, state, runs in MIX:
            ids = enqueue_many([build() for _ in range(size * hundreds)]).ids
            expected |= dict.fromkeys(ids, (state, runs))
    operations.cancel(Job.objects.filter(state="pending"))

    with Workers("--processes", str(processes), environ=process_environ) as workers:
        wait_until(lambda: not Job.objects.open().exists(), 120)
        assert workers.stop() == 0

    runs = Counter(Run.objects.values_list("job_id", flat=True))
    ended = {id: (state, runs[id]) for id, state in Job.objects.values_list("id", "state")}
    assert len(ended) == 100 * hundreds
    assert ended == expected


def test_outputs_and_errors_are_kept(process_environ):
    recorded, failing = jobs.record.enqueue(7), jobs.fail.enqueue(9)

    with Workers("--burst", environ=process_environ) as workers:
        assert workers.wait() == 0

    recorded.refresh_from_db()
    failing.refresh_from_db()
    assert recorded.metadata["output"] == {"number": 7}
    assert [error["attempt"] for error in failing.errors] == [1, 2, 3]
    assert 'raise ValueError(f"attempt {context.attempt}")' in failing.errors[0]["trace"]
