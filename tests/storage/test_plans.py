"""The hot statements go by their indexes, and none reads the whole table: it may hold a million jobs that are over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection

from django_river import storage
from django_river.jobs.states import State, bit_mask
from django_river.jobs.unique import DEFAULT_STATES
from django_river.queue_options import RateLimit
from django_river.storage.base import Demand, JobSetState, Session, Storage
from django_river.storage.batches import LeftOut, Wanted
from django_river.storage.long_jobs import JobBeat
from django_river.storage.postgres.driver import PREPARED
from django_river.storage.queues import LimitedDemand
from django_river.storage.upkeep import Retention, Upkeep
from tests.pages import blocks
from tests.storage.steps import HOUR, ME, new, unique
from tests.work.building import claimed

#: Postgres plans by what it knows of a table's size and contents; SQLite knows neither, so there a few will do.
ROWS = 1_000_000
SQLITE_ROWS = 20_000
QUEUES = 1800
#: Half of the jobs are over, as in a table that is cleaned once a day.
STATES = (
    ["completed"] * 9
    + ["discarded"]
    + ["available"] * 4
    + ["running"] * 3
    + ["scheduled"] * 2
    + ["retryable"]
)

FETCH = "django_river_job_fetch_idx"
DUE = "django_river_job_due_idx"
RUNNING = "django_river_job_running_idx"
FAILED = "django_river_job_failed_idx"
UNIQUE = "river_job_unique_idx"
PRIMARY = "river_job_pkey"
ROWID = "INTEGER PRIMARY KEY"
#: A step that reads the whole table, by whatever name; a scan of a partial index is none.
SCAN = re.compile(r"Seq Scan river_job\b|SCAN (river_job|job|holder)\b(?! USING)")

#: What to do, and the indexes one of which it must go by.
STATEMENTS = {
    "fetch of one queue": (lambda s, ids: s.job_fetch(ME, [Demand(queue="q1", limit=200)], 200), {FETCH}),
    "fetch of nine queues after a job": (
        lambda s, ids: s.job_fetch(
            ME, [Demand(queue=f"q{n}", limit=50, after=claimed(id=ids[n]).place) for n in range(9)], 200
        ),
        {FETCH},
    ),
    "fetch of one queue after a job": (
        lambda s, ids: s.job_fetch(ME, [Demand(queue="q1", limit=200, after=claimed(id=ids[0]).place)], 200),
        {FETCH},
    ),
    "fetch": (
        lambda s, ids: s.job_fetch(ME, [Demand(queue=f"q{n}", limit=50) for n in range(9)], 200),
        {FETCH},
    ),
    "fetch from many queues": (
        lambda s, ids: s.job_fetch(ME, [Demand(queue=f"q{n}", limit=10) for n in range(QUEUES)], 200),
        {FETCH},
    ),
    "fetch without": (
        lambda s, ids: s.job_fetch_without(
            ME,
            [Demand(queue=f"q{n}", limit=50) for n in range(9)],
            200,
            [LeftOut(queue="q1", kind="k", seconds=1)],
        ),
        {FETCH},
    ),
    "fetch matching": (
        lambda s, ids: s.job_fetch_matching(
            ME,
            [Wanted(queue=f"q{n}", kind="tests.work", limit=50, argument="a", value="1") for n in range(9)],
        ),
        {FETCH},
    ),
    "complete": (lambda s, ids: s.job_set_state_many(ME, _results(ids)), {RUNNING, PRIMARY, ROWID}),
    "complete one": (lambda s, ids: s.job_set_state_many(ME, _results(ids[:1])), {RUNNING, PRIMARY, ROWID}),
    "set state": (
        lambda s, ids: s.job_set_state_many(ME, _results(ids, error=b"{}")),
        {RUNNING, PRIMARY, ROWID},
    ),
    "set one state": (
        lambda s, ids: s.job_set_state_many(ME, _results(ids[:1], error=b"{}")),
        {RUNNING, PRIMARY, ROWID},
    ),
    "release unknown": (lambda s, ids: s.job_release_unknown(ME, ids), {RUNNING}),
    "has due": (lambda s, ids: s.job_has_due(["none", "q1"]), {FETCH}),
    "has due later": (lambda s, ids: s.job_has_due(["none"]), {DUE}),
    "look": (lambda s, ids: s.job_look(ME, [(id, 1) for id in ids]), {RUNNING, PRIMARY, ROWID}),
    "beat": (
        lambda s, ids: s.job_beat_many(ME, [JobBeat(id, 1, 0.0, b"{}", b"{}") for id in ids]),
        {RUNNING, PRIMARY, ROWID},
    ),
    "cancel": (lambda s, ids: s.job_cancel(ids), {PRIMARY, ROWID}),
    "retry": (lambda s, ids: s.job_retry(ids), {PRIMARY, ROWID}),
    "delete": (lambda s, ids: s.job_delete(ids), {PRIMARY, ROWID}),
    "duplicates": (
        lambda s, ids: s.job_insert_many([new(**unique(str(n))) for n in range(1, 300)]),
        {UNIQUE},
    ),
}


def _results(ids: list[int], **given: object) -> list[JobSetState]:
    return [JobSetState(id=id, attempt=1, state=State.COMPLETED, **given) for id in ids]


def _rescue(upkeep: Upkeep) -> object:
    return upkeep.job_rescue(
        rescue_after=HOUR, client_timeout=HOUR, poison_after=99, known_kinds=["k"], limit=1000
    )


def _clean(upkeep: Upkeep, state: State) -> object:
    retention = Retention(state=state, kept_for=HOUR, queues=("q3",))
    return upkeep.job_clean(retention, after=99, span=9999, slack=HOUR, limit=1000)


#: Claims that have to count, and what is asked of queues; of several sets, one index of each.
QUEUES_OF_THEIR_OWN = {
    "fetch within limits": (
        lambda s, ids: s.job_fetch_limited(ME, [_limited(n, most=ROWS) for n in range(9)], 200),
        {FETCH},
        {RUNNING},
    ),
    "fetch within a rate": (
        lambda s, ids: s.job_fetch_limited(ME, [_limited(n, rate=RateLimit(9, 1)) for n in range(9)], 200),
        {FETCH},
    ),
    "fetch by age": (
        lambda s, ids: s.job_fetch_limited(ME, [_limited(n, ageing=60.0) for n in range(9)], 200),
        {FETCH},
    ),
    "backlogs": (lambda s, ids: s.queue_backlogs([f"q{n}" for n in range(QUEUES)]), {FETCH}),
    "queues with jobs": (lambda s, ids: s.job_queues(), {FETCH}),
    "an idle follower's look": (lambda s, ids: s.leader_watch(with_queues=True), {FETCH}),
    "running": (lambda s, ids: s.queue_running(["q1", "q2", "none"]), {RUNNING}),
    "running in processes": (lambda s, ids: s.client_running("host.example", [1, 2]), {RUNNING}),
    "has open": (lambda s, ids: s.queue_open(["none"]), {FETCH}, {RUNNING}, {DUE}),
    "move what waits": (lambda s, ids: s.job_move("q1", "q2", 1000), {FETCH}),
    "move what waits for its time": (lambda s, ids: s._run("job_move_later", **MOVED), {DUE}),
    "delete what waits": (lambda s, ids: s.job_delete_in_queue("q1", 1000), {FETCH}),
    "delete what waits for its time": (lambda s, ids: s._run("job_delete_later", **DELETED), {DUE}),
}
DELETED = {"queue": "q1", "limit": 1000}
MOVED = {**DELETED, "to": "q2"}

#: What people and autoscalers look at.
FIGURES = {
    "depths": (lambda o: o.queue_depths([f"q{n}" for n in range(QUEUES)]), {FETCH}, {RUNNING}, {DUE}),
    "depths, counted to a few": (
        lambda o: o.queue_depths(["q1"], available_limit=100),
        {FETCH},
        {RUNNING},
        {DUE},
    ),
    "loads": (lambda o: o.client_loads(), {RUNNING}),
}


def _limited(number: int, **given: Any) -> LimitedDemand:
    return LimitedDemand(queue=f"q{number}", limit=50, **given)


#: The same for what the leader does.
UPKEEP = {
    "schedule": (lambda u: u.job_schedule(1000), {DUE}),
    "schedule without a leader": (lambda u: u.job_schedule_vacant(["q1"], 1000), {DUE}),
    "until due": (lambda u: u.job_seconds_until_due(), {DUE}),
    "an idle leader's look": (lambda u: u.client_watch(with_queues=True), {FETCH, DUE}),
    "rescue": (_rescue, {RUNNING}),
    "clean completed": (lambda u: _clean(u, State.COMPLETED), {PRIMARY, ROWID}),
    "clean discarded": (lambda u: _clean(u, State.DISCARDED), {FAILED}),
    "idle queues": (lambda u: u.queue_idle(untouched_for=HOUR, keep=["q1"], limit=9), {FETCH}),
    "clean queues": (lambda u: u.queue_clean(["q1", "none"], untouched_for=HOUR), {FETCH}),
    "search queues": (lambda u: u.queue_search(["q1", "none"], after=99, limit=999), {PRIMARY, ROWID}),
}


def _fill(store: Storage) -> None:
    if not store.can_notify:
        _fill_sqlite(store)
        return
    # A million in seconds. Of those that wait for their time few are due: the leader sees to it.
    # Not on our own connection, whose statements have a time limit: the machine may be busy.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO river_job (
                kind, args, queue, state, attempt, created_at, scheduled_at, attempted_at, attempted_by, finalized_at,
                unique_key, unique_states
            )
            SELECT 'tests.work', '{}', 'q' || number %% 5, state, CASE state WHEN 'available' THEN 0 ELSE 1 END, moment,
                CASE WHEN state IN ('retryable', 'scheduled') AND number %% 2000 > 20 THEN now() + (now() - moment)
                    ELSE moment END,
                CASE WHEN state <> 'available' THEN moment END,
                CASE WHEN state <> 'available' THEN ARRAY[%(client_id)s] END,
                CASE WHEN state IN ('completed', 'discarded') THEN moment END,
                CASE WHEN number %% 9 = 0 THEN rpad(number::text, 32, '.')::bytea END,
                CASE WHEN number %% 9 = 0 THEN %(mask)s::int::bit(8) END
            FROM generate_series(1, %(rows)s) AS row (number)
            CROSS JOIN LATERAL (
                SELECT (%(states)s::river_job_state[])[1 + number %% cardinality(%(states)s::river_job_state[])] AS state,
                    now() - make_interval(secs => number) AS moment
            ) AS drawn
            """,
            {"client_id": ME, "mask": bit_mask(DEFAULT_STATES), "rows": ROWS, "states": STATES},
        )
        cursor.execute("VACUUM (ANALYZE) river_job")


def _fill_sqlite(store: Storage) -> None:
    for state in sorted(set(STATES)):
        jobs = [
            new(
                queue=f"q{number % 5}",
                delay=-timedelta(seconds=number),
                **(unique(str(number)) if number % 9 == 0 else {}),
            )
            for number in range(SQLITE_ROWS)
            if STATES[number % len(STATES)] == state
        ]
        ids = [row.id for row in store.job_insert_many(jobs)]
        store.session.execute(
            f"UPDATE river_job SET state = '{state}', attempt = {state != 'available'}, "
            f"attempted_at = created_at, attempted_by = '[\"{ME}\"]', "
            f"finalized_at = {'created_at' if state in ('completed', 'discarded') else 'NULL'} "
            f"WHERE id BETWEEN {ids[0]} AND {ids[-1]}",
            {},
        )


class Plans:
    """The plans of the statements that a session runs, as text."""

    def __init__(self, session: Session) -> None:
        self.steps: list[str] = []
        self._execute = session.execute

    def execute(self, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        if re.match("SELECT|UPDATE|DELETE|WITH|INSERT", sql):
            self.steps += _explain(self._execute, sql, params)
        return self._execute(sql, params)


def _explain(execute, sql, params):
    if connection.vendor == "postgresql":
        ((plan,),) = execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        return list(_nodes(plan if isinstance(plan, list) else json.loads(plan)))
    return [detail for *_, detail in execute(f"EXPLAIN QUERY PLAN {sql}", params)]


def _nodes(plan) -> Iterator[str]:
    if isinstance(plan, list):
        for part in plan:
            yield from _nodes(part)
    elif isinstance(plan, dict):
        if "Node Type" in plan:
            yield " ".join(
                str(plan.get(key, "")) for key in ("Node Type", "Relation Name", "Index Name")
            ).strip()
        yield from _nodes(list(plan.values()))


#: What stores new rows reads none; it must not look for anything but by an index either.
INSERTS = {
    "insert": lambda s: s.job_insert_many([new()]),
    "insert later": lambda s: s.job_insert_many([new(delay=HOUR)]),
    "insert and notify": lambda s: s.job_insert_many([new()], notify=["default"]),
    "insert many": lambda s: s.job_insert_many([new() for _ in range(300)]),
    "insert very many": lambda s: s.job_insert_many([new() for _ in range(1000)]),
}


def _of_the_page(store: Storage) -> dict[str, Any]:
    """The queries of the documentation, which are for Postgres."""
    if not store.can_notify:
        return {}
    backlog, latency = (block.text.replace("thumbnails", "q1") for block in blocks("queues", "sql"))
    return {
        "backlog for others": (lambda: store.session.execute(backlog, {}), {FETCH}, {RUNNING}, {DUE}),
        "latency for others": (lambda: store.session.execute(latency, {}), {FETCH}),
    }


def _prepared(store: Storage) -> Iterator[str]:
    """What is planned once, for whatever will be asked."""
    if not store.can_notify:
        return
    store.session.execute("SET plan_cache_mode = force_generic_plan", {})
    for number, sql in enumerate(PREPARED):
        names = sorted(set(re.findall(r"%\((\w+)\)s", sql)))
        for place, name in enumerate(names, 1):
            sql = sql.replace(f"%({name})s", f"${place}")  # noqa: PLW2901
        store.session.execute(f"PREPARE plan_{number} AS {sql}", {})
        yield f"EXECUTE plan_{number} ({', '.join('NULL' for _ in names)})"
    store.session.execute("RESET plan_cache_mode", {})


def _steps(store: Storage, monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> list[str]:
    plans = Plans(store.session)
    with monkeypatch.context() as patch, pytest.raises(LookupError), store.session.atomic():
        patch.setattr(store.session, "execute", plans.execute)
        run()
        raise LookupError
    return plans.steps


def test_no_statement_reads_the_table(store, upkeep, monkeypatch):
    _fill(store)
    store.queue_touch([f"old{number}" for number in range(5)])
    # As many as a busy client has, of all ages.
    rows = store.session.execute("SELECT id FROM river_job WHERE state = 'running' ORDER BY id", {})
    ids = [id for (id,) in rows][:: len(rows) // 500]

    people = type(storage.for_people("default"))(store.session, "default")
    asked = {name: (partial(run, store, ids), *sets) for name, (run, *sets) in STATEMENTS.items()}
    asked |= {name: (partial(run, store, ids), *sets) for name, (run, *sets) in QUEUES_OF_THEIR_OWN.items()}
    asked |= {name: (partial(run, upkeep), *sets) for name, (run, *sets) in UPKEEP.items()}
    asked |= {name: (partial(run, people), *sets) for name, (run, *sets) in FIGURES.items()}
    asked |= _of_the_page(store)
    for name, (run, *sets) in asked.items():
        steps = _steps(store, monkeypatch, run)

        assert not [step for step in steps if SCAN.match(step)], name
        for indexes in sets:
            assert any(index in step for step in steps for index in indexes), (name, steps)
    for statement in _prepared(store):
        steps = _explain(store.session.execute, statement, {})

        assert not [step for step in steps if SCAN.match(step)], statement
        assert any(FETCH in step for step in steps), (statement, steps)
    for name, insert in INSERTS.items():
        steps = _steps(store, monkeypatch, lambda insert=insert: insert(store))

        assert not [step for step in steps if SCAN.match(step)], name
