"""The database goes away under load and comes back: workers reconnect by themselves and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import psutil
import psycopg
import pytest

from tests.conftest import ROOT, environ_for
from tests.e2e.processes import Workers
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

ENQUEUE = """
import django
django.setup()
from django_river import enqueue_many
from tests.shop.jobs import nap, nap_async
enqueue_many([nap.build(0.01) for _ in range(1500)] + [nap_async.build(0.01) for _ in range(500)])
"""


def states(url: str) -> Counter[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT state::text, count(*) FROM river_job GROUP BY 1").fetchall()
        return Counter(dict(rows))


def test_workers_survive_restarts_of_the_database(private_postgres):
    url, environ = private_postgres.url, environ_for(private_postgres.url)
    settings = {"RESCUE_AFTER": 600, "LEADER_TTL": 3}
    subprocess.run([sys.executable, "-c", ENQUEUE], cwd=ROOT, env=environ, check=True)
    with Workers("--concurrency", "10", environ=environ, settings=settings) as workers:
        for share in (200, 600):
            wait_until(lambda share=share: states(url)["completed"] > share, 60)
            private_postgres.restart()
        wait_until(lambda: states(url)["completed"] == 2000, 90)

        assert workers.stop() == 0
    with psycopg.connect(url) as connection:
        # Nobody was rescued by age: each job was finished, or handed back, by the client that held it.
        rescued = connection.execute("SELECT count(*) FROM river_job WHERE metadata ? 'river:rescue_count'")
        assert rescued.fetchone() == (0,)


def test_a_worker_without_its_database_hardly_uses_the_processor(private_postgres):
    environ = environ_for(private_postgres.url)
    with Workers(environ=environ) as workers:
        workers.wait_ready()
        private_postgres.stop()
        process = psutil.Process(workers.process.pid)
        wait_until(lambda: workers.output.count("trying again") >= 6, 30)
        used = process.cpu_times().user
        wait_until(lambda: workers.output.count("trying again") >= 12, 60)

        assert process.cpu_times().user - used < 1.0
        private_postgres.start()
        job_done_after_return(private_postgres.url, environ)
        assert workers.stop() == 0


def job_done_after_return(url: str, environ: dict[str, str]) -> None:
    enqueue = "import django; django.setup(); from tests.shop.jobs import nothing; nothing.enqueue()"
    subprocess.run([sys.executable, "-c", enqueue], cwd=ROOT, env=environ, check=True)
    wait_until(lambda: states(url)["completed"] == 1, 30)
