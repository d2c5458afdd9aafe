"""``runworkers --processes auto``: real processes that come when jobs wait, and go when they have nothing to do."""

from __future__ import annotations

import pytest

from django_river.models import Client, Job
from tests.e2e.processes import Workers
from tests.shop import jobs
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

#: The command with rests of a second, in the supervisor and in its processes alike.
HURRIED = """
import sys
from django.core.management import execute_from_command_line
from django_river.work import autoscaler
autoscaler.REST_SECONDS = 1.0
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""
SETTINGS = {"QUEUES": {"default": {"MAX_WORKERS": 2}, "other": {"MAX_WORKERS": 2}}}


def test_processes_come_with_the_backlog_and_go_without_harming_a_job(process_environ, tmp_path):
    flags = [tmp_path / str(number) for number in range(6)]
    made = [jobs.until_told.enqueue(str(flag)) for flag in flags]
    with Workers(
        "--processes", "auto:1-3", environ=process_environ, settings=SETTINGS, program=("-c", HURRIED)
    ) as workers:
        wait_until(lambda: all(flag.exists() for flag in flags), 30)
        assert Client.objects.count() == 3
        # The first one stays in the middle of its work while those without any go.
        for flag in flags[1:]:
            flag.unlink()
        wait_until(lambda: Client.objects.count() == 1, 30)
        assert Job.objects.filter(state="running").values_list("pk", flat=True).get() == made[0].pk
        flags[0].unlink()
        wait_until(lambda: not Job.objects.exclude(state="completed").exists())

        assert workers.stop() == 0
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}
    assert not Client.objects.exists()
