"""People and workers at the same jobs at once; jobs that fork; queues that only the command line names."""

from __future__ import annotations

import threading
from collections import Counter

import psutil
import pytest
from django.db import connections

from django_river import enqueue_many, operations
from django_river.models import Job
from tests.e2e.processes import Workers
from tests.shop import jobs
from tests.shop.models import Run
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


class Person(threading.Thread):
    """Cancels and retries the same jobs again and again."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__(daemon=True)
        self.ids = ids
        self.enough = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self.enough.wait(0.005):
                operations.cancel(self.ids)
                operations.retry(self.ids)
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()


@pytest.mark.postgres
def test_many_cancels_and_retries_while_results_are_written_meet_no_deadlock(process_environ):
    ids = enqueue_many(
        [jobs.fail.build(2) for _ in range(40)] + [jobs.nothing.build() for _ in range(40)]
    ).ids
    people = [Person(ids) for _ in range(3)]
    with Workers("--processes", "2", environ=process_environ) as workers:
        workers.wait_ready(2)
        for person in people:
            person.start()
        wait_until(lambda: Run.objects.count() > 600, 60)
        for person in people:
            person.enough.set()
            person.join(30)
        operations.retry(ids)
        wait_until(lambda: not Job.objects.open().exists(), 60)
        assert workers.stop() == 0

    assert [person.error for person in people] == [None, None, None]
    assert Counter(Job.objects.values_list("state", flat=True)).keys() <= {
        "completed",
        "discarded",
        "cancelled",
    }


def test_a_job_that_forks_leaves_no_second_worker(process_environ):
    job = jobs.fork.enqueue()
    with Workers("--burst", environ=process_environ) as workers:
        assert workers.wait() == 0

    job.refresh_from_db()
    assert job.state == "completed"
    wait_until(lambda: not psutil.pid_exists(job.metadata["output"]["child"]))


def test_a_queue_of_the_command_line_is_worked_when_queues_are_dynamic(process_environ, settings):
    settings.DJANGO_RIVER = {"DYNAMIC_QUEUES": True}
    job = jobs.nothing.using(queue="tenant-7").enqueue()
    with Workers(
        "--burst", "--queues", "tenant-7", environ=process_environ, settings={"DYNAMIC_QUEUES": True}
    ) as workers:
        assert workers.wait() == 0

    job.refresh_from_db()
    assert job.state == "completed"
