"""Does the leader delete old jobs as fast as new ones are worked, and what does that cost those?"""

from __future__ import annotations

import time
from functools import partial

from django.db import connection

from benchmarks import database, ours
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.waiting import wait_until

#: Worked one after the other, 20,000 a second, the last of them so long ago.
FINISHED = """
    INSERT INTO river_job (
        kind, args, state, attempt, max_attempts, attempted_at, attempted_by, created_at, scheduled_at, finalized_at
    )
    SELECT 'benchmarks.noop', '{"number": 1}', 'completed', 1, 25, moment, ARRAY['gone'], moment, moment, moment
    FROM (
        SELECT now() - %s::interval - make_interval(secs => (%s - row.number) / 20000.0)
        FROM generate_series(1, %s) AS row (number)
    ) AS finished (moment)
"""
#: By default completed jobs are kept for a day.
KEPT, OLD = "1 hour", "2 days"


def cleaning(options: Options) -> Plan:
    """A burn-down beside finished jobs that are kept, and one beside as many that are deleted meanwhile."""
    finished, count = options.share(20), options.share(2)
    kept, old = "ours, all are kept", "ours, all are old"
    return Plan(
        [
            Contestant(kept, partial(_beside_kept, finished, count)),
            Contestant(old, partial(_beside_old, finished, count)),
        ],
        [
            Demand(text="deleted a second, while others are worked", of=old, figure="deleted/s", at_least=20_000),
            Demand(text="deleted a second, with nothing else to do", of=old, figure="deleted/s alone", at_least=20_000),
            Demand(text="of the rate beside jobs that are kept", of=old, figure="jobs/s", over=kept, at_least=0.5),
        ],
    )  # fmt: skip


def _beside_kept(finished: int, count: int) -> dict[str, float]:
    last = _fill(finished, count, age=KEPT)
    with ours.leading(is_emptied=False):
        _wait_until_worked()
    return {"jobs/s": database.worked_per_second(count, after=last)}


def _beside_old(finished: int, count: int) -> dict[str, float]:
    last = _fill(finished, count, age=OLD)
    with ours.leading(is_emptied=False):
        began, before = time.monotonic(), _left(last)
        _wait_until_worked()
        worked, left = time.monotonic(), _left(last)
        wait_until(lambda: not database.has_jobs(f"id <= {last}"))
        ended = time.monotonic()
    figures = {
        "jobs/s": database.worked_per_second(count, after=last),
        "deleted/s": (before - left) / (worked - began),
    }
    # Sometimes none are left for afterwards.
    return figures | ({"deleted/s alone": left / (ended - worked)} if left else {})


def _fill(finished: int, count: int, *, age: str) -> int:
    """Finished jobs, then those to be worked; the last of the former."""
    database.empty()
    with connection.cursor() as cursor:
        cursor.execute(FINISHED, [age, finished, finished])
    return database.fill(count)


def _wait_until_worked() -> None:
    wait_until(lambda: not database.has_jobs("state IN ('available', 'running')"))


def _left(last: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM river_job WHERE id <= %s", [last])
        ((count,),) = cursor.fetchall()
    return int(count)


SCENARIOS = (
    Scenario(
        name="cleaning",
        question="Does the leader delete as fast as others work?",
        plan=cleaning,
        most_rounds=3,
    ),
)
