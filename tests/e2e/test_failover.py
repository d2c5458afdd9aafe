"""The leader is killed, stopped, frozen, cut off; its database restarts, its clock is wrong: another one leads, and one only.

The lease holds long where a test is about something faster than the lease.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from django_river.models import Client, Job, Leader, LeaderTerm
from tests.conftest import environ_for
from tests.e2e.processes import Workers
from tests.relay import Relay
from tests.shop import jobs
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

#: Nobody in these tests waits for this one.
LONG = {"LEADER_TTL": 120}
SHORT = {"LEADER_TTL": 3}


@pytest.fixture
def fleet(process_environ):
    """Starts worker processes, and kills them at the end."""
    with ExitStack() as stack:

        def start(*, settings, environ=process_environ, **given):
            return stack.enter_context(Workers(environ=environ, settings=settings, **given)).wait_ready()

        yield start


def leader():
    """The client that leads now, if it is one of ours."""
    row = Leader.objects.first()
    return row and Client.objects.filter(pk=row.leader_id).first()


def leads(process, timeout=20):
    """Wait until this process leads; its client."""
    return wait_until(
        lambda: (found := leader()) and found.pid == process.process.pid and found,
        timeout,
        message="the process does not lead",
    )


def history():
    """Why terms ended, in order; at most one lasts."""
    ends = [term.why for term in LeaderTerm.objects.order_by("elected_at")]
    assert ends.count("") <= 1
    return ends


def works(process):
    """The leader does what leaders do: a job that is due becomes available."""
    job = jobs.record.using(run_after=timedelta(seconds=0.01)).enqueue(1)
    wait_until(lambda: Job.objects.get(pk=job.pk).state == "completed", 20)
    leads(process)


@pytest.mark.postgres
def test_a_killed_leader_is_replaced_long_before_its_lease_ends(fleet):
    first = fleet(settings=LONG)
    leads(first)
    wait_until(lambda: Client.objects.get().session)
    second = fleet(settings=LONG)
    first.kill()
    leads(second)
    works(second)

    assert history() == ["lost", ""]


def test_a_stopped_leader_is_replaced_at_once(fleet):
    settings = LONG if connection.vendor == "postgresql" else SHORT
    first = fleet(settings=settings)
    leads(first)
    second = fleet(settings=settings)
    assert first.stop() == 0
    leads(second)
    works(second)

    assert history() == ["stopped", ""]


def test_a_frozen_leader_is_replaced_when_its_lease_ends_and_follows_when_it_wakes(fleet):
    first = fleet(settings=SHORT)
    leads(first)
    second = fleet(settings=SHORT)
    os.kill(first.process.pid, signal.SIGSTOP)
    leads(second)
    os.kill(first.process.pid, signal.SIGCONT)
    wait_until(lambda: "leads no longer" in first.output)
    works(second)

    assert history() == ["expired", ""]
    assert first.stop() == 0
    assert history() == ["expired", ""]


@pytest.mark.postgres
def test_a_leader_that_is_cut_off_steps_down_by_itself_before_another_leads(fleet, process_environ):
    settings, database = connection.settings_dict, process_environ["DATABASE_URL"]
    with Relay(settings["HOST"], int(settings["PORT"])) as relay:
        first = fleet(settings=SHORT, environ={**process_environ, "DATABASE_URL": relay.through(database)})
        leads(first)
        second = fleet(settings=SHORT)
        relay.cut()
        began = time.monotonic()
        wait_until(lambda: "leads no longer" in first.output, 10)
        stepped_down_after = time.monotonic() - began
        leads(second)
        assert stepped_down_after < time.monotonic() - began
        relay.mend()
        works(second)

        assert history() == ["expired", ""]
        assert first.stop() == 0


@pytest.mark.postgres
def test_after_a_restart_of_the_database_one_leads(private_postgres, fleet):
    environ = environ_for(private_postgres.url)
    for _ in range(2):
        fleet(settings=SHORT, environ=environ)

    def asked(sql):
        with psycopg.connect(private_postgres.url) as fresh:
            return fresh.execute(sql).fetchone()[0]

    wait_until(lambda: asked("SELECT count(*) FROM river_leader") == 1)
    # As after a crash: the row of the leader is not logged, and is gone.
    private_postgres.restart(immediately=True)
    wait_until(lambda: asked("SELECT count(*) FROM river_leader WHERE expires_at > now()") == 1, 30)
    term = "SELECT count(*) FROM django_river_leaderterm WHERE ended_at IS NULL"

    wait_until(lambda: asked(term) == 1)
    assert asked("SELECT count(*) FROM django_river_leaderterm WHERE why = 'lost'") >= 1


WRONG_CLOCK = """
import datetime, sys, time
right, Right = time.time, datetime.datetime
class Wrong(Right):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds={wrong})
datetime.datetime = Wrong
time.time = lambda: right() + {wrong}
print("The clock is wrong by {wrong} s.", file=sys.stderr)
"""


@pytest.mark.postgres
@pytest.mark.parametrize("wrong", [3600, -3600], ids=["ahead", "behind"])
def test_a_client_whose_clock_is_an_hour_wrong_leads_and_follows_like_any_other(
    fleet, process_environ, tmp_path, wrong
):
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK.format(wrong=wrong))
    path = os.pathsep.join([str(tmp_path), process_environ["PYTHONPATH"]])
    right = fleet(settings=LONG)
    leads(right)
    wait_until(lambda: Client.objects.get().session)
    mistaken = fleet(settings=LONG, environ={**process_environ, "PYTHONPATH": path})
    assert f"The clock is wrong by {wrong} s." in mistaken.output
    # It takes nobody's lease for expired …
    works(right)
    right.kill()
    leads(mistaken)
    right.start()
    wait_until(lambda: Client.objects.filter(pid=right.process.pid).exists())
    # … and nobody takes its.
    works(mistaken)

    assert history() == ["lost", ""]
    assert abs(LeaderTerm.objects.latest("id").elected_at - timezone.now()) < timedelta(minutes=5)


SAME_ID = """
import sys
from django_river import client
client.unique_client_id = lambda name=None: "the-same"
from django.core.management import execute_from_command_line
execute_from_command_line(["django-admin", *sys.argv[1:]])
"""


def test_two_processes_with_one_id_have_terms_of_their_own(fleet, process_environ):
    """No id is given twice; should it happen all the same, one of them leads."""
    first = fleet(settings=SHORT, program=("-c", SAME_ID))
    wait_until(lambda: Leader.objects.filter(leader_id="the-same").exists())
    second = fleet(settings=SHORT, program=("-c", SAME_ID))
    term = Leader.objects.get().elected_at
    first.kill()
    wait_until(lambda: Leader.objects.exclude(elected_at=term).exists(), 20)
    job = jobs.record.using(run_after=timedelta(seconds=0.01)).enqueue(1)
    wait_until(lambda: Job.objects.get(pk=job.pk).state == "completed", 20)

    assert history()[-1] == ""
    assert len(history()) == 2
    assert second.stop() == 0
    assert not Leader.objects.exists()
