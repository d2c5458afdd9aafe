"""How old is the Gazette's live digest, as its readers see it, while its leader is killed?

The test project's digest is made by the leader alone, four times a second, out of a cache that takes three seconds to
build. Two ``runworkers`` processes; the one that leads is killed in the middle.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import database, processes
from benchmarks.figures import percentile
from benchmarks.plan import Contestant, Demand, Figures, Options, Plan, Scenario
from benchmarks.waiting import wait_until

MANAGE = [sys.executable, str(processes.ROOT / "testproject" / "manage.py")]
BUILD_SECONDS = 3.0
#: Between two looks of a reader.
LOOK_SECONDS = 0.02
PATIENCE = 60.0

AGE = """
    SELECT extract(epoch FROM clock_timestamp() - max(made_at))::float8, (array_agg(made_by ORDER BY id DESC))[1]
    FROM digests_livedigest
"""
LEADER = "SELECT pid FROM river_leader JOIN django_river_client ON id = leader_id"
PRESENT = "SELECT count(session) FROM django_river_client"
MADE = """
    SELECT count(*), count(*) FILTER (WHERE began_at < previous), count(DISTINCT (made_by, cache_built_at)),
        count(DISTINCT made_by)
    FROM (SELECT *, lag(made_at) OVER (ORDER BY id) AS previous FROM digests_livedigest) AS digest
"""


@dataclass
class Seen:
    """The ages that a reader saw."""

    usual: list[float] = field(default_factory=list)
    #: From the death of the one who made them until somebody else's are there.
    taking_over: list[float] = field(default_factory=list)


def plan(options: Options) -> Plan:
    """The one digest, and what was promised of it."""
    who = "live digest"
    asked = {
        "oldest seen s": 1.0,
        "oldest at the take-over s": 2.0 + BUILD_SECONDS,
        "overlapping": 0,
        "caches per leader": 1,
    }
    return Plan(
        [Contestant(who, lambda: _watch(options.seconds(60.0)))],
        [Demand(text=figure, of=who, figure=figure, at_most=most) for figure, most in asked.items()],
    )


def _watch(seconds: float) -> Figures:
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        environ = _gazette(Path(home))
        rows = stack.enter_context(closing(psycopg.connect(environ["DATABASE_URL"], autocommit=True)))
        command = [*MANAGE, "runworkers", "--verbosity=0"]
        workers = [stack.enter_context(processes.running(command, environ)) for _ in range(2)]
        wait_until(lambda: _one(rows, PRESENT)[0] == len(workers), longest=PATIENCE)
        wait_until(lambda: _one(rows, AGE)[1], longest=PATIENCE)
        seen = _look(rows, workers, seconds)
        made, overlapping, caches, leaders = _one(rows, MADE)
    return {
        "oldest seen s": max(seen.usual),
        "p95 seen s": percentile(seen.usual, 0.95),
        "oldest at the take-over s": max(seen.taking_over),
        "overlapping": overlapping,
        "caches per leader": caches / leaders,
        "digests/s": made / seconds,
    }


def _gazette(home: Path) -> dict[str, str]:
    """The environment of a test project in a database of its own."""
    environ = processes.environ_with() | {
        "DATABASE_URL": database.create("gazette"),
        "DJANGO_SETTINGS_MODULE": "gazette.settings",
        "GAZETTE_HOME": str(home),
        "LIVE_DIGEST_BUILD_SECONDS": str(BUILD_SECONDS),
        "PYTHONPATH": str(processes.ROOT),
    }
    processes.run([*MANAGE, "migrate", "--verbosity=0"], environ)
    return environ


def _look(rows: psycopg.Connection, workers: list[subprocess.Popen[str]], seconds: float) -> Seen:
    """As a reader does, again and again; the one who leads is killed half-way."""
    seen = Seen()
    end = time.monotonic() + seconds
    victim: str | None = None
    while time.monotonic() < end:
        age, made_by = _one(rows, AGE)
        if victim is None and time.monotonic() > end - seconds / 2:
            (pid,) = _one(rows, LEADER)
            next(worker for worker in workers if worker.pid == pid).kill()
            victim = made_by
        (seen.taking_over if made_by == victim else seen.usual).append(age)
        time.sleep(LOOK_SECONDS)
    return seen


def _one(rows: psycopg.Connection, query: str) -> Any:
    return rows.execute(query.encode()).fetchone()


SCENARIOS = (
    Scenario(
        name="live-digest",
        question="How old is a digest that the leader makes, when it is killed?",
        plan=plan,
        most_rounds=1,
    ),
)
