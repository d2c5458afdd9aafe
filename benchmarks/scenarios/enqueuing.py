"""What does it cost to store jobs: many at once, one by one, and inside a transaction?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from django.db import connection, transaction

from benchmarks import database, jobs, raw
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario
from benchmarks.systems import Peer
from django_river import enqueue_many


def bulk(options: Options) -> Plan:
    """Typed jobs, against COPY of ready values and pgqueuer's call for many."""
    mine, limit, text = "ours", "raw COPY", "raw COPY of ready text"
    contestants = [
        Contestant(mine, partial(_enqueue_many, options.jobs)),
        Contestant(limit, partial(raw.copy, options.jobs)),
        Contestant(text, partial(raw.copy_of_text, options.jobs)),
    ]
    if "pgqueuer" in options.peers:
        contestants.append(Contestant("pgqueuer", partial(_fill, Peer("pgqueuer"), options.jobs)))
    return Plan(
        contestants,
        [
            Demand(text="of raw COPY", of=mine, figure="jobs/s", over=limit, at_least=0.5),
            Demand(text="of raw COPY of ready text", of=mine, figure="jobs/s", over=text),
            Demand(
                text="times pgqueuer's bulk call", of=mine, figure="jobs/s", over="pgqueuer", at_least=1.6
            ),
        ],
    )


def single(options: Options) -> Plan:
    """One by one in autocommit, against a bare INSERT of the same values on a connection with the settings of Django's.

    Both send their values inside the text of the statement and prepare nothing, as Django's connections do by default;
    both are answered with the new row. Ours notifies workers besides, at most once in some milliseconds.
    """
    count = options.share(1 / 50)
    return Plan(
        [Contestant("ours", partial(_singly, count))],
        [
            Demand(text="of a bare INSERT", of="ours", figure="of a bare INSERT", at_least=0.85),
            Demand(text="of the same by Django's cursor", of="ours", figure="of the same by Django's cursor"),
        ],
    )


def in_transaction(options: Options) -> Plan:
    """A transaction that stores an account and a job, against one that stores an account and a bare row."""
    count = options.share(1 / 50)
    return Plan(
        [Contestant("ours", partial(_in_transactions, count))],
        [
            Demand(
                text="round trips added to a transaction", of="ours", figure="round trips added", at_most=1.0
            ),
            Demand(text="of one with a bare INSERT", of="ours", figure="of a bare INSERT"),
        ],
    )


def _enqueue_many(count: int) -> dict[str, float]:
    database.empty()
    began = time.perf_counter()
    enqueue_many(jobs.noop.build(number) for number in range(count))
    return {"jobs/s": count / (time.perf_counter() - began)}


def _fill(peer: Peer, count: int) -> dict[str, float]:
    peer.renew()
    return {"jobs/s": peer.fill(count)}


def _singly(count: int) -> dict[str, float]:
    database.empty()

    def by_django() -> None:
        with connection.cursor() as cursor:
            cursor.execute(raw.INSERT, raw.ROW)
            cursor.fetchone()

    with closing(raw.connection_like_djangos()) as server, server.cursor() as cursor:
        return _in_turn(
            count,
            lambda: jobs.noop.enqueue(1),
            lambda: cursor.execute(raw.INSERT, raw.ROW).fetchone(),
            by_django,
        )


def _in_transactions(count: int) -> dict[str, float]:
    def with_job() -> None:
        with transaction.atomic():
            _store_account()
            jobs.noop.enqueue(1)

    def with_row() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            _store_account()
            cursor.execute(raw.INSERT, raw.ROW)
            cursor.fetchone()

    database.empty()
    figures = _in_turn(count, with_job, with_row)
    return {**figures, "round trips added": _statements(with_job) - 1}


def _in_turn(
    count: int,
    ours: Callable[[], object],
    bare: Callable[[], object],
    by_django: Callable[[], object] | None = None,
) -> dict[str, float]:
    """Call by call: what a call costs is mostly the disk's flush at its commit, and that drifts within seconds.

    In an order that changes: whoever comes next to a call of its like finds the processor's caches warm.
    """
    calls = [ours, bare] if by_django is None else [ours, bare, by_django]
    order = list(enumerate(calls))
    spent = [0.0] * len(calls)
    for _ in range(count):
        random.shuffle(order)
        for index, call in order:
            began = time.perf_counter()
            call()
            spent[index] += time.perf_counter() - began
    figures = {
        "jobs/s": count / spent[0],
        "bare INSERTs/s": count / spent[1],
        "µs more": 1e6 * (spent[0] - spent[1]) / count,
        "of a bare INSERT": spent[1] / spent[0],
    }
    return (
        figures if by_django is None else {**figures, "of the same by Django's cursor": spent[2] / spent[0]}
    )


def _statements(call: Callable[[], object]) -> float:
    """How many statements run in the transaction for the job."""
    counted = 0

    def count(execute: Callable[..., object], *arguments: object) -> object:
        nonlocal counted
        counted += connection.in_atomic_block
        return execute(*arguments)

    with connection.execute_wrapper(count):
        for _ in range(100):
            call()
    return counted / 100


def _store_account() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO benchmarks_account (balance) VALUES (1)")


SCENARIOS = (
    Scenario(name="bulk-enqueue", question="How fast are many jobs stored at once?", plan=bulk),
    Scenario(name="single-enqueue", question="How fast are jobs stored one by one?", plan=single),
    Scenario(
        name="enqueue-in-transaction", question="What does a job add to a transaction?", plan=in_transaction
    ),
)
