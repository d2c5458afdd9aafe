"""How soon are the jobs of a worker available again that was killed, or is frozen?

Two ``runworkers`` processes each time: one with jobs that would take an hour, which something befalls, and one of another
queue. Nobody else works the first one's queue, so that its jobs stay where the rescue has put them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from subprocess import Popen

from benchmarks import database, jobs, processes
from benchmarks.figures import percentile
from benchmarks.plan import Contestant, Demand, Figures, Options, Plan, Scenario
from benchmarks.waiting import wait_until
from django_river import enqueue_many
from django_river.conf import config
from django_river.models import Client, Job, Leader

JOBS = 2
OWN_QUEUE, OTHER_QUEUE = "queue-0", "queue-1"
HOUR = 3600.0
#: Until the next victim is killed, in seconds: it is not to be seen always at the same moment of the judge's round.
PAUSES = (0.0, 0.3, 0.6, 0.9)


def plan(options: Options) -> Plan:
    """A follower that is killed, a leader that is; and, where there is time, a follower that is frozen."""
    times = {
        "follower killed": options.share(1 / 5000, least=1),
        "leader killed": options.share(1 / 10_000, least=1),
        "follower frozen": options.share(1 / 50_000, least=0),
    }
    asked = {"follower killed": 5.0, "leader killed": 5.0, "follower frozen": config().client_timeout + 1}
    return Plan(
        [Contestant(fate, partial(_rescued, fate, count)) for fate, count in times.items() if count],
        [
            Demand(
                text=f"seconds until its jobs are available: {fate}",
                of=fate,
                figure="p95 s",
                at_most=asked[fate],
            )
            for fate, count in times.items()
            if count
        ],
    )


def _rescued(fate: str, count: int) -> Figures:
    rescue = _leader if fate == "leader killed" else partial(_follower, freeze=fate == "follower frozen")
    took = rescue(count)
    return {"p50 s": percentile(took, 0.5), "p95 s": percentile(took, 0.95), "most s": max(took)}


def _follower(count: int, *, freeze: bool) -> list[float]:
    _forget()
    with _worker(OTHER_QUEUE) as leader:
        wait_until(lambda: _leads(leader))
        return [_strike(number, freeze=freeze) for number in range(count)]


def _strike(number: int, *, freeze: bool) -> float:
    with _worker(OWN_QUEUE) as victim:
        return _measure(number, victim, signal.SIGSTOP if freeze else signal.SIGKILL)


def _leader(count: int) -> list[float]:
    took = []
    for number in range(count):
        _forget()
        with _worker(OWN_QUEUE) as victim:
            wait_until(lambda victim=victim: _leads(victim))  # type: ignore[misc]
            with _worker(OTHER_QUEUE):
                took.append(_measure(number, victim, signal.SIGKILL))
    return took


def _measure(number: int, victim: Popen[str], how: signal.Signals) -> float:
    """Seconds from the blow until all of its jobs are available, each with the attempt that has failed."""
    mine = Job.objects.filter(queue=OWN_QUEUE)
    enqueue_many(jobs.sleep.using(queue=OWN_QUEUE).build(HOUR) for _ in range(JOBS))
    wait_until(lambda: mine.filter(state="running").count() == JOBS)
    time.sleep(PAUSES[number % len(PAUSES)])
    began = time.monotonic()
    victim.send_signal(how)
    wait_until(lambda: mine.filter(state="available").count() == JOBS, every=0.01)
    took = time.monotonic() - began
    for job in mine:
        if job.attempt != 1 or "client lost" not in (job.errors or [{"error": "none"}])[-1]["error"]:
            raise RuntimeError(f"a job was rescued otherwise: attempt {job.attempt}, {job.errors}")
    mine.delete()
    return took


def _forget() -> None:
    database.empty()
    for model in (Leader, Client):
        model.objects.all().delete()


def _leads(process: Popen[str]) -> bool:
    return Client.objects.filter(pid=process.pid, pk__in=Leader.objects.values("leader_id")).exists()


@contextmanager
def _worker(queue: str) -> Iterator[Popen[str]]:
    """A process that has presented itself and its session."""
    command = [*processes.RUNWORKERS, f"--queues={queue}"]
    with processes.running(command, processes.environ_with(queues=2)) as process:
        wait_until(Client.objects.filter(pid=process.pid, session__isnull=False).exists)
        try:
            yield process
        finally:
            # Frozen, it would not heed anything else.
            process.kill()


SCENARIOS = (
    Scenario(
        name="rescue",
        question="How soon do the jobs of a lost worker run again?",
        plan=plan,
        most_rounds=1,
    ),
)
