"""The raw limit: what Postgres does when a bare loop issues our own statements, with no job code around them."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import psycopg
from django.db import connections

from benchmarks import database
from benchmarks.accounting import Cost
from django_river.storage.base import ClaimedJob
from django_river.storage.postgres.driver import SQL
from django_river.storage.postgres.session import connect

#: Beyond this, larger batches bring nothing (a tenth from 500 to 5,000).
BATCH = 500
CLIENT = "raw"
#: What somebody would write who had the table and no package.
INSERT = """INSERT INTO river_job (kind, args, queue, priority, max_attempts) VALUES (%s, %s, %s, %s, %s) RETURNING id"""
ROW = ("benchmarks.noop", '{"number": 1}', "default", 1, 25)
#: Where the arguments stand in a claimed row.
ARGS = ClaimedJob._fields.index("args")
COLUMNS = "kind, args, queue, priority, max_attempts"


def burn_down(jobs: int) -> dict[str, float]:
    """Claim and complete in turn on one connection, until nothing is left."""
    database.empty()
    database.fill(jobs)
    with Cost() as cost, closing(connect("default", name="raw")) as server:
        while rows := claim(server, BATCH):
            complete(server, [row[0] for row in rows])
    return {"jobs/s": database.worked_per_second(jobs)} | cost.figures(jobs)


def claim(server: psycopg.Connection[Any], limit: int) -> list[tuple[Any, ...]]:
    """Rows of so many jobs, the id first."""
    demand = {"client_id": CLIENT, "queue": "default", "limit": limit, "attempted_by_limit": 100}
    return server.execute(SQL["job_fetch_of_queue"], demand).fetchall()


def complete(server: psycopg.Connection[Any], ids: list[int]) -> None:
    """Say that these are done."""
    server.execute(SQL["job_complete"], {"ids": sorted(ids), "attempt": 1, "client_id": CLIENT})


def copy(jobs: int) -> dict[str, float]:
    """COPY of the same values; the server gives what it has defaults for."""
    database.empty()
    with closing(connect("default", name="benchmark")) as server:
        began = time.perf_counter()
        with server.cursor().copy(f"COPY river_job ({COLUMNS}) FROM STDIN") as rows:
            for number in range(jobs):
                rows.write_row(("benchmarks.noop", f'{{"number": {number}}}', "default", 1, 25))
        return {"jobs/s": jobs / (time.perf_counter() - began)}


def copy_of_text(jobs: int) -> dict[str, float]:
    """COPY of lines that were made before: what the server alone can take."""
    database.empty()
    lines = [f'benchmarks.noop\t{{"number": {number}}}\tdefault\t1\t25\n' for number in range(jobs)]
    blocks = ["".join(lines[start : start + 1000]) for start in range(0, jobs, 1000)]
    with closing(connect("default", name="benchmark")) as server:
        began = time.perf_counter()
        with server.cursor().copy(f"COPY river_job ({COLUMNS}) FROM STDIN") as rows:
            for block in blocks:
                rows.write(block)
        return {"jobs/s": jobs / (time.perf_counter() - began)}


def connection_like_djangos() -> psycopg.Connection[Any]:
    """A bare connection with all that Django's has: client-side binding, nothing prepared."""
    parameters = connections["default"].get_connection_params()
    del parameters["context"]
    return psycopg.connect(**parameters, autocommit=True, application_name="benchmark")
