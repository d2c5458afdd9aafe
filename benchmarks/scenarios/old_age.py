"""What becomes of the rate when the table is full of finished jobs, or when vacuum cannot do its work?"""

from __future__ import annotations

from contextlib import closing
from functools import cache, partial

import psycopg
from django.core.management import call_command
from django.db import connections

from benchmarks import database, jobs, ours
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario

FINISHED = """
    INSERT INTO river_job (
        kind, args, state, attempt, max_attempts, attempted_at, attempted_by, created_at, scheduled_at, finalized_at
    )
    SELECT 'benchmarks.noop', '{"number": 1}', 'completed', 1, 25, moment, ARRAY['gone'], moment, moment, moment
    FROM (SELECT now() - make_interval(secs => %s - number) AS moment
        FROM generate_series(1, %s) AS row (number)) AS finished
"""


def full_table(options: Options) -> Plan:
    """Ten million finished jobs, in a database of their own."""
    fresh, old = "ours, fresh", "ours, 10,000,000 finished"
    return Plan(
        [
            Contestant(fresh, partial(ours.burn_down, options.jobs)),
            Contestant(old, partial(_in_full_table, options.jobs, options.share(100))),
        ],
        [Demand(text="of the fresh rate", of=old, figure="jobs/s", over=fresh, at_least=0.7)],
    )


def held_snapshot(options: Options) -> Plan:
    """Five times as many jobs while somebody's transaction stays open: no dead row can be removed."""
    count = options.share(5)
    fresh, held = "ours, fresh", "ours, a transaction open"
    return Plan(
        [
            Contestant(fresh, partial(ours.burn_down, count)),
            Contestant(held, partial(_with_open_transaction, count)),
        ],
        [
            Demand(text="of the fresh rate", of=held, figure="jobs/s", over=fresh, at_least=0.7),
            Demand(text="memory to the fresh one's", of=held, figure="RSS MB", over=fresh, at_most=1.1),
        ],
    )


@cache
def _make_full_table(count: int) -> None:
    database.create("old")
    call_command("migrate", database="old", run_syncdb=True, verbosity=0)
    with connections["old"].cursor() as cursor:
        cursor.execute(FINISHED, [count, count])
    database.settle("old")


def _in_full_table(count: int, finished: int) -> dict[str, float]:
    _make_full_table(finished)
    request = jobs.noop.using(database="old")
    before = database.fill(count, request.build, using="old")
    return ours.work(count, after=before, using="old")


def _with_open_transaction(count: int) -> dict[str, float]:
    database.empty()
    before = database.fill(count)
    # Called as our own connections are, so that nobody waits for it to go.
    with closing(psycopg.connect(database.url(), application_name="benchmark")) as somebody:
        somebody.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        somebody.execute("SELECT count(*) FROM river_queue")
        return ours.work(count, after=before)


SCENARIOS = (
    Scenario(name="full-table", question="What is the rate with 10,000,000 finished jobs?", plan=full_table),
    Scenario(
        name="open-transaction", question="What is the rate when vacuum cannot work?", plan=held_snapshot
    ),
)
