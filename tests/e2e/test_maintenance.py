"""Real processes: what a leader does, what goes on without one, and what a frozen one does not do."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

import pytest
from django.utils import timezone

from django_river.models import Job, Leader
from tests.e2e.processes import Workers
from tests.factories import ClientFactory, JobFactory
from tests.shop import jobs
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

HOUR = timedelta(hours=1)


def test_a_leader_schedules_and_cleans(process_environ):
    long_ago = timezone.now() - 48 * HOUR
    finished = JobFactory(completed=True, created_at=long_ago, finalized_at=long_ago)
    client = ClientFactory(heartbeat_at=long_ago)
    later = jobs.record.using(run_after=timedelta(seconds=1)).enqueue(1)
    with Workers(environ=process_environ, settings={"COMPLETED_RETENTION": 24 * 3600}) as workers:
        wait_until(lambda: Job.objects.get(pk=later.pk).state == "completed", 30)
        wait_until(lambda: not Job.objects.filter(pk=finished.pk).exists(), 30)
        wait_until(lambda: not type(client).objects.filter(pk=client.pk).exists(), 30)

        assert workers.stop() == 0
    assert Job.objects.filter(pk=later.pk).exists()


def test_without_a_leader_due_jobs_go_on(process_environ):
    job = jobs.record.using(run_after=timedelta(seconds=1)).enqueue(1)
    with Workers("--no-lead", environ=process_environ) as workers:
        wait_until(lambda: Job.objects.get(pk=job.pk).state == "completed", 40)

        assert "nobody has led for" in workers.output
        assert not Leader.objects.exists()
        assert workers.stop() == 0


@pytest.mark.postgres
def test_a_leader_that_was_frozen_and_wakes_up_changes_nothing(process_environ):
    first = JobFactory(scheduled=True, scheduled_at=timezone.now())
    with Workers(environ=process_environ) as workers:
        # Its services are at work.
        wait_until(lambda: Job.objects.get(pk=first.pk).state != "scheduled", 30)
        os.kill(workers.process.pid, signal.SIGSTOP)
        now = timezone.now()
        Leader.objects.update(leader_id="another", elected_at=now, expires_at=now + HOUR)
        due = JobFactory(scheduled=True, scheduled_at=now - HOUR)
        over = JobFactory(completed=True, created_at=now - 48 * HOUR, finalized_at=now - 48 * HOUR)
        os.kill(workers.process.pid, signal.SIGCONT)
        wait_until(lambda: "leads no longer" in workers.output, 30)

        assert workers.stop() == 0
    assert Job.objects.get(pk=due.pk).state == "scheduled"
    assert Job.objects.filter(pk=over.pk).exists()
    assert Leader.objects.get().leader_id == "another"
