"""``runworkers --reload``: a change of code starts the worker anew."""

from __future__ import annotations

import os

import pytest

from django_river.models import Client, Job
from tests.e2e.processes import Workers
from tests.shop import jobs
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def watched(tmp_path, process_environ):
    """A module of a worker's own, that may be changed."""
    module = tmp_path / "sitecustomize.py"
    module.write_text("")
    process_environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), process_environ["PYTHONPATH"]])
    return module


def is_restarted(first, module):
    """Whether another client works; changes the module again, in case the reloader had not seen it yet."""
    later = module.stat().st_mtime + 10
    os.utime(module, (later, later))
    return Client.objects.exclude(pk=first.pk).exists()


def is_completed_without(flag, job):
    """Whether the job has come to its end; takes its flag away, which a second attempt makes again."""
    flag.unlink(missing_ok=True)
    return Job.objects.get(pk=job.pk).state == "completed"


def test_a_change_of_code_restarts_the_worker_and_gives_its_jobs_back(process_environ, watched, tmp_path):
    flag = tmp_path / "running"
    job = jobs.until_told.enqueue(str(flag))
    with Workers("--reload", environ=process_environ) as workers:
        wait_until(flag.exists, 30)
        first = Client.objects.get()

        wait_until(lambda: is_restarted(first, watched), 30)
        wait_until(lambda: is_completed_without(flag, job), 30)
        workers.kill()
    job.refresh_from_db()
    assert job.errors is None
    assert not Client.objects.filter(pk=first.pk).exists()
