"""Real processes, real signals: graceful stops, hurried ones, kills, orphans, exit codes."""

from __future__ import annotations

import os
import re
import signal

import pytest
from django.db import connection

from django_river import queues
from django_river.models import Client, Job, Leader
from tests.e2e.processes import Workers
from tests.shop import jobs
from tests.shop.models import Run
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def flag(tmp_path):
    return tmp_path / "running"


def test_sigterm_lets_running_jobs_finish(process_environ, flag):
    job = jobs.deaf_until_told.enqueue(str(flag))
    with Workers(environ=process_environ) as workers:
        wait_until(flag.exists)
        workers.terminate()
        workers.wait_stopping()
        flag.unlink()

        assert workers.wait() == 0
    job.refresh_from_db()
    assert (job.state, job.attempt) == ("completed", 1)


def test_a_second_signal_asks_jobs_to_stop_and_their_attempts_do_not_count(process_environ, flag, tmp_path):
    sync, waiting = jobs.until_told.enqueue(str(flag)), jobs.until_told_async.enqueue(str(tmp_path / "other"))
    with Workers(environ=process_environ) as workers:
        wait_until(lambda: flag.exists() and (tmp_path / "other").exists())
        workers.terminate()
        workers.wait_stopping()
        workers.interrupt()

        assert workers.wait(20) == 0
    for job in (sync, waiting):
        job.refresh_from_db()
        assert (job.state, job.attempt, job.errors) == ("available", 0, None)


def test_a_job_that_will_not_stop_is_cut_off_and_the_exit_code_says_so(process_environ, flag):
    job = jobs.deaf_until_told.enqueue(str(flag))
    settings = {"STOP_TIMEOUT": 0.1, "CANCEL_TIMEOUT": 0.1}
    with Workers(environ=process_environ, settings=settings) as workers:
        wait_until(flag.exists)

        assert workers.stop() == 3
    job.refresh_from_db()
    assert (job.state, job.attempt) == ("available", 0)


def test_a_stopped_client_leaves_nothing_behind(process_environ):
    with Workers(environ=process_environ) as workers:
        workers.wait_ready()
        wait_until(lambda: Leader.objects.exists() and Client.objects.exists())

        assert workers.stop() == 0
    assert not Leader.objects.exists()
    assert not Client.objects.exists()


def test_killed_workers_lose_nothing(process_environ, flag):
    settings = {
        "RESCUE_AFTER": 1, "HEARTBEAT_INTERVAL": 0.2, "CLIENT_TIMEOUT": 1, "LEADER_TTL": 3,
    }  # fmt: skip
    job = jobs.until_told.enqueue(str(flag))
    others = [jobs.record.enqueue(number) for number in range(50)]
    with Workers(environ=process_environ, settings=settings) as first:
        wait_until(lambda: Run.objects.filter(job_id=job.pk).exists())
        first.kill()
    flag.unlink()
    with Workers(environ=process_environ, settings=settings):
        wait_until(lambda: Run.objects.filter(job_id=job.pk).count() == 2 and flag.exists(), 30)
        flag.unlink()
        wait_until(lambda: not Job.objects.open().exists(), 30)

    job.refresh_from_db()
    assert (job.state, job.attempt) == ("completed", 2)
    # Who is lost has not been heard of, either: whichever is seen first.
    assert re.search("is gone|client lost", job.errors[0]["error"])
    assert Job.objects.filter(pk__in=[other.pk for other in others], state="completed").count() == 50


def test_the_supervisor_replaces_a_killed_process(process_environ):
    with Workers("--processes", "2", environ=process_environ) as workers:
        wait_until(lambda: Client.objects.count() == 2, 30)
        victim = Client.objects.earliest("started_at")
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: Client.objects.exclude(pk=victim.pk).count() == 2, 30)

        assert workers.stop() == 0
    assert list(Client.objects.values_list("pk", flat=True)) == [victim.pk]


def test_children_of_a_killed_supervisor_stop_by_themselves(process_environ):
    with Workers("--processes", "2", environ=process_environ) as workers:
        wait_until(lambda: Client.objects.count() == 2, 30)
        os.kill(workers.process.pid, signal.SIGKILL)

        wait_until(lambda: not Client.objects.exists(), 30)


def test_a_burst_leaves_later_work_and_ends_with_zero(process_environ):
    now, later = jobs.record.enqueue(1), jobs.record.using(run_after=jobs.timedelta(hours=1)).enqueue(2)
    with Workers("--burst", "--processes", "2", environ=process_environ) as workers:
        assert workers.wait() == 0

    now.refresh_from_db()
    later.refresh_from_db()
    assert (now.state, later.state) == ("completed", "scheduled")


def test_only_the_chosen_queues_are_worked(process_environ):
    default, other = jobs.record.enqueue(1), jobs.record_async.enqueue(2)
    with Workers("--burst", "--exclude", "other", environ=process_environ) as workers:
        assert workers.wait() == 0

    default.refresh_from_db()
    other.refresh_from_db()
    assert (default.state, other.state) == ("completed", "available")


def test_a_paused_queue_is_left_alone_until_it_is_resumed(process_environ):
    queues.pause("default")
    with Workers(environ=process_environ) as workers:
        workers.wait_ready()
        paused, other = jobs.record.enqueue(1), jobs.record_async.enqueue(2)
        wait_until(lambda: Job.objects.get(pk=other.pk).state == "completed")
        assert Job.objects.get(pk=paused.pk).state == "available"

        queues.resume("default")
        wait_until(lambda: Job.objects.get(pk=paused.pk).state == "completed")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"QEUES": {}}, "Did you mean 'QUEUES'?"),
        ({"CONCURRENCY": "many"}, "CONCURRENCY"),
        ({"DATABASE": "elsewhere"}, "elsewhere"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(process_environ, settings, said):
    with Workers(environ=process_environ, settings=settings) as workers:
        assert workers.wait() == 1
        assert said in workers.output


def test_tables_that_are_missing_are_said_in_one_sentence(process_environ, tmp_path, private_server_url):
    environ = {**process_environ, "DATABASE_URL": private_server_url}
    with Workers(environ=environ) as workers:
        assert workers.wait() == 1
        assert "has no job tables: run manage.py migrate first." in workers.output


@pytest.fixture
def private_server_url(tmp_path):
    """A database without our tables, of the same sort as the tests'."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE river_empty")
    settings = connection.settings_dict
    yield f"postgres://{settings['USER']}@{settings['HOST']}:{settings['PORT']}/river_empty"
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE river_empty")
