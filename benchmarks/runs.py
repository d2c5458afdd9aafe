"""What is measured: each function prepares, runs, and answers with operations per second."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import psycopg
from django.db import connection

from benchmarks import jobs
from django_river import enqueue_many
from django_river.models import Job
from django_river.storage.postgres.driver import SQL
from django_river.storage.postgres.session import connect

BATCH = 500
RAW_CLIENT = "raw"


def burn_down(size: int, *, is_async: bool = False) -> float:
    """Jobs worked per second by one ``runworkers`` process, from first claim to last result."""
    prepare(size, is_async=is_async)
    subprocess.run([sys.executable, "-m", "django", "runworkers", "--burst", "--verbosity=0"], check=True)
    return worked_per_second(size)


def raw_burn_down(size: int) -> float:
    """The same claims and completions in a bare loop on one connection."""
    prepare(size)
    with connect("default", name="benchmark") as bare:
        while ids := raw_claim(bare):
            bare.execute(SQL["job_complete"], {"ids": sorted(ids), "attempt": 1, "client_id": RAW_CLIENT})
    return worked_per_second(size)


def bulk_enqueue(size: int) -> float:
    """Jobs stored per second by one ``enqueue_many``."""
    empty()
    began = time.perf_counter()
    enqueue_many(jobs.noop.build(number) for number in range(size))
    return size / (time.perf_counter() - began)


def raw_copy(size: int) -> float:
    """Rows stored per second by a bare COPY of the same columns."""
    empty()
    columns = "kind, args, queue, priority, max_attempts"
    began = time.perf_counter()
    with (
        connect("default", name="benchmark") as bare,
        bare.cursor().copy(f"COPY river_job ({columns}) FROM STDIN") as copy,
    ):
        for number in range(size):
            copy.write_row(("benchmarks.noop", f'{{"number": {number}}}', "default", 1, 25))
    return size / (time.perf_counter() - began)


def single_enqueue(size: int) -> float:
    """Jobs stored per second by ``enqueue`` in autocommit."""
    empty()
    return _per_second(size, lambda: jobs.noop.enqueue(1))


def raw_insert(size: int) -> float:
    """Rows stored per second by the same INSERT on a bare connection."""
    empty()
    values = {
        "kind": "benchmarks.noop", "args": '{"number": 1}', "queue": "default", "priority": 1, "max_attempts": 25,
        "metadata": "{}", "tags": [], "scheduled_at": None, "delay": None, "pending": False,
    }  # fmt: skip
    with connect("default", name="benchmark") as bare:
        return _per_second(size, lambda: bare.execute(SQL["job_insert"], values))


def prepare(size: int, *, is_async: bool = False) -> None:
    """An empty table with so many jobs."""
    empty()
    function = jobs.noop_async if is_async else jobs.noop
    enqueue_many(function.build(number) for number in range(size))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE river_job")
        cursor.execute("CHECKPOINT")


def empty() -> None:
    """No jobs at all."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE river_job")


def raw_claim(bare: psycopg.Connection) -> list[int]:
    """Ids of a batch, claimed by our own statement."""
    rows = bare.execute(
        SQL["job_fetch"],
        {
            "client_id": RAW_CLIENT, "queues": ["default"], "limits": [BATCH], "limit": BATCH,
            "attempted_by_limit": 100,
        },
    ).fetchall()  # fmt: skip
    return [row[0] for row in rows]


def worked_per_second(size: int) -> float:
    """From the rows themselves: first claim to last result, by the database's clock."""
    done = Job.objects.filter(state="completed")
    assert done.count() == size, "not all jobs were completed"
    first = done.order_by("attempted_at").values_list("attempted_at", flat=True)[0]
    last = done.order_by("-finalized_at").values_list("finalized_at", flat=True)[0]
    return size / (last - first).total_seconds()


def _per_second(size: int, call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(size):
        call()
    return size / (time.perf_counter() - began)
