"""Queues while they run: a flood beside a queue with a reserve, weights, 1,800 queues added, changed and moved."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from django.db import connection, transaction

from benchmarks import database, jobs, processes
from benchmarks.figures import latencies
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.scenarios.latency import WARM_UP, read_marks
from django_river import JobFunction, queues
from django_river.models import Client, QueueRow

QUEUES = 1800
FLOOD = {"flood": {"MAX_WORKERS": 100}, "one": {"MAX_WORKERS": 10, "MIN_WORKERS": 2}}
WEIGHTS = {"heavy": {"MAX_WORKERS": 100, "WEIGHT": 3}, "light": {"MAX_WORKERS": 100}}

#: How many of each queue had ended when the first of the two was done.
SHARES = """
    SELECT queue, count(*) FROM river_job
    WHERE finalized_at <= (SELECT min(last) FROM (SELECT max(finalized_at) AS last FROM river_job GROUP BY queue) AS ends)
    GROUP BY queue
"""


def flood(options: Options) -> Plan:
    """Single jobs of a queue with reserved slots, while another queue has a million."""
    return Plan(
        [Contestant("ours", partial(_flood, options.share(10), options.share(1 / 500)))],
        [Demand(text="p95 ms in a flood", of="ours", figure="p95 ms", at_most=50)],
    )


def weights(options: Options) -> Plan:
    """Two queues full of jobs, one with three times the weight."""
    return Plan(
        [
            Contestant("no-op jobs", partial(_weights, options.jobs, jobs.noop, ())),
            Contestant(
                "jobs of 5 ms",
                partial(
                    _weights,
                    options.share(1 / 5, least=20_000 if options.jobs >= 10_000 else 200),
                    jobs.sleep,
                    (0.005,),
                ),
            ),
        ],
        [
            Demand(text=f"{of}: share to weight", of=of, figure="share to weight", at_least=0.9, at_most=1.1)
            for of in ("no-op jobs", "jobs of 5 ms")
        ],
    )


def adding(options: Options) -> Plan:
    """Until a running worker has applied all of 1,800 queues, from the first call."""
    return Plan(
        [Contestant("ours", _adding)],
        [Demand(text="s until 1,800 queues are worked", of="ours", figure="seconds", at_most=2)],
    )


def changing(options: Options) -> Plan:
    """A burn-down over 1,800 queues with changes all the time, and one without."""
    changed, quiet = "with changes", "without"
    count = options.share(10)
    return Plan(
        [
            Contestant(changed, partial(_changing, count, is_quiet=False)),
            Contestant(quiet, partial(_changing, count, is_quiet=True)),
        ],
        [Demand(text="rate to that without", of=changed, figure="jobs/s", over=quiet, at_least=0.7)],
    )


def _environ(queues: object, *, slots: int, **more: object) -> dict[str, str]:
    return processes.environ_with(river=json.dumps({"QUEUES": queues, "CONCURRENCY": slots}), **more)


def _flood(count: int, probes: int) -> dict[str, float]:
    database.empty()
    request = jobs.noop.using(queue="flood")
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        environ = _environ(FLOOD, slots=100, marks=marks)
        with processes.running(processes.RUNWORKERS, environ):
            warm = processes.program("probe", count=WARM_UP, pause=0.02, queue="one")
            processes.run(warm, environ)
            read_marks(marks, WARM_UP)
            marks.write_text("")
            database.fill(count, request.build)
            found = processes.run(processes.program("probe", count=probes, pause=0.02, queue="one"), environ)
            began = read_marks(marks, probes)
            left = database.available("flood")
    moments = [returned for _, returned in processes.answer(found)]
    figures = latencies([began[number][0] - at for number, at in enumerate(moments)])
    return {**figures, "of the flood left": left / count}


def _weights(count: int, job: JobFunction[..., None], arguments: tuple[object, ...]) -> dict[str, float]:
    database.empty()
    # As many of both, so that the heavy one is done first.
    for name in WEIGHTS:
        request = job.using(queue=name)
        database.fill(count // 2, lambda number, request=request: request.build(*(arguments or (number,))))
    processes.run([*processes.RUNWORKERS, "--burst"], _environ(WEIGHTS, slots=40))
    with connection.cursor() as cursor:
        cursor.execute(SHARES)
        shares = dict(cursor.fetchall())
    return {"share to weight": shares["heavy"] / shares["light"] / 3}


def _adding() -> dict[str, float]:
    database.empty()
    QueueRow.objects.all().delete()
    environ = processes.environ_with()
    with processes.running(processes.RUNWORKERS, environ):
        _wait(lambda: Client.objects.exclude(applied={}).exists())
        began = time.monotonic()
        # One commit; each by itself would wait for the disk.
        with transaction.atomic():
            for number in range(QUEUES):
                queues.add(f"added-{number}", max_workers=2)
        called = time.monotonic() - began
        _wait(lambda: all(len(applied) > QUEUES for applied in _applied()))
        seconds = time.monotonic() - began
    QueueRow.objects.all().delete()
    return {"seconds": seconds, "of these in calls": called}


def _changing(count: int, *, is_quiet: bool) -> dict[str, float]:
    QueueRow.objects.all().delete()
    database.empty()
    before = database.fill(count, database.noop_in(QUEUES))
    command = processes.program("change", count=QUEUES, pause=0.02)
    try:
        if is_quiet:
            processes.burst(queues=QUEUES)
            return {"jobs/s": database.worked_per_second(count, after=before)}
        with processes.running(command, processes.environ_with(queues=QUEUES)) as changes:
            processes.burst(queues=QUEUES)
            made = processes.answer(changes.communicate("")[0])
        return {"jobs/s": database.worked_per_second(count, after=before), "changes": made}
    finally:
        QueueRow.objects.all().delete()


def _applied() -> list[dict[str, object]]:
    return list(Client.objects.values_list("applied", flat=True)) or [{}]


def _wait(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("it has not come to that within a minute")
        time.sleep(0.01)


SCENARIOS = (
    Scenario(name="flood", question="Does a flood in one queue delay another's single job?", plan=flood),
    Scenario(name="weights", question="Are weights honoured?", plan=weights),
    Scenario(name="adding-queues", question="How fast are 1,800 queues added to a running worker?", plan=adding),
    Scenario(
        name="changing-queues", question="What do changes cost while 1,800 queues burn down?", plan=changing,
        most_rounds=2,
    ),
)  # fmt: skip
