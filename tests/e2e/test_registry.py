"""Workers of releases that declare different periodic jobs, as processes."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from django_river.models import Client, Job, Leader
from tests.e2e.processes import Workers
from tests.shop import jobs
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def declaring(every, release="1", **options):
    item = {"name": "digest", "job": "tests.shop.jobs.nothing", "every": every}
    return {"PERIODIC": [item], "RELEASE": release, "LEADER_TTL": 3, **options}


@contextmanager
def ready(workers):
    yield workers.wait_ready()


@pytest.mark.parametrize("flags", [[], ["--processes", "2"]], ids=["alone", "supervised"])
def test_other_jobs_of_the_same_release_end_with_78_before_anything_is_worked(process_environ, flags):
    with Workers("--queues=default", environ=process_environ, settings=declaring(60)) as first:
        first.wait_ready()
        job = jobs.nothing.using(queue="other").enqueue()
        with Workers(*flags, environ=process_environ, settings=declaring(5)) as second:
            assert second.wait() == 78
            said = second.output

    assert "CommandError: other periodic jobs are in force, so this worker does not start." in said
    assert "  ~ digest: every: here 5, there 60" in said
    assert f"pid {first.process.pid}" in said
    assert " works " not in said
    assert Job.objects.get(pk=job.pk).attempt == 0


def test_a_rolling_deployment_hands_over_and_drops_nothing(process_environ):
    old = Workers("--queues=default", environ=process_environ, settings=declaring(60))
    new = Workers("--queues=other", environ=process_environ, settings=declaring(5, "1.1"))
    with old, ready(old), new, ready(new):
        new_id = Client.objects.get(release="1.1").pk
        wait_until(lambda: Client.objects.exclude(pk=new_id).get().objection)
        wait_until(lambda: Leader.objects.filter(leader_id=new_id).exists())
        job = jobs.nothing.enqueue()
        wait_until(lambda: Job.objects.get(pk=job.pk).state == "completed")
        assert old.stop() == 0
        assert new.stop() == 0
        assert "does not lead any more" in old.output
