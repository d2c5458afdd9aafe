"""Periodic jobs of real processes: enqueued once each, by whoever leads, and on again when the leader is killed."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.core.management import call_command

from django_river.models import Client, Job, Leader, PeriodicJob
from tests.e2e.processes import Workers
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

EVERY = timedelta(milliseconds=100)
SETTINGS = {
    "PERIODIC": [
        {
            "name": "ticks",
            "job": "tests.shop.jobs.nothing",
            "every": EVERY.total_seconds(),
            "on_missed": "all",
        }
    ],
    "LEADER_TTL": 3,
    "HEARTBEAT_INTERVAL": 1,
}


@pytest.fixture
def fleet(process_environ):
    """Starts so many workers, and kills them at the end."""
    with ExitStack() as stack:

        def start(count):
            made = [Workers(environ=process_environ, settings=SETTINGS) for _ in range(count)]
            for each in made:
                stack.enter_context(each)
            return {each.wait_ready().process.pid: each for each in made}

        yield start


def runs():
    """The moments that runs were planned for."""
    planned = Job.objects.order_by("id").values_list("metadata__django_river:planned_at", flat=True)
    return list(planned)


def leading_pid():
    """The process that leads, as the database has it."""
    leader = Leader.objects.first()
    return leader and Client.objects.filter(pk=leader.leader_id).values_list("pid", flat=True).first()


def test_when_the_leader_is_killed_no_run_is_lost_and_none_comes_twice(fleet):
    workers = fleet(2)
    wait_until(lambda: len(runs()) > 5, 20)
    first = wait_until(leading_pid)
    workers[first].process.send_signal(signal.SIGKILL)
    before = len(runs())
    wait_until(lambda: leading_pid() not in (None, first), 20)
    wait_until(lambda: len(runs()) > before + 30, 30)

    seen = runs()
    assert len(seen) == len(set(seen))
    first_run = PeriodicJob.objects.get().last_run_at - (len(seen) - 1) * EVERY
    assert min(Job.objects.values_list("scheduled_at", flat=True)) == first_run


def test_a_pause_by_command_reaches_the_leader(fleet):
    fleet(1)
    wait_until(lambda: len(runs()) > 3, 20)
    call_command("river_periodic", "pause", "ticks", verbosity=0)
    paused = len(runs())
    # Time enough for ten runs.
    looked = Client.objects.get().heartbeat_at
    wait_until(lambda: Client.objects.get().heartbeat_at > looked, 20)
    assert len(runs()) == paused

    call_command("river_periodic", "resume", "ticks", verbosity=0)
    wait_until(lambda: len(runs()) > paused + 3, 20)
