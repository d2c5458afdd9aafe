"""What do very many queues cost, and does the rate stay the same to the end of a large backlog?"""

from __future__ import annotations

from functools import partial

from django.db import connection

from benchmarks import database, ours
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.systems import Peer

QUEUES = 1800
MOST_CONNECTIONS = 6
MOST_MEMORY_MB = 150

TENTHS = """
    SELECT extract(epoch FROM tenth[1] - began), extract(epoch FROM ended - tenth[2])
    FROM (
        SELECT min(attempted_at) AS began, max(finalized_at) AS ended,
            percentile_disc(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY finalized_at) AS tenth
        FROM river_job
    ) AS worked
"""


def many(options: Options) -> Plan:
    """100 jobs in each of 1,800 queues, by one client, against as many in one queue."""
    count, queues = options.share(1.8), _queues(options)
    mine, one = f"ours, {QUEUES:,} queues", "ours, one queue"
    contestants = [
        Contestant(mine, partial(ours.burn_down, count, database.noop_in(queues), queues=queues)),
        Contestant(one, partial(ours.burn_down, count)),
    ]
    if "pgqueuer" in options.peers:
        rival = partial(Peer("pgqueuer").burn_down, count, queues=queues)
        contestants.append(Contestant("pgqueuer", rival))
    return Plan(
        contestants,
        [
            Demand(text="of one queue's rate", of=mine, figure="jobs/s", over=one, at_least=0.7),
            Demand(text="times pgqueuer", of=mine, figure="jobs/s", over="pgqueuer", at_least=1.5),
            Demand(text="connections of its own", of=mine, figure="connections", at_most=MOST_CONNECTIONS),
            Demand(text="memory, MB", of=mine, figure="RSS MB", at_most=MOST_MEMORY_MB),
        ],
    )


def backlog(options: Options) -> Plan:
    """A million jobs in all, and a tenth of that for comparison."""
    queues = _queues(options)
    large, small = "ours, 1,000,000 jobs", "ours, 100,000 jobs"
    return Plan(
        [
            Contestant(large, partial(_flat, options.share(10), queues)),
            Contestant(small, partial(_flat, options.jobs, queues)),
        ],
        [
            Demand(
                text="last tenth's rate to the first's", of=large, figure="last to first tenth", at_least=0.8
            ),
            Demand(text="memory to that of a tenth", of=large, figure="RSS MB", over=small, at_most=1.1),
        ],
    )


def _queues(options: Options) -> int:
    return max(2, min(QUEUES, options.jobs // 20))


def _flat(count: int, queues: int) -> dict[str, float]:
    figures = ours.burn_down(count, database.noop_in(queues), queues=queues)
    with connection.cursor() as cursor:
        cursor.execute(TENTHS)
        first, last = cursor.fetchone()
    return {**figures, "last to first tenth": float(first / last)}


SCENARIOS = (
    Scenario(name="many-queues", question="What do 1,800 queues cost?", plan=many),
    Scenario(name="backlog", question="Is the rate flat over 1,000,000 jobs in 1,800 queues?", plan=backlog),
)
