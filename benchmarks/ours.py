"""What we do in several scenarios: jobs stored, and worked by real ``runworkers`` processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from django.db import connection

from benchmarks import database, processes
from benchmarks.accounting import Cost, Watch
from benchmarks.waiting import wait_until
from django_river.models import Leader

#: How our own connections say who they are; those of jobs are Django's.
APPLICATION = "django_river"


def burn_down(
    count: int, build: database.Build = database.noop, *, workers: int = 1, **environ: object
) -> dict[str, float]:
    """Jobs per second from first claim to last result, and what they cost."""
    database.empty()
    before = database.fill(count, build)
    return work(count, after=before, workers=workers, **environ)


def work(
    count: int,
    *,
    after: int = 0,
    workers: int = 1,
    using: str = "default",
    **environ: object,
) -> dict[str, float]:
    """Work what is stored; ``environ`` is told to the workers, see ``benchmarks.settings``."""
    command = [*processes.RUNWORKERS, "--burst", f"--processes={workers}", f"--database={using}"]
    started = cpu_of_start(workers)
    spent = processes.children_cpu()
    with Cost(database.url(using)) as cost:
        process = subprocess.Popen(
            command,
            cwd=processes.ROOT,
            env=processes.environ_with(**environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with Watch(process.pid, database.url(using), application=APPLICATION) as watch:
            _, complained = process.communicate(timeout=processes.TIMEOUT)
    if process.returncode:
        raise RuntimeError(f"runworkers ended with {process.returncode}: {complained.strip()[-300:]}")
    spent = processes.children_cpu() - spent - started
    rate = database.worked_per_second(count, after=after, using=using)
    return {
        "jobs/s": rate,
        **cost.figures(count),
        "client µs/job": 1e6 * spent / count,
        "client cores": rate * spent / count,
        "connections": watch.connections,
        "RSS MB": watch.rss_mb,
    }


@contextmanager
def leading(*, is_emptied: bool = True) -> Iterator[None]:
    """A ``runworkers`` process, until the block ends; with its lease begun, and without older jobs."""
    if is_emptied:
        database.empty()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM river_leader")
    with processes.running(processes.RUNWORKERS, processes.environ_with()):
        wait_until(Leader.objects.exists)
        yield


@cache
def cpu_of_start(workers: int) -> float:
    """Seconds that processes spend to start and to stop, with nothing to do between."""
    spent = processes.children_cpu()
    processes.burst(f"--processes={workers}", "--queues=empty")
    return processes.children_cpu() - spent
