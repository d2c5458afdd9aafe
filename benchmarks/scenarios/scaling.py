"""Processes that follow the backlog: how soon there are more of them, and how long they stay."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import psutil

from benchmarks import database, jobs, processes
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.waiting import wait_until
from django_river import enqueue_many
from django_river.models import Client

MOST = 4
SLOTS = 5
SECONDS = 0.02
#: So long are there more jobs than one process can do, in seconds.
FLOOD_SECONDS = 10.0
COMMAND = [*processes.RUNWORKERS, f"--processes=auto:1-{MOST}"]


def plan(options: Options) -> Plan:
    """A flood comes to one process that has nothing to do."""
    count = int(options.seconds(FLOOD_SECONDS) / SECONDS * SLOTS * MOST)
    return Plan(
        [Contestant("ours", lambda: _run(count))],
        [
            Demand(text="s until all processes are started", of="ours", figure="s to all started", at_most=2),
            Demand(text="s until all of them work", of="ours", figure="s to all at work"),
            Demand(text="s from the last job until one is left", of="ours", figure="s to one again"),
        ],
    )


def _run(count: int) -> dict[str, float]:
    database.empty()
    Client.objects.all().delete()
    river = json.dumps({"QUEUES": {"default": {"MAX_WORKERS": SLOTS}}})
    with processes.running(COMMAND, processes.environ_with(river=river)) as supervisor:
        wait_until(lambda: Client.objects.count() == 1)
        children = psutil.Process(supervisor.pid).children
        began = time.monotonic()
        enqueue_many(jobs.sleep.build(SECONDS) for _ in range(count))
        started = _seconds(began, lambda: len(children()) == MOST)
        working = _seconds(began, lambda: Client.objects.count() == MOST)
        wait_until(lambda: not database.has_jobs("state <> 'completed'"))
        ended = time.monotonic()
        again = _seconds(ended, lambda: len(children()) == 1)
    return {"s to all started": started, "s to all at work": working, "s to one again": again}


def _seconds(since: float, condition: Callable[[], bool]) -> float:
    wait_until(condition)
    return time.monotonic() - since


SCENARIOS = (
    Scenario(
        name="scaling-processes",
        question="How soon are there more processes, and how soon fewer?",
        plan=plan,
        most_rounds=3,
    ),
)
