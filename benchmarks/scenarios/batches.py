"""What do batches save, how full are they, and how long do jobs wait to be gathered?"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import database, ours, processes
from benchmarks.figures import latencies
from benchmarks.models import Account
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario

SIZE, WAIT = 100, 0.2
TENANTS = 10
#: A trickle: so many jobs, so many seconds apart, each of some tenant.
TRICKLE, PAUSE = 2, 0.02


def orm(options: Options) -> Plan:
    """One query for each row, and one for a hundred."""
    count = options.share(1 / 10, least=SIZE)
    return Plan(
        [
            Contestant("single", partial(_deposits, count, "deposit")),
            Contestant("batches", partial(_deposits, count, "deposit_many")),
        ],
        [
            Demand(text="times single jobs", of="batches", figure="jobs/s", over="single", at_least=5),
            Demand(
                text="statements of single jobs",
                of="batches",
                figure="statements",
                over="single",
                at_most=0.05,
            ),
        ],
    )


def crud(options: Options) -> Plan:
    """Each item loaded, changed and saved by itself: what batches are not for."""
    count = options.share(1 / 20, least=SIZE)
    return Plan(
        [
            Contestant("single", partial(_deposits, count, "edit")),
            Contestant("batches", partial(_deposits, count, "edit_many")),
        ],
        [Demand(text="times single jobs", of="batches", figure="jobs/s", over="single")],
    )


def fill(options: Options) -> Plan:
    """A backlog of ten tenants' jobs in one line, worked by one client and by four."""
    count = options.share(1 / 5, least=TENANTS * SIZE)
    return Plan(
        [
            Contestant("by name", partial(_backlog, count, "note_by_name", 1)),
            Contestant("by function", partial(_backlog, count, "note_by_function", 1)),
            Contestant("by name, four clients", partial(_backlog, count, "note_by_name", 4)),
        ],
        [
            Demand(text="fill", of=name, figure="fill", at_least=0.95)
            for name in ("by name", "by function", "by name, four clients")
        ],
    )


def trickle(options: Options) -> Plan:
    """A job now and then, of ten tenants, with single jobs between them."""
    seconds = options.seconds(15.0)
    return Plan(
        [
            Contestant("one client", partial(_trickle, seconds, 1)),
            Contestant("four clients", partial(_trickle, seconds, 4)),
        ],
        [
            *(
                Demand(text="p95 beyond the wait, ms", of=name, figure="p95 ms", at_most=20)
                for name in ("one client", "four clients")
            ),
            Demand(text="fill, of the ideal", of="four clients", figure="of ideal", at_least=0.9),
        ],
    )


def _deposits(count: int, kind: str) -> dict[str, float]:
    from benchmarks import batch_jobs

    database.empty()
    Account.objects.all().delete()
    Account.objects.bulk_create(Account() for _ in range(count))
    first = Account.objects.earliest("pk").pk
    build = getattr(batch_jobs, kind).build
    figures = ours.burn_down(count, lambda number: build(first + number), slots=10, batches=1)
    database.empty()
    database.fill(count, lambda number: build(first + number))
    printed = processes.run(
        processes.program("statements", count=count), processes.environ_with(slots=10, batches=1)
    )
    return {**figures, "statements": float(processes.answer(printed))}


def _backlog(count: int, kind: str, workers: int) -> dict[str, float]:
    from benchmarks import batch_jobs

    build = getattr(batch_jobs, kind).build
    with tempfile.NamedTemporaryFile() as marks:
        figures = ours.burn_down(
            count,
            lambda number: build(number % TENANTS, 0.0),
            workers=workers,
            slots=10,
            batches=1,
            marks=marks.name,
        )
        calls = _calls(Path(marks.name))
    assert sum(len(call["at"]) for call in calls) == count
    return {"jobs/s": figures["jobs/s"], "fill": count / SIZE / len(calls), "calls": float(len(calls))}


def _trickle(seconds: float, workers: int) -> dict[str, float]:
    database.empty()
    with tempfile.NamedTemporaryFile() as marks:
        environ = processes.environ_with(slots=10, batches=1, marks=marks.name)
        command = [*processes.RUNWORKERS, f"--processes={workers}"]
        with processes.running(command, environ):
            # Until all clients know one another.
            time.sleep(8)
            load = processes.program("notes", count=TRICKLE, pause=PAUSE)
            with processes.running(load, environ) as process:
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    process.communicate("", timeout=30)
            time.sleep(3 * WAIT)
        calls = _calls(Path(marks.name))
    jobs = sum(len(call["at"]) for call in calls)
    return {
        # Of the job that has waited longest in each call.
        **latencies([call["began"] - min(call["at"]) - WAIT for call in calls]),
        "of ideal": _ideal(calls) / len(calls),
        "jobs a call": jobs / len(calls),
        "jobs/s": jobs / seconds,
    }


def _calls(marks: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in marks.read_text().splitlines()]


def _ideal(calls: list[dict[str, Any]]) -> int:
    """How many calls it takes if each begins with a job that waits in full, and takes all that come meanwhile."""
    by_tenant: dict[int, list[float]] = defaultdict(list)
    for call in calls:
        by_tenant[call["tenant"]] += call["at"]
    ideal = 0
    for moments in by_tenant.values():
        until, size = 0.0, SIZE
        for at in sorted(moments):
            if at > until or size == SIZE:
                ideal, until, size = ideal + 1, at + WAIT, 0
            size += 1
    return ideal


SCENARIOS = (
    Scenario(name="batches", question="What do batches save where one query does for many jobs?", plan=orm),
    Scenario(name="batches-crud", question="And where each item needs queries of its own?", plan=crud),
    Scenario(name="batches-fill", question="How full are the batches of a backlog?", plan=fill),
    Scenario(
        name="batches-trickle", question="How long does a trickle wait, and in how many calls?", plan=trickle
    ),
)
