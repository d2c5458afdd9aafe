"""Behind PgBouncer in transaction mode: nothing is heard, so workers poll; everything else works."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from django_river import storage
from django_river.models import Client, Job, Leader, LeaderTerm
from tests.e2e.processes import Workers
from tests.shop import jobs
from tests.waiting import wait_until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed"),
]

CONFIG = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 100
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture
def pooler(tmp_path):
    """A ``DATABASE_URL`` that leads through a pooler to the tests' database."""
    settings = connection.settings_dict
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = probe.getsockname()[1]
    config = Path(tmp_path, "pgbouncer.ini")
    config.write_text(
        CONFIG.format(host=settings["HOST"], port=settings["PORT"], user=settings["USER"], listen=listen)
    )
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    # It refuses to run as root, and then becomes the user it is told.
    user = ["--user=nobody"] if Path("/proc/self").stat().st_uid == 0 else []
    process = subprocess.Popen([PGBOUNCER, "--quiet", *user, str(config)])
    url = f"postgres://{settings['USER']}@127.0.0.1:{listen}/{settings['NAME']}"
    try:
        wait_until(lambda: answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(10)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def test_jobs_are_worked_by_polling(process_environ, pooler):
    with Workers(environ={**process_environ, "DATABASE_URL": pooler}) as workers:
        workers.wait_ready()
        wait_until(lambda: "swallows LISTEN: polling instead" in workers.output)
        done = [jobs.record.enqueue(number) for number in range(50)] + [jobs.fail.enqueue(2)]
        wait_until(lambda: not Job.objects.open().exists(), 30)

        assert workers.stop() == 0
        assert "trying again" not in workers.output
    assert Job.objects.filter(pk__in=[job.pk for job in done], state="completed").count() == 51


def test_the_listener_knows_that_it_is_deaf(pooler, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "PORT", pooler.rpartition(":")[2].partition("/")[0])
    listener = storage.open_listener("default")

    assert listener.connect(["river_insert"]) is False
    listener.close()


def test_no_setting_of_ours_stays_on_the_pooled_connection(pooler, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "PORT", pooler.rpartition(":")[2].partition("/")[0])
    store = storage.open_storage("default", timeout=3)
    inside = store.session.execute("SELECT current_setting('statement_timeout')", {})
    store.close()
    with psycopg.connect(pooler, autocommit=True, prepare_threshold=None) as other:
        after = other.execute("SHOW statement_timeout").fetchone()

    assert (inside, after) == ([("3s",)], ("0",))


def test_the_lease_alone_decides_who_leads(process_environ, pooler):
    environ, settings = {**process_environ, "DATABASE_URL": pooler}, {"LEADER_TTL": 3}
    with (
        Workers(environ=environ, settings=settings) as first,
        Workers(environ=environ, settings=settings) as second,
    ):
        wait_until(lambda: all("swallows LISTEN" in worker.output for worker in (first, second)), 30)
        leader = wait_until(Leader.objects.first)
        assert set(Client.objects.values_list("session", flat=True)) == {None}
        victim = Client.objects.get(pk=leader.leader_id)
        (first if first.process.pid == victim.pid else second).kill()
        wait_until(lambda: Leader.objects.exclude(leader_id=victim.pk).exists(), 20)

    assert [term.why for term in LeaderTerm.objects.order_by("id")] == ["expired", ""]
