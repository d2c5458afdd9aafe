"""How late does the leader make jobs available: one by one, at short notice, and ten thousand at once?"""

from __future__ import annotations

import time
from functools import partial

from django.db import connection

from benchmarks import database, ours
from benchmarks.figures import latencies
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.waiting import wait_until

#: Nobody works this queue: its jobs become available, and no more.
IDLE = "idle"
AT_ONCE = 10_000

SCHEDULED = """
    INSERT INTO river_job (kind, args, queue, state, scheduled_at)
    SELECT 'benchmarks.noop', '{"number": 1}', %s, 'scheduled', now() + make_interval(secs => %s + random() * %s)
    FROM generate_series(1, %s)
    RETURNING scheduled_at
"""
#: An idle worker claims what has become available within a millisecond or two.
LATE = "SELECT extract(epoch FROM attempted_at - scheduled_at)::float8 FROM river_job"


def lateness(options: Options) -> Plan:
    """From the moment a job is due to its claim, by the database's clock."""
    ahead, short = "ours, up to 20 s ahead", "ours, less than a second ahead"
    count = options.share(1 / 200)
    return Plan(
        [
            Contestant(ahead, partial(_scheduled_ahead, count, options.seconds(20))),
            Contestant(short, partial(_scheduled_shortly, count)),
        ],
        [
            Demand(text=f"p95 ms late, {name}", of=name, figure="p95 ms", at_most=50)
            for name in (ahead, short)
        ],
    )


def at_once(options: Options) -> Plan:
    """From the moment that many are due to the moment the last one is available."""
    name = f"ours, {AT_ONCE:,} jobs"
    return Plan(
        [Contestant(name, partial(_due_at_once, AT_ONCE))],
        [Demand(text="seconds until all are available", of=name, figure="seconds", at_most=1)],
    )


def _scheduled_ahead(count: int, seconds: float) -> dict[str, float]:
    with ours.leading():
        _schedule(count, queue="default", after=1, within=seconds)
        return _late(count)


def _scheduled_shortly(count: int) -> dict[str, float]:
    with ours.leading():
        for _ in range(count):
            _schedule(1, queue="default", after=0.05, within=0.9)
            time.sleep(0.04)
        return _late(count)


def _due_at_once(count: int) -> dict[str, float]:
    with ours.leading():
        began = time.monotonic()
        _schedule(count, queue=IDLE, after=2, within=0)
        # By the moment at which the statement began, so a little too much rather than too little.
        due_at = began + 2
        wait_until(lambda: not database.has_jobs("state = 'scheduled'"), every=0.001)
        return {"seconds": time.monotonic() - due_at}


def _schedule(count: int, *, queue: str, after: float, within: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(SCHEDULED, [queue, after, within, count])


def _late(count: int) -> dict[str, float]:
    wait_until(lambda: not database.has_jobs("state <> 'completed'"))
    with connection.cursor() as cursor:
        cursor.execute(LATE)
        late = [seconds for (seconds,) in cursor.fetchall()]
    if len(late) != count:
        raise RuntimeError(f"{len(late)} of {count} jobs were worked")
    return {**latencies(late), "most ms": 1000 * max(late)}


SCENARIOS = (
    Scenario(name="scheduler-lateness", question="How late does the leader move a job?", plan=lateness),
    Scenario(
        name="scheduler-at-once", question="How long for 10,000 jobs that are due at once?", plan=at_once
    ),
)
