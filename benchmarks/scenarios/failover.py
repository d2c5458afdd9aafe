"""How soon does another client lead, and work, when something befalls the leader?

Two ``runworkers`` processes each time. What counts is *works*: from the blow until a job that became due a moment after
it has been run, which takes a new leader that has made it available.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from subprocess import Popen
from typing import Any
from urllib.parse import urlsplit

from django.db import connection
from django.utils import timezone

from benchmarks import database, jobs, processes
from benchmarks.figures import percentile
from benchmarks.plan import Contestant, Demand, Figures, Options, Plan, Scenario
from benchmarks.waiting import wait_until
from django_river.conf import config
from django_river.models import Client, Job, Leader, LeaderTerm
from tests.relay import Relay

#: Beyond this a leader has not been replaced.
PATIENCE = 60.0
CANDIDATES = 10
SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGTERM, "frozen": signal.SIGSTOP}


def plan(options: Options) -> Plan:
    """Every fate that a leader may meet; those that last as long as its lease less often."""
    times = {
        "killed": options.share(1 / 10_000, least=1),
        "stopped": options.share(1 / 10_000, least=1),
        "frozen": options.share(1 / 50_000, least=1),
        "cut off": options.share(1 / 50_000, least=1),
    }
    lease = config().leader_ttl
    asked = {"killed": 2.0, "stopped": 0.5, "frozen": lease * 4 / 3, "cut off": lease * 4 / 3}
    return Plan(
        [Contestant(fate, partial(_replaced, fate, count)) for fate, count in times.items()]
        + [Contestant(f"{CANDIDATES} candidates", partial(_settled, options.share(1 / 20_000, least=1)))],
        [
            Demand(text=f"seconds until another works: {fate}", of=fate, figure="works p95 s", at_most=most)
            for fate, most in asked.items()
        ]
        + [
            Demand(
                text=f"seconds until {CANDIDATES} candidates agree",
                of=f"{CANDIDATES} candidates",
                figure="works p95 s",
                at_most=2.0,
            )
        ],
    )


def _replaced(fate: str, count: int) -> Figures:
    elected, works = zip(*(_replace(fate) for _ in range(count)), strict=True)
    return _figures(elected, works)


def _figures(elected: tuple[float, ...], works: tuple[float, ...]) -> Figures:
    return {
        "elected p50 s": percentile(elected, 0.5),
        "works p50 s": percentile(works, 0.5),
        "works p95 s": percentile(works, 0.95),
    }


def _replace(fate: str) -> tuple[float, float]:
    """Seconds until another is elected, and until it works."""
    _forget()
    place = urlsplit(database.url())
    with Relay(place.hostname or "localhost", place.port or 5432) as relay:
        with _worker(relay.through(database.url())) as first:
            _wait_for(lambda: _leads(first))
            with _worker(database.url()) as second:
                due, began = _due_in_a_moment()
                _strike(fate, first, relay)
                finished: datetime = _wait_for(lambda: Job.objects.get(pk=due).finalized_at)
                if not _leads(second):
                    raise RuntimeError("the other process does not lead")
        relay.mend()
    elected = LeaderTerm.objects.filter(elected_at__gt=began).earliest("elected_at").elected_at
    return (elected - began).total_seconds(), (finished - began).total_seconds()


def _forget() -> None:
    database.empty()
    for model in (Leader, LeaderTerm, Client):
        model.objects.all().delete()


@contextmanager
def _worker(url: str) -> Iterator[Popen[str]]:
    """A process that has presented itself and its session."""
    environ = processes.environ_with(slots=2) | {"DATABASE_URL": url}
    with processes.running(processes.RUNWORKERS, environ) as process:
        _wait_for(Client.objects.filter(pid=process.pid, session__isnull=False).exists)
        try:
            yield process
        finally:
            # Frozen or cut off, it would not heed anything else.
            process.kill()


def _leads(process: Popen[str]) -> bool:
    leading = Leader.objects.filter(expires_at__gt=timezone.now()).values("leader_id")
    return Client.objects.filter(pid=process.pid, pk__in=leading).exists()


def _due_in_a_moment() -> tuple[int, datetime]:
    """A job that nobody works before it is due, and the database's time."""
    job = jobs.noop.using(run_after=timedelta(hours=1)).enqueue(0)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE river_job SET scheduled_at = clock_timestamp() + interval '20 ms' WHERE id = %s"
            " RETURNING clock_timestamp()",
            [job.pk],
        )
        return job.pk, cursor.fetchone()[0]


def _strike(fate: str, process: Popen[str], relay: Relay) -> None:
    if fate == "cut off":
        relay.cut()
    else:
        process.send_signal(SIGNALS[fate])


def _settled(count: int) -> Figures:
    """Many clients that start at once, and again when the one that led has gone."""
    elected, works = zip(*(_storm() for _ in range(count)), strict=True)
    return _figures(elected, (*elected, *works))


def _storm() -> tuple[float, float]:
    from django_river import client

    _forget()
    candidates = [client.Client(config(), client_id=f"client-{number}") for number in range(CANDIDATES)]
    with ThreadPoolExecutor(CANDIDATES) as pool:
        began = time.monotonic()
        starting = pool.map(client.Client.start, candidates)
        started = _one_leads(candidates) - began
        list(starting)
        leader = next(candidate for candidate in candidates if candidate.elector.is_leader)
        others = [candidate for candidate in candidates if candidate is not leader]
        began = time.monotonic()
        stopping = pool.submit(leader.stop, timeout=0)
        again = _one_leads(others) - began
        stopping.result()
        list(pool.map(lambda candidate: candidate.stop(timeout=0), others))
    return started, again


def _one_leads(candidates: list[Any]) -> float:
    """When one does, by the monotonic clock."""
    _wait_for(lambda: sum(candidate.elector.is_leader for candidate in candidates) == 1)
    return time.monotonic()


def _wait_for(condition: Callable[[], Any]) -> Any:
    """Looked at so often that it counts for nothing in what is measured."""
    return wait_until(condition, every=0.005, longest=PATIENCE)


SCENARIOS = (
    Scenario(
        name="failover",
        question="How soon is a leader replaced?",
        plan=plan,
        most_rounds=2,
    ),
)
