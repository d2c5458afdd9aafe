"""On SQLite: how fast is one process, and how long does a web process wait that enqueues meanwhile?"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import processes
from benchmarks.figures import latencies
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario

PAUSE = 0.01


def plan(options: Options) -> Plan:
    """A file of its own for each run; nothing of it is on the Postgres."""
    alone, beside = "ours", "ours, while others enqueue"
    return Plan(
        [
            Contestant(alone, partial(_alone, options.share(0.1))),
            Contestant(beside, partial(_beside, options.share(0.1))),
        ],
        [
            Demand(text="no-op jobs/s", of=alone, figure="jobs/s", at_least=3000),
            Demand(text="p99 ms that enqueuing takes", of=beside, figure="p99 ms", at_most=100),
        ],
    )


def _alone(count: int) -> dict[str, float]:
    with _filled(count) as environ:
        processes.run([*processes.RUNWORKERS, "--burst"], environ)
        return {"jobs/s": _rate(count, environ)}


def _beside(count: int) -> dict[str, float]:
    """For as long as the worker has something to do, and no longer: an idle one makes nobody wait."""
    with _filled(count) as environ, processes.running(processes.RUNWORKERS, environ):
        # About as long as it takes at 3,000 a second.
        probe = processes.program("probe", count=max(20, int(count / 3000 / PAUSE)), pause=PAUSE)
        moments = processes.answer(processes.run(probe, environ))
        processes.run([*processes.RUNWORKERS, "--burst", "--no-lead"], environ)
        figures = latencies([returned - began for began, returned in moments])
        return {**figures, "jobs/s": _rate(count, environ)}


@contextmanager
def _filled(count: int) -> Iterator[Mapping[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        environ = processes.environ_with() | {"DATABASE_URL": f"sqlite:///{Path(folder) / 'jobs.sqlite3'}"}
        migrate = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity=0"]
        processes.run(migrate, environ)
        processes.run(processes.program("fill", count=count), environ)
        yield environ


def _rate(count: int, environ: Mapping[str, str]) -> float:
    return float(processes.answer(processes.run(processes.program("rate", count=count), environ)))


SCENARIOS = (
    Scenario(name="sqlite", question="How fast is SQLite, and how long does it make others wait?", plan=plan),
)
