"""How soon does a running job of another process know that it is cancelled?"""

from __future__ import annotations

import json
import random
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import database, jobs, processes
from benchmarks.figures import latencies
from benchmarks.plan import Contestant, Demand, Figures, Options, Plan, Scenario
from benchmarks.scenarios.latency import read_marks
from benchmarks.waiting import wait_until
from django_river import enqueue_many, operations
from django_river.jobs.definition import Definition
from django_river.models import Job

#: So many run at a time, each in a slot. Threads look whether they are cancelled, which costs something.
ASYNC, THREADS = 100, 10
#: The longest pause between two cancels, in seconds.
PAUSE = 0.04


def plan(options: Options) -> Plan:
    """Told by notification, coroutines and threads; and where no notification comes."""
    count = options.share(1 / 500, least=5)
    return Plan(
        [
            Contestant("notified, async", partial(_cancelled, jobs.wait_async, count, ASYNC)),
            Contestant("notified, in a thread", partial(_cancelled, jobs.wait, count, THREADS)),
            Contestant("polled", partial(_cancelled, jobs.wait_async, count, ASYNC, NOTIFY=False)),
        ],
        [
            Demand(text="p95 ms, notified, async", of="notified, async", figure="p95 ms", at_most=100),
            Demand(
                text="p95 ms, notified, in a thread", of="notified, in a thread", figure="p95 ms", at_most=100
            ),
            Demand(text="p99 ms, polled", of="polled", figure="p99 ms", at_most=2000),
        ],
    )


def _cancelled(job: Definition[[int], None], count: int, at_a_time: int, **river: object) -> Figures:
    took: list[float] = []
    while len(took) < count:
        took += _round(job, min(at_a_time, count - len(took)), json.dumps(river))
    return latencies(took)


def _round(job: Definition[[int], None], count: int, river: str) -> list[float]:
    """Seconds from the return of each cancel, its commit done, to the moment its job knew."""
    database.empty()
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        with processes.running(processes.RUNWORKERS, processes.environ_with(marks=marks, river=river)):
            ids = [inserted.id for inserted in enqueue_many(job.build(number) for number in range(count))]
            wait_until(lambda: Job.objects.filter(state="running").count() == count)
            # So that none is so young that it is not asked for.
            time.sleep(1)
            asked = {}
            for number in random.sample(range(count), count):
                time.sleep(random.uniform(0, PAUSE))
                operations.cancel(ids[number])
                asked[number] = time.monotonic()
            knew = read_marks(marks, count)
    return [knew[number][0] - moment for number, moment in asked.items()]


SCENARIOS = (
    Scenario(
        name="cancelling",
        question="How soon does a running job know that it is cancelled?",
        plan=plan,
        most_rounds=3,
    ),
)
