"""What does it cost to store jobs: many at once, one by one, and inside a transaction?"""

from __future__ import annotations

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
    """One by one in autocommit, against a bare INSERT on a connection with the same settings as Django's.

    Both send their values inside the text of the statement and prepare nothing, as Django's connections do by default.
    """
    count = options.share(1 / 20)
    return Plan(
        [
            Contestant("ours", partial(_singly, count, lambda: jobs.noop.enqueue(1))),
            Contestant("bare INSERT", partial(_bare_inserts, count)),
        ],
        [Demand(text="of a bare INSERT", of="ours", figure="jobs/s", over="bare INSERT", at_least=0.85)],
    )


def in_transaction(options: Options) -> Plan:
    """A transaction that stores an account and a job, against one that stores an account and asks one thing more."""
    count = options.share(1 / 20)

    def with_job() -> None:
        with transaction.atomic():
            _store_account()
            jobs.noop.enqueue(1)

    def with_round_trip() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            _store_account()
            cursor.execute(raw.INSERT, raw.ROW)

    return Plan(
        [
            Contestant("ours", lambda: {**_singly(count, with_job), "statements": _statements(with_job)}),
            Contestant("one round trip", partial(_singly, count, with_round_trip)),
        ],
        [
            Demand(
                text="of a transaction with a bare INSERT", of="ours", figure="jobs/s", over="one round trip"
            ),
            Demand(
                text="statements per job in the transaction", of="ours", figure="statements", at_most=1.05
            ),
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


def _singly(count: int, call: Callable[[], object]) -> dict[str, float]:
    database.empty()
    return _rate(count, call)


def _bare_inserts(count: int) -> dict[str, float]:
    database.empty()
    with closing(raw.connection_like_djangos()) as server, server.cursor() as cursor:
        return _rate(count, lambda: cursor.execute(raw.INSERT, raw.ROW).fetchone())


def _rate(count: int, call: Callable[[], object]) -> dict[str, float]:
    call()
    began = time.perf_counter()
    for _ in range(count):
        call()
    return {"jobs/s": count / (time.perf_counter() - began)}


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
    return counted / 100 - 1


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
