"""Workers that are killed, frozen, cut off or stalled: real processes, signals and servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection

from django_river import operations
from django_river.models import Client, FaultCount, Job
from tests.conftest import ROOT, environ_for
from tests.e2e.processes import Workers, freeze
from tests.e2e.test_failover import WRONG_CLOCK
from tests.relay import Relay
from tests.shop import isolated, jobs
from tests.shop.models import Run
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

QUICK = {"HEARTBEAT_INTERVAL": 0.5, "CLIENT_TIMEOUT": 3, "PROGRESS_INTERVAL": 0.2}


@pytest.fixture
def start(process_environ):
    """Starts a worker of one queue; all are killed at the end."""
    started = []

    def start(queue, *, environ=None, **settings):
        workers = Workers(f"--queues={queue}", environ=environ or process_environ, settings=settings)
        started.append(workers)
        workers.start()
        return workers.wait_ready()

    yield start
    for workers in started:
        if workers.process.poll() is None:
            os.killpg(workers.process.pid, signal.SIGCONT)
        # Shown if the test has failed.
        sys.stderr.write(workers.output)
        workers.__exit__(None, None, None)


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
        # Who has no session yet is only missed when its heartbeat is too old.
        wait_until(lambda: Client.objects.get(pid=victim.process.pid).session)
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
        freeze(victim.process.pid)
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
        threading.Event().wait(3)  # the stall itself
        os.kill(victim.process.pid, signal.SIGCONT)
        flag.unlink()
        wait_until(lambda: row(job).state == "completed", 20)

        assert (row(job).attempt, row(job).errors) == (1, None)

    def test_broken_connections_cost_nothing(self, start, flag):
        start("default")
        start("other")
        job = begin(flag)
        for _ in range(2):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'django_river%'"
                )
            threading.Event().wait(1.5)  # the judge looks once or twice
        flag.unlink()
        wait_until(lambda: row(job).state == "completed", 20)

        assert (row(job).attempt, row(job).errors) == (1, None)


def test_a_job_that_takes_hours_runs_once(start, flag):
    """By a clock that goes two thousand times as fast: all spans are that much shorter."""
    fast = {"HEARTBEAT_INTERVAL": 0.2, "CLIENT_TIMEOUT": 1, "RESCUE_AFTER": 0.5, "STUCK_AFTER": 0.5}
    start("default", **fast)
    start("other", **fast)
    job = begin(flag, jobs.until_told)
    threading.Event().wait(3.6)  # two hours
    flag.unlink()
    wait_until(lambda: row(job).state == "completed", 20)

    assert (row(job).attempt, row(job).errors) == (1, None)


@pytest.mark.postgres
class TestCutOff:
    def test_jobs_are_rescued_and_the_client_comes_back(self, start, flag, process_environ):
        start("default", **QUICK)
        url = urlsplit(process_environ["DATABASE_URL"])
        with Relay(url.hostname, url.port) as relay:
            environ = {**process_environ, "DATABASE_URL": relay.through(process_environ["DATABASE_URL"])}
            victim = start("other", environ=environ, **QUICK)
            job = begin(flag)
            relay.cut()
            wait_until(lambda: row(job).state == "available", 30)
            assert "client lost" in row(job).errors[-1]["error"]
            relay.mend()
            wait_until(lambda: "and is back" in victim.output, 40)
            flag.unlink()
            victim.kill()


@pytest.mark.postgres
class TestRestart:
    def test_a_database_that_was_away_costs_no_job(self, private_postgres, flag):
        environ = environ_for(private_postgres.url)
        settings = {"HEARTBEAT_INTERVAL": 0.5, "PROGRESS_INTERVAL": 0.2}
        enqueue = "import django, sys; django.setup(); from tests.shop.jobs import until_told"
        enqueue += "; until_told.using(queue='other').enqueue(flag=sys.argv[1])"
        with (
            Workers("--queues=default", environ=environ, settings=settings) as leader,
            Workers("--queues=other", environ=environ, settings=settings) as other,
        ):
            leader.wait_ready()
            other.wait_ready()
            subprocess.run([sys.executable, "-c", enqueue, str(flag)], cwd=ROOT, env=environ, check=True)
            wait_until(flag.exists, 30)
            private_postgres.stop()
            threading.Event().wait(3)  # it is away
            private_postgres.start()
            with psycopg.connect(private_postgres.url, autocommit=True) as server:
                beat = "SELECT count(*) FROM django_river_client WHERE heartbeat_at > now() - interval '1 second'"
                wait_until(lambda: server.execute(beat).fetchone() == (2,), 40)
                flag.unlink()
                done = "SELECT state::text, attempt, errors IS NULL FROM river_job"
                wait_until(lambda: server.execute(done).fetchone()[0] == "completed", 40)

                assert server.execute(done).fetchone() == ("completed", 1, True)


@pytest.mark.postgres
@pytest.mark.parametrize("wrong", [-3600], ids=["behind"])
def test_a_client_whose_clock_is_wrong_is_judged_by_the_databases(
    start, flag, process_environ, tmp_path, wrong
):
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK.format(wrong=wrong))
    path = os.pathsep.join([str(tmp_path), process_environ["PYTHONPATH"]])
    start("default", **QUICK)
    victim = start("other", environ={**process_environ, "PYTHONPATH": path}, **QUICK)
    job = begin(flag, jobs.until_told)
    # Longer than it takes to be stale.
    wait_until(lambda: row(job).heartbeat is not None and "wrong by" in victim.output, 20)
    threading.Event().wait(4)
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
