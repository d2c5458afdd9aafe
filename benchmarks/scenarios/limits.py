"""A limit over all processes: is it ever exceeded, and what does it cost beside slots that are dealt out beforehand?"""

from __future__ import annotations

import json
from functools import partial

from django.db import connection

from benchmarks import jobs, ours
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario

PROCESSES = 4
LIMIT = 20
#: As many slots, but each process has its part for good; and a limit that whoever has work may use up alone.
DEALT_OUT = {"MAX_WORKERS": LIMIT // PROCESSES}
LIMITED = {"MAX_WORKERS": LIMIT, "GLOBAL_MAX_WORKERS": LIMIT}

#: The most jobs that ran at once. A claim counts by a statement that comes after the results whose room it takes, so the
#: moments in the rows tell it exactly; of equal ones, what ended goes first.
MOST_AT_ONCE = """
    SELECT max(running)
    FROM (
        SELECT sum(step) OVER (ORDER BY at, step) AS running
        FROM (
            SELECT attempted_at AS at, 1 AS step FROM river_job
            UNION ALL
            SELECT finalized_at, -1 FROM river_job
        ) AS steps
    ) AS moments
"""


def plan(options: Options) -> Plan:
    """Jobs of 100, 10 and 1 ms: the shorter they are, the more of the time goes into claiming one after the other."""
    contestants, demands = [], []
    for milliseconds, part in ((100, 0.02), (10, 0.1), (1, 0.2)):
        dealt, limited = (f"{milliseconds} ms, {how}" for how in ("slots dealt out", "limited"))
        for name, queue in ((dealt, DEALT_OUT), (limited, LIMITED)):
            contestants.append(Contestant(name, partial(_run, options.share(part), milliseconds, queue)))
        demands += [
            Demand(text=f"{limited}: most at once", of=limited, figure="most at once", at_most=LIMIT),
            Demand(text=f"{limited}: rate to that of dealt out", of=limited, figure="jobs/s", over=dealt),
        ]
    return Plan(contestants, demands)


def _run(count: int, milliseconds: int, queue: dict[str, int]) -> dict[str, float]:
    river = json.dumps({"QUEUES": {"default": queue}})
    figures = ours.burn_down(
        count, lambda _: jobs.sleep.build(milliseconds / 1000), workers=PROCESSES, river=river
    )
    with connection.cursor() as cursor:
        cursor.execute(MOST_AT_ONCE)
        ((most,),) = cursor.fetchall()
    return {**figures, "most at once": float(most)}


SCENARIOS = (
    Scenario(
        name="limits",
        question="Does a limit over four processes hold, and what does it cost?",
        plan=plan,
        most_rounds=2,
    ),
)
