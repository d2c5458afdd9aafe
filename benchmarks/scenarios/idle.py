"""What does a worker cost that has nothing to do?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from subprocess import Popen
from urllib.parse import urlsplit

import psycopg
from django.db import connections

from benchmarks import database, processes
from benchmarks.accounting import cpu_of
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.systems import Peer
from benchmarks.waiting import wait_until

QUEUES = 1800
#: Until a worker has settled, and for how long it is looked at: two of its 10 s rounds.
SETTLE_SECONDS = 5.0
LOOK_SECONDS = 20.0

#: Starts one.
Worker = Callable[[], AbstractContextManager[Popen[str]]]

TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"


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
    # What our own connection has done is not counted, either.
    connections.close_all()
    environ = processes.environ_with(queues=queues)
    return _look(options, partial(processes.running, processes.RUNWORKERS, environ), database.url())


def _peer(options: Options, peer: Peer) -> dict[str, float]:
    return _look(options, partial(peer.serving, Path(os.devnull)), peer.url)


def _look(options: Options, worker: Worker, url: str) -> dict[str, float]:
    """What a worker does after it has settled, as the difference of two: one goes then, the other when we have looked.

    The server counts what a connection has done up to ten seconds late, but not later than the connection ends.
    """
    settle, seconds = options.seconds(SETTLE_SECONDS), options.seconds(LOOK_SECONDS)
    name = urlsplit(url).path[1:]
    # From another database, so that our own looking is not counted.
    with closing(psycopg.connect(database.create("observer"), autocommit=True)) as server:
        start, _ = _life(server, name, worker, settle, 0.0)
        life, spent = _life(server, name, worker, settle, seconds)
    return {"transactions/s": (life - start) / seconds, "% of a core": 100 * spent / seconds}


def _life(
    server: psycopg.Connection, name: str, worker: Worker, settle: float, seconds: float
) -> tuple[int, float]:
    """The transactions of a worker from its start to its end, and what it has spent after it has settled."""
    before = _transactions(server, name)
    with worker() as process:
        time.sleep(settle)
        spent = cpu_of(process.pid)
        time.sleep(seconds)
        spent = cpu_of(process.pid) - spent
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.returncode}")
    wait_until(lambda: server.execute(CONNECTIONS, [name]).fetchone() == (0,))
    return _transactions(server, name) - before, spent


def _transactions(server: psycopg.Connection, name: str) -> int:
    row = server.execute(TRANSACTIONS, [name]).fetchone()
    assert row is not None
    return int(row[0])


SCENARIOS = (Scenario(name="idle", question="What does a worker cost that has nothing to do?", plan=plan),)
