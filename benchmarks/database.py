"""The databases that are measured: emptied, filled, looked at."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import environ
import psycopg
from django.core.management import call_command
from django.db import connection, connections
from psycopg.sql import SQL, Identifier, Literal

from benchmarks import jobs
from django_river import enqueue_many
from django_river.insert import BuiltJob
from django_river.models import Job

#: Jobs that are built and stored at a time: memory is not what is measured.
CHUNK = 100_000
#: Makes the job with a number.
Build = Callable[[int], BuiltJob]

#: Said of a database that has been ours before: it may be emptied again.
MARK = "emptied by python -m benchmarks"

WORKED = """
    SELECT count(*), extract(epoch FROM max(finalized_at) - min(attempted_at))
    FROM river_job WHERE id > %s AND state = 'completed'
"""


def url(using: str = "default") -> str:
    """Of the database that the environment names, or of the one beside it."""
    return str(environ.Env().str("DATABASE_URL")) if using == "default" else url_beside(using)


def url_beside(name: str) -> str:
    """Of another database on the same server."""
    parts = urlsplit(url())
    return urlunsplit(parts._replace(path=f"{parts.path}_{name}"))


def take(*, may_empty: bool) -> None:
    """Make the database ours: migrated, and marked, so that no other one is ever emptied by mistake."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), shobj_description(oid, 'pg_database') FROM pg_database "
                       "WHERE datname = current_database()")  # fmt: skip
        name, comment = cursor.fetchone()
        if comment != MARK and connection.introspection.table_names() and not may_empty:
            sys.exit(f"Database {name!r} has tables. If all that is in it may be deleted, say --empty.")
        cursor.execute(f"COMMENT ON DATABASE {connection.ops.quote_name(name)} IS '{MARK}'")
    call_command("migrate", run_syncdb=True, verbosity=0)


def create(name: str) -> str:
    """An empty database beside ours, and its URL; one of that name that has been ours before goes."""
    target = url_beside(name)
    database = urlsplit(target).path[1:]
    with closing(psycopg.connect(url(), autocommit=True)) as server:
        query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        found = server.execute(query, [database]).fetchone()
        if found is not None and found[0] != MARK:
            raise RuntimeError(f"there is a database {database!r} that is not ours")
        server.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(database)))
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(database)))
        server.execute(SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(database), Literal(MARK)))
    return target


def noop(number: int) -> BuiltJob:
    """A job that does nothing, in the only queue."""
    return jobs.noop.build(number)


def noop_in(queues: int) -> Build:
    """Jobs that do nothing, spread over so many queues."""
    requests = [jobs.noop.using(queue=f"queue-{number}") for number in range(queues)]
    return lambda number: requests[number % queues].build(number)


def empty() -> None:
    """No jobs at all."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE river_job")


def fill(count: int, build: Build = noop, *, using: str = "default") -> int:
    """Store so many jobs; the largest id before them."""
    before = last_id(using)
    checkpoint()
    for start in range(0, count, CHUNK):
        enqueue_many(build(number) for number in range(start, min(start + CHUNK, count)))
    settle(using)
    return before


def checkpoint() -> None:
    """None falls into the run that follows.

    It comes before the jobs are stored, as for jobs that are worked soon after: what is stored after a checkpoint is
    not written to the log a second time, as whole pages, when it is first changed.
    """
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")


def settle(using: str = "default") -> None:
    """Nothing that filling has left to be done is done while we measure."""
    with connections[using].cursor() as cursor:
        cursor.execute("VACUUM ANALYZE river_job")
    # Its statistics are published when it goes.
    connections.close_all()


def has_jobs(condition: str) -> bool:
    """Whether there is such a job."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM river_job WHERE {condition})")
        ((found,),) = cursor.fetchall()
    return bool(found)


def last_id(using: str = "default") -> int:
    """The largest id."""
    return Job.objects.using(using).order_by("-pk").values_list("pk", flat=True).first() or 0


def available(queue: str) -> int:
    """Jobs that wait in a queue."""
    return Job.objects.filter(queue=queue, state="available").count()


def worked_per_second(count: int, *, after: int = 0, using: str = "default") -> float:
    """From the rows themselves: first claim to last result, by the database's clock."""
    with connections[using].cursor() as cursor:
        cursor.execute(WORKED, [after])
        completed, seconds = cursor.fetchone()
    if completed != count:
        raise RuntimeError(f"{completed} of {count} jobs were completed")
    return count / float(seconds)
