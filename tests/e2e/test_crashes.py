"""Workers that are killed, frozen, cut off or stalled: real processes, signals and servers."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from django.db import connection

from django_river import operations
from django_river.models import Client, FaultCount, Job
from tests.e2e.processes import Workers
from tests.shop import isolated, jobs
from tests.shop.models import Run
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

QUICK = {"HEARTBEAT_INTERVAL": 0.5, "CLIENT_TIMEOUT": 3, "PROGRESS_INTERVAL": 0.2}


@pytest.fixture
def start(process_environ):
    """Starts a worker of one queue; all are killed at the end."""
    started = []

    def start(queue, **settings):
        workers = Workers(f"--queues={queue}", environ=process_environ, settings=settings)
        started.append(workers)
        workers.start()
        return workers.wait_ready()

    yield start
    for workers in started:
        if workers.process.poll() is None:
            os.killpg(workers.process.pid, signal.SIGCONT)
        workers.kill()


@pytest.fixture
def flag(tmp_path):
    flag = tmp_path / "running"
    yield flag
    flag.unlink(missing_ok=True)


def begin(flag, function=jobs.deaf_until_told):
    job = function.using(queue="other").enqueue(flag=str(flag))
    wait_until(flag.exists, 30)
    return job


def row(job):
    return Job.objects.get(pk=job.pk)


@pytest.mark.postgres
class TestKilled:
    def test_jobs_are_available_within_seconds(self, start, flag):
        start("default")
        victim = start("other")
        job = begin(flag)
        victim.kill()
        killed_at = time.monotonic()
        wait_until(lambda: row(job).state == "available", 20)

        # 5 s is the promise of a machine that does nothing else; benchmarks measure it.
        assert time.monotonic() - killed_at < 15
        after = row(job)
        assert after.attempt == 1
        assert "client lost" in after.errors[-1]["error"]
        assert after.metadata["river:rescue_count"] == 1
        wait_until(lambda: FaultCount.objects.filter(kind=job.kind, what="client_lost", count=1).exists())

    def test_children_of_isolated_jobs_die_with_their_worker(self, start, flag):
        victim = start("other")
        isolated.stuck_in_c.using(queue="other").enqueue(flag=str(flag))
        pid = int(wait_until(lambda: flag.exists() and flag.read_text(), 30))
        os.kill(victim.process.pid, signal.SIGKILL)
        victim.process.wait()

        wait_until(lambda: _is_over(pid))


def _is_over(pid):
    """Gone, or a zombie that nobody has waited for."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


class TestFrozen:
    def test_jobs_are_rescued_and_late_results_refused(self, start, flag):
        start("default", **QUICK)
        victim = start("other", **QUICK)
        job = begin(flag, jobs.until_told)
        os.kill(victim.process.pid, signal.SIGSTOP)
        wait_until(lambda: row(job).state == "available", 30)
        assert "ClientStale: client lost" in row(job).errors[-1]["error"]

        flag.unlink()
        os.kill(victim.process.pid, signal.SIGCONT)
        wait_until(lambda: "had been taken for lost (client_stale) and is back" in victim.output, 20)
        # It begins the job anew: the result of the first attempt was refused.
        wait_until(lambda: Run.objects.filter(job_id=job.pk, attempt=2).exists(), 20)
        flag.unlink(missing_ok=True)
        wait_until(lambda: row(job).state == "completed", 20)
        assert row(job).attempt == 2
        assert Client.objects.filter(lost_at=None).count() == 2


@pytest.mark.postgres
class TestStalled:
    def test_a_short_freeze_costs_nothing(self, start, flag):
        start("default", HEARTBEAT_INTERVAL=0.5, CLIENT_TIMEOUT=20)
        victim = start("other", HEARTBEAT_INTERVAL=0.5, CLIENT_TIMEOUT=20)
        job = begin(flag)
        os.kill(victim.process.pid, signal.SIGSTOP)
        threading.Event().wait(5)  # the stall itself
        os.kill(victim.process.pid, signal.SIGCONT)
        flag.unlink()
        wait_until(lambda: row(job).state == "completed", 20)

        assert (row(job).attempt, row(job).errors) == (1, None)

    def test_broken_connections_cost_nothing(self, start, flag):
        start("default")
        start("other")
        job = begin(flag)
        for _ in range(3):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'django_river%'"
                )
            threading.Event().wait(1.5)  # the judge looks once or twice
        flag.unlink()
        wait_until(lambda: row(job).state == "completed", 20)

        assert (row(job).attempt, row(job).errors) == (1, None)


class TestCancel:
    def test_reaches_a_running_job_on_another_client(self, start, flag):
        start("other")
        job = begin(flag, jobs.until_told)
        operations.cancel(job.pk)
        asked_at = time.monotonic()
        wait_until(lambda: row(job).state == "cancelled", 20)

        assert time.monotonic() - asked_at < 10

    def test_stops_what_never_looks(self, start, flag):
        start("other")
        job = begin(flag, jobs.spin_in_a_thread)
        operations.cancel(job.pk)

        wait_until(lambda: row(job).state == "cancelled", 20)
