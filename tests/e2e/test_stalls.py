"""Clients that stall without being gone, and a database that is away: nothing is lost, and nothing runs twice.

Shortened, unless ``RIVER_TEST_FULL_LENGTH`` is set: then for as long as it is promised, with the settings as they are.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import psycopg
import pytest

from django_river.models import Client, Job, Leader
from tests.conftest import ROOT, environ_for
from tests.e2e.processes import Workers
from tests.shop import jobs
from tests.shop.models import Run
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

IS_FULL_LENGTH = bool(os.environ.get("RIVER_TEST_FULL_LENGTH"))
#: For how long Python's lock is held, and the database is away, in seconds.
HELD, AWAY = (20, 30) if IS_FULL_LENGTH else (4, 4)
SHORTENED = {} if IS_FULL_LENGTH else {"HEARTBEAT_INTERVAL": 0.5, "CLIENT_TIMEOUT": 12, "LEADER_TTL": 3}
#: So many are running meanwhile.
JOBS = 3
QUEUES = {"QUEUES": {"default": {}, "other": {"MAX_WORKERS": JOBS + 1}}}
ENQUEUE = """
import sys, django
django.setup()
from tests.shop.jobs import until_told
for number in range(int(sys.argv[2])):
    until_told.using(queue="other").enqueue(flag=f"{sys.argv[1]}-{number}")
"""


@pytest.fixture
def flags(tmp_path):
    flags = [tmp_path / f"running-{number}" for number in range(JOBS)]
    yield flags
    for flag in flags:
        flag.unlink(missing_ok=True)


def leader():
    return Leader.objects.values_list("leader_id", flat=True).first()


@pytest.mark.parametrize("who_leads", ["the other", "it"])
def test_a_client_whose_interpreter_is_held_loses_nothing(process_environ, flags, who_leads):
    held = Workers("--queues=other", environ=process_environ, settings=QUEUES | SHORTENED)
    other = Workers("--queues=default", environ=process_environ, settings=QUEUES | SHORTENED)
    first, second = (other, held) if who_leads == "the other" else (held, other)
    with first:
        first.wait_ready()
        wait_until(leader, 30)
        with second:
            second.wait_ready()
            running = [jobs.until_told.using(queue="other").enqueue(flag=str(flag)) for flag in flags]
            wait_until(lambda: all(flag.exists() for flag in flags), 30)
            holder = jobs.hold_the_interpreter.using(queue="other").enqueue(seconds=HELD)
            wait_until(lambda: is_silent_for(HELD / 2, held), HELD + 20)
            for flag in flags:
                flag.unlink()
            ids = [job.pk for job in (*running, holder)]
            wait_until(lambda: states(ids) == {"completed"}, HELD + 30)

            assert list(Job.objects.filter(pk__in=ids).values_list("attempt", "errors")) == [(1, None)] * len(
                ids
            )
            assert Run.objects.filter(job_id__in=ids).count() == len(ids)
            assert "taken for lost" not in first.output + second.output


def is_silent_for(seconds, workers):
    client = Client.objects.filter(pid=workers.process.pid)
    return client.extra(where=["heartbeat_at < now() - make_interval(secs => %s)"], params=[seconds]).exists()


def states(ids):
    return set(Job.objects.filter(pk__in=ids).values_list("state", flat=True))


def test_a_database_that_is_away_costs_nothing(private_postgres, flags, tmp_path):
    environ = environ_for(private_postgres.url)
    prefix = str(flags[0]).removesuffix("-0")
    with (
        Workers("--queues=default", environ=environ, settings=QUEUES | SHORTENED) as one,
        Workers("--queues=other", environ=environ, settings=QUEUES | SHORTENED) as two,
    ):
        one.wait_ready()
        two.wait_ready()
        subprocess.run([sys.executable, "-c", ENQUEUE, prefix, str(JOBS)], cwd=ROOT, env=environ, check=True)
        wait_until(lambda: all(flag.exists() for flag in flags), 30)
        private_postgres.stop()
        away_at = time.monotonic()
        # One ends while there is nobody to tell.
        flags[0].unlink()
        threading.Event().wait(AWAY - (time.monotonic() - away_at))
        private_postgres.start()
        with psycopg.connect(private_postgres.url, autocommit=True) as server:
            wait_until(lambda: two_beat(server), 60)
            for flag in flags[1:]:
                flag.unlink()
            done = "SELECT count(*) FILTER (WHERE state = 'completed' AND attempt = 1 AND errors IS NULL) FROM river_job"
            wait_until(lambda: server.execute(done).fetchone() == (JOBS,), 40)

            assert server.execute("SELECT count(*) FROM shop_run").fetchone() == (JOBS,)
        assert "taken for lost" not in one.output + two.output


def two_beat(server):
    beat = "SELECT count(*) FROM django_river_client WHERE heartbeat_at > now() - interval '6 seconds'"
    return server.execute(beat).fetchone() == (2,)
