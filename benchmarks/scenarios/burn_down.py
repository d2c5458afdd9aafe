"""How fast are jobs that do nothing worked off, by one process and by two?"""

from __future__ import annotations

from functools import partial

from benchmarks import jobs, ours, raw
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.systems import Peer

#: Slow ones get fewer jobs: a run should take seconds.
SHARES = {"pgqueuer": 1.0, "chancy": 0.05, "oban": 0.05, "procrastinate": 0.005, "django-tasks-db": 0.003}
MOST_LOG = 800
MOST_CPU = 22


def one_process(options: Options) -> Plan:
    """We, the raw limit, and the peers."""
    sync, is_async, limit = "ours, sync", "ours, async", "raw limit"
    peers = [
        Contestant(name, partial(Peer(name).burn_down, options.share(SHARES[name]))) for name in options.peers
    ]
    return Plan(
        [
            Contestant(sync, partial(ours.burn_down, options.jobs)),
            Contestant(limit, partial(raw.burn_down, options.jobs)),
            Contestant(is_async, partial(ours.burn_down, options.jobs, jobs.noop_async.build)),
            *peers,
        ],
        [
            Demand(text="of the raw limit", of=sync, figure="jobs/s", over=limit, at_least=0.65),
            *(
                Demand(
                    text=f"times {name}",
                    of=sync,
                    figure="jobs/s",
                    over=name,
                    at_least=1.5 if name == "pgqueuer" else 1.0,
                )
                for name in options.peers
            ),
            Demand(text="async to sync", of=is_async, figure="jobs/s", over=sync, at_least=1.0),
            Demand(text="WAL bytes per job", of=sync, figure="WAL bytes/job", at_most=MOST_LOG),
            Demand(text="server's CPU, µs per job", of=sync, figure="server µs/job", at_most=MOST_CPU),
        ],
    )


def two_processes(options: Options) -> Plan:
    """The same by two processes each."""
    name, rival = "ours, two processes", "pgqueuer, two processes"
    contestants = [Contestant(name, partial(ours.burn_down, options.jobs, workers=2))]
    if "pgqueuer" in options.peers:
        contestants.append(Contestant(rival, partial(Peer("pgqueuer").burn_down, options.jobs, workers=2)))
    return Plan(
        contestants,
        [
            Demand(text="times pgqueuer", of=name, figure="jobs/s", over=rival, at_least=1.3),
            Demand(text="WAL bytes per job", of=name, figure="WAL bytes/job", at_most=MOST_LOG),
            Demand(text="server's CPU, µs per job", of=name, figure="server µs/job", at_most=MOST_CPU),
        ],
    )


SCENARIOS = (
    Scenario(
        name="burn-down", question="How fast are no-op jobs worked off by one process?", plan=one_process
    ),
    Scenario(
        name="burn-down-two",
        question="How fast are no-op jobs worked off by two processes?",
        plan=two_processes,
    ),
)
