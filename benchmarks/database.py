"""The databases that are measured: emptied, filled, looked at."""

from __future__ import annotations

import sys
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import environ
import psycopg
from django.core.management import call_command
from django.db import connection
from psycopg.sql import SQL, Identifier, Literal

from benchmarks import jobs
from django_river import enqueue_many
from django_river.models import Job

#: Said of a database that has been ours before: it may be emptied again.
MARK = "emptied by python -m benchmarks"

WORKED = """
    SELECT count(*), extract(epoch FROM max(finalized_at) - min(attempted_at))
    FROM river_job WHERE id > %s AND state = 'completed'
"""


def url() -> str:
    """Of the database that the environment names."""
    return str(environ.Env().str("DATABASE_URL"))


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


def empty() -> None:
    """No jobs at all."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE river_job")


def fill(count: int, *, function: jobs.JobFunction = jobs.noop, queues: int = 1) -> int:  # type: ignore[type-arg]
    """Store so many jobs, spread over the queues; the largest id before them."""
    before = last_id()
    checkpoint()
    if queues == 1:
        enqueue_many(function.build(number) for number in range(count))
    else:
        chosen = [function.using(queue=f"queue-{number}") for number in range(queues)]
        enqueue_many(chosen[number % queues].build(number) for number in range(count))
    settle()
    return before


def checkpoint() -> None:
    """None falls into the run that follows.

    It comes before the jobs are stored, as for jobs that are worked soon after: what is stored after a checkpoint is
    not written to the log a second time, as whole pages, when it is first changed.
    """
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")


def settle() -> None:
    """Nothing that filling has left to be done is done while we measure."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE river_job")
    # Its statistics are published when it goes.
    connection.close()


def last_id() -> int:
    """The largest id."""
    return Job.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def worked_per_second(count: int, *, after: int = 0) -> float:
    """From the rows themselves: first claim to last result, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(WORKED, [after])
        completed, seconds = cursor.fetchone()
    if completed != count:
        raise RuntimeError(f"{completed} of {count} jobs were completed")
    return count / float(seconds)
