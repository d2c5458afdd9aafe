"""What does a worker cost that has nothing to do?"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from subprocess import Popen
from urllib.parse import urlsplit

import psycopg

from benchmarks import database, processes
from benchmarks.accounting import cpu_of
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.systems import Peer

QUEUES = 1800
#: Until a worker has settled, and for how long it is looked at: two of its 10 s rounds.
SETTLE_SECONDS = 5.0
LOOK_SECONDS = 20.0

TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"


def plan(options: Options) -> Plan:
    """We with one queue and with very many, and the peers."""
    few, many = "ours, one queue", f"ours, {QUEUES:,} queues"
    return Plan(
        [
            Contestant(few, partial(_ours, options, 1)),
            Contestant(many, partial(_ours, options, QUEUES)),
            *(Contestant(name, partial(_peer, options, Peer(name))) for name in options.peers),
        ],
        [
            demand
            for name in (few, many)
            for demand in (
                Demand(text=f"transactions/s: {name}", of=name, figure="transactions/s", at_most=2),
                Demand(text=f"% of a core: {name}", of=name, figure="% of a core", at_most=0.5),
            )
        ],
    )


def _ours(options: Options, queues: int) -> dict[str, float]:
    database.empty()
    worker = processes.running(processes.RUNWORKERS, processes.environ_with(queues=queues))
    return _look(options, worker, database.url())


def _peer(options: Options, peer: Peer) -> dict[str, float]:
    return _look(options, peer.serving(Path(os.devnull)), peer.url)


def _look(options: Options, worker: AbstractContextManager[Popen[str]], url: str) -> dict[str, float]:
    name = urlsplit(url).path[1:]
    # From another database, so that our own looking is not counted.
    with closing(psycopg.connect(database.create("observer"), autocommit=True)) as server, worker as process:
        time.sleep(options.seconds(SETTLE_SECONDS))
        seconds = options.seconds(LOOK_SECONDS)
        before, spent = _transactions(server, name), cpu_of(process.pid)
        time.sleep(seconds)
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.returncode}")
        return {
            "transactions/s": (_transactions(server, name) - before) / seconds,
            "% of a core": 100 * (cpu_of(process.pid) - spent) / seconds,
        }


def _transactions(server: psycopg.Connection, name: str) -> int:
    row = server.execute(TRANSACTIONS, [name]).fetchone()
    assert row is not None
    return int(row[0])


SCENARIOS = (Scenario(name="idle", question="What does a worker cost that has nothing to do?", plan=plan),)
