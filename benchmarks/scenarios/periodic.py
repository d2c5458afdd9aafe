"""Do periodic jobs come on time, each once, and do a thousand of one moment come at once?"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from django.db import connection

from benchmarks import database, jobs, processes
from benchmarks.figures import latencies
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.waiting import wait_until
from django_river import storage
from django_river.jobs.periodic import Declaration
from django_river.jobs.periodic_registry import PeriodicRegistry
from django_river.maintenance.periodic_job_enqueuer import PeriodicJobEnqueuer
from django_river.models import Job, PeriodicJob
from django_river.registration import Registration

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRIES = 1000
INTERVALS = {"every-100-ms": 0.1, "every-250-ms": 0.25}
#: Ten minutes show what drifts; the first runs find caches cold.
SECONDS = 600.0
WARM_UP = timedelta(seconds=2)


def at_once(options: Options) -> Plan:
    """From the look at the rows to the commit."""
    return Plan(
        [Contestant("ours", _due_at_once)],
        [Demand(text=f"ms for {ENTRIES:,} entries", of="ours", figure="ms", at_most=200)],
    )


def on_time(options: Options) -> Plan:
    """A worker that has nothing else to do, for ten minutes."""
    return Plan(
        [Contestant("ours", partial(_on_time, options.seconds(SECONDS)))],
        [
            demand
            for name in INTERVALS
            for demand in (
                Demand(
                    text=f"runs too many or too few, {name}", of="ours", figure=f"{name}: amiss", at_most=1
                ),
                Demand(
                    text=f"enqueued late, p95 ms, {name}", of="ours", figure=f"{name}: p95 ms", at_most=10
                ),
            )
        ],
    )


def _due_at_once() -> dict[str, float]:
    _empty()
    with _enqueuer([(f"entry-{number}", 3600.0) for number in range(ENTRIES)]) as enqueuer:
        PeriodicJob.objects.update(next_run_at=datetime.now(UTC) - timedelta(seconds=1))
        # Connected before the clock starts.
        enqueuer.periodic.now()
        began = time.perf_counter()
        enqueuer.run_once()
        taken = time.perf_counter() - began
    if Job.objects.count() != ENTRIES:
        raise RuntimeError(f"{Job.objects.count()} jobs were enqueued")
    return {"ms": 1000 * taken}


def _on_time(seconds: float) -> dict[str, float]:
    _empty()
    items = [
        {"name": name, "job": "benchmarks.jobs.noop", "every": every, "args": {"number": 1}}
        for name, every in INTERVALS.items()
    ]
    with processes.running(processes.RUNWORKERS, processes.environ_with(periodic=json.dumps(items))):
        wait_until(Job.objects.exists, longest=30)
        time.sleep(WARM_UP.total_seconds() + seconds)
    figures: dict[str, float] = {}
    for name, every in INTERVALS.items():
        figures |= {
            f"{name}: {figure}": value for figure, value in _punctuality(name, every, seconds).items()
        }
    return figures


def _punctuality(name: str, every: float, seconds: float) -> dict[str, float]:
    """Of the runs planned for a span of time that begins when all is warm."""
    runs = Job.objects.filter(**{"metadata__river:periodic_job_id": name})
    planned = runs.order_by("scheduled_at").values_list("scheduled_at", flat=True)
    since = planned[0] + WARM_UP
    counted = runs.filter(scheduled_at__gte=since, scheduled_at__lt=since + timedelta(seconds=seconds))
    rows = list(counted.values_list("scheduled_at", "created_at", "attempted_at"))
    late = [(created - due).total_seconds() for due, created, _ in rows]
    begun = [((at or datetime.now(UTC)) - due).total_seconds() for due, _, at in rows]
    return {
        "runs": len(rows),
        "amiss": abs(len(rows) - round(seconds / every)) + len(rows) - len({due for due, _, _ in rows}),
        **latencies(late),
        "most ms": 1000 * max(late),
        **{f"begun, {figure}": value for figure, value in latencies(begun).items()},
    }


@contextmanager
def _enqueuer(entries: Sequence[tuple[str, float]]) -> Iterator[PeriodicJobEnqueuer]:
    """An enqueuer of these entries, which have been put into force."""
    registry = PeriodicRegistry.build(
        [
            Declaration(job=jobs.noop, name=name, every=every, args={"number": 1}, place=name)
            for name, every in entries
        ],
        timezone="UTC",
        max_args_bytes=10_000,
    )
    store = storage.open_storage("default", timeout=30)
    periodic = storage.for_periodic("default", store.session)
    Registration(
        storage=periodic,
        registry=registry,
        release="",
        client_timeout=60,
        follows_mismatch=False,
        announce=lambda: None,
    ).enter()
    try:
        yield PeriodicJobEnqueuer(
            storage=store,
            periodic=periodic,
            registry=registry,
            using="default",
            notifies=True,
            on_available=lambda queues: None,
        )
    finally:
        store.close()


def _empty() -> None:
    """No jobs, no entries, nobody alive."""
    database.empty()
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE river_leader, django_river_client, django_river_periodicjob, django_river_periodicregistry"
        )


SCENARIOS = (
    Scenario(
        name="periodic", question="Do a thousand periodic jobs of one moment come at once?", plan=at_once
    ),
    Scenario(
        name="periodic-on-time",
        question="Do periodic jobs come on time for ten minutes, each once?",
        plan=on_time,
        most_rounds=1,
    ),
)
