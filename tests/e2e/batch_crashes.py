"""Workers of a batch that completes in its transaction, killed again and again at the worst moments.

``python -m tests.e2e.batch_crashes --crashes 200`` kills so many and prints what it has found; the database is the one of
``DATABASE_URL``, migrated. After each kill every job must be completed if, and only if, what it does was done, once.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from datetime import timedelta

import django

#: Where the process kills itself: before the commit, and between the commit and the return of the function that made it.
MOMENTS = ("before", "after")
JOBS, SIZE = 20, 10
NOW = timedelta(0)


@dataclasses.dataclass
class Item:
    """Something to be done exactly once."""

    number: int


def crash(moment: str | None) -> int:
    """Work all jobs in a process of its own, which kills itself then; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work(moment)
    finally:
        os._exit(0)


def work(moment: str | None) -> None:
    """What the child does."""
    from django.db import transaction

    from django_river import Batch, JobBatch
    from django_river.client import Client
    from django_river.conf import config
    from tests.shop.models import Run
    from tests.work.building import registry_of

    calls = itertools.count(1)

    def many(batch: JobBatch[Item]) -> None:
        call = next(calls)
        Run.objects.bulk_create(
            Run(job_id=item.job.id, attempt=item.job.attempt, what="applied") for item in batch
        )
        # The second of two, so that a first one has been committed and reported.
        if call == 2 and moment == "before":
            kill()
        if call == 2 and moment == "after":
            transaction.on_commit(kill)

    options = {"batch": Batch(size=SIZE, wait=0.02, complete_in_transaction=True), "item": Item}
    client = Client(config(), can_lead=False, registry=registry_of(many=(many, options)))
    client.start()
    while not client.is_idle or client.has_due_jobs():
        time.sleep(0.005)
    client.stop()


def kill() -> None:
    """As the kernel does it when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def rescue() -> None:
    """Make available what the dead have left running, without the patience of a leader."""
    from django_river import storage
    from django_river.models import Leader

    Leader.objects.all().delete()
    lease = storage.for_caller("default").leader_elect("rescuer", timedelta(minutes=1))
    upkeep = storage.open_upkeep("default", term=lease.term, timeout=10)
    try:
        upkeep.job_rescue(
            rescue_after=NOW, client_timeout=NOW, poison_after=100, known_kinds=["many"], limit=1000
        )
        upkeep.job_schedule(1000)
    finally:
        upkeep.close()
        Leader.objects.all().delete()


def problems() -> list[str]:
    """Jobs that were done twice, or whose row does not say what was done."""
    from django_river.models import Job
    from tests.shop.models import Run

    applied = Counter(Run.objects.values_list("job_id", flat=True))
    states = dict(Job.objects.values_list("pk", "state"))
    return [
        f"job {id} is {state} and was applied {applied[id]} times"
        for id, state in states.items()
        if applied[id] != (1 if state == "completed" else 0)
    ]


def run(crashes: int) -> dict[str, object]:
    """Kill so many workers, then let one finish; what was found."""
    from django.db import connections

    from django_river.models import Job
    from tests.factories import JobFactory
    from tests.shop.models import Run

    found: list[str] = []
    killed = Counter[str]()
    for number in range(crashes):
        moment = MOMENTS[number % len(MOMENTS)]
        for job in range(JOBS):
            JobFactory(kind="many", args={"number": job}, max_attempts=1000)
        connections.close_all()
        if crash(moment) == -signal.SIGKILL:
            killed[moment] += 1
        found += problems()
        rescue()
    connections.close_all()
    ended = crash(None)
    found += problems()
    left = Job.objects.exclude(state="completed").count()
    return {
        "killed": dict(killed), "ended": ended, "problems": found, "left": left,
        "jobs": Job.objects.count(), "applied": Run.objects.count(),
    }  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--crashes", type=int, required=True)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    report = run(parser.parse_args().crashes)
    sys.stdout.write(json.dumps(report) + "\n")
    sys.exit(bool(report["problems"] or report["left"]))


if __name__ == "__main__":
    main()
