"""Storage on Postgres."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.db import IntegrityError, OperationalError, connections
from psycopg.errors import DeadlockDetected

from django_river.jobs.states import State
from django_river.storage.base import (
    ATTEMPTED_BY_LIMIT,
    TOPIC_CONTROL,
    TOPIC_INSERT,
    ChangedJob,
    ClaimedJob,
    ClientInfo,
    Demand,
    InsertedJob,
    JobInsert,
    JobSetState,
    QueueState,
    StoredState,
)
from django_river.storage.payloads import cancel_payload, insert_payload, queue_payload
from django_river.storage.postgres.listener import PostgresListener
from django_river.storage.postgres.long_jobs import LongJobsDriver
from django_river.storage.postgres.session import PostgresSession
from django_river.storage.sessions import DjangoSession
from django_river.storage.statements import load

T = TypeVar("T")

SQL = load("django_river.storage.postgres")
#: What an idle worker's latency is made of: planning takes a quarter of it, and there is one good plan whatever is asked.
PREPARED = frozenset({SQL["job_fetch_of_queue"]})
#: From this many jobs on, COPY is faster than an INSERT from arrays.
COPY_FROM = 500
#: Rows handed to COPY at once.
COPY_ROWS = 1000
#: How often statements are tried that meet others: see :meth:`Driver._despite_races`.
TRIES = 5


def open_driver(using: str, *, timeout: float) -> Driver:
    """Storage on a connection of its own."""
    return Driver(PostgresSession(using, timeout=timeout, prepared=PREPARED))


def open_listener(using: str) -> PostgresListener:
    """A connection that hears notifications."""
    return PostgresListener(using)


class Driver(LongJobsDriver):
    """The contract in Postgres's words; what each statement does is said in the ``.sql`` files."""

    default_poll_interval = 1.0
    can_notify = True

    def client_beat(self, info: ClientInfo) -> str:
        rows = self._run("client_beat", **info.row())
        return rows[0][0] or ""

    def client_delete(self, client_id: str) -> None:
        self._run("client_delete", id=client_id)

    def job_cancel(self, ids: Sequence[int]) -> list[ChangedJob]:
        def attempt() -> list[ChangedJob]:
            jobs = [ChangedJob(*row) for row in self._run("job_cancel", ids=list(ids))]
            running = [cancel_payload(j.id, j.queue) for j in jobs if j.changed and j.state == "running"]
            if running:
                self.notify_many(TOPIC_CONTROL, running)
            return jobs

        return self._despite_races(attempt)

    def job_delete(self, ids: Sequence[int]) -> list[ChangedJob]:
        return [ChangedJob(*row) for row in self._run("job_delete", ids=list(ids))]

    def job_fetch(self, client_id: str, demands: Sequence[Demand], limit: int) -> list[ClaimedJob]:
        if len(demands) == 1:
            return self._fetch_of_queue(client_id, demands[0], limit)
        rows = self._run(
            "job_fetch",
            client_id=client_id,
            queues=[demand.queue for demand in demands],
            limits=[demand.limit for demand in demands],
            after_ids=[demand.after and demand.after.id for demand in demands],
            after_priorities=[demand.after and demand.after.priority for demand in demands],
            after_waited=[demand.after and demand.after.waited for demand in demands],
            limit=limit,
            attempted_by_limit=ATTEMPTED_BY_LIMIT,
        )
        return [ClaimedJob._make(row) for row in rows]

    def job_has_due(self, queues: Sequence[str], *, scheduled: bool = True) -> bool:
        return bool(self._run("job_has_due", queues=list(queues), scheduled=scheduled)[0][0])

    def job_insert_many(
        self, jobs: Sequence[JobInsert], *, notify: Collection[str] = (), are_open: bool = False
    ) -> list[InsertedJob]:
        if len(jobs) == 1 and jobs[0].unique_key is None and len(notify) <= 1:
            insert = self._insert_now if are_open and _is_to_run_now(jobs[0]) else self._insert_one
            return [insert(jobs[0], notify)]
        plain = all(job.unique_key is None for job in jobs)
        with self.session.atomic():
            inserted = self._copy(jobs) if plain and self._can_copy(jobs) else self._insert_many(jobs)
            if notify:
                self.notify_many(TOPIC_INSERT, [insert_payload(queue) for queue in notify])
        return inserted

    def job_queues(self) -> list[str]:
        return [queue for (queue,) in self._run("job_queues")]

    def job_release_unknown(self, client_id: str, known_ids: Sequence[int]) -> list[int]:
        rows = self._run("job_release_unknown", client_id=client_id, known_ids=list(known_ids))
        return [id for (id,) in rows]

    def job_retry(self, ids: Sequence[int]) -> list[ChangedJob]:
        def attempt() -> list[ChangedJob]:
            jobs = [ChangedJob(*row) for row in self._run("job_retry", ids=list(ids))]
            queues = sorted({job.queue for job in jobs if job.changed})
            if queues:
                self.notify_many(TOPIC_INSERT, [insert_payload(queue) for queue in queues])
            return jobs

        return self._despite_races(attempt)

    def job_set_state_many(self, client_id: str, changes: Sequence[JobSetState]) -> list[StoredState]:
        plain: dict[int, list[int]] = {}
        others: list[JobSetState] = []
        for change in changes:
            if change.is_plain_success:
                plain.setdefault(change.attempt, []).append(change.id)
            else:
                others.append(change)
        if len(plain) == 1 and not others:
            return self._set_states(client_id, plain, others)
        with self.session.atomic():
            # Several statements, or one whose plan follows no order: without this, whoever cancels or retries many
            # jobs, in the order of their ids, could wait for us while we wait for them.
            self._run("job_lock", ids=_array(change.id for change in changes))
            return self._set_states(client_id, plain, others)

    def notify_many(self, topic: str, payloads: Sequence[str]) -> None:
        self._run("notify_many", topic=topic, payloads=list(payloads))

    def queue_list(self, names: Sequence[str]) -> list[QueueState]:
        return [QueueState(*row) for row in self._run("queue_list", names=list(names))]

    def queue_pause(self, name: str) -> list[str]:
        return self._change_queue("queue_pause", name, "pause")

    def queue_resume(self, name: str) -> list[str]:
        return self._change_queue("queue_resume", name, "resume")

    def queue_touch(self, names: Sequence[str]) -> list[QueueState]:
        return [QueueState(*row) for row in self._run("queue_touch", names=list(names))]

    def _change_queue(self, statement: str, name: str, action: str) -> list[str]:
        with self.session.atomic():
            names = [name for (name,) in self._run(statement, name=name)]
            if names:
                payloads = ["*"] if name == "*" else names
                self.notify_many(TOPIC_CONTROL, [queue_payload(action, queue) for queue in payloads])
        return names

    def _set_states(
        self, client_id: str, plain: dict[int, list[int]], others: list[JobSetState]
    ) -> list[StoredState]:
        stored: list[StoredState] = []
        for attempt, ids in plain.items():
            ids.sort()
            rows = self._run("job_complete", ids=_array(ids), attempt=attempt, client_id=client_id)
            stored += [StoredState(id, State.COMPLETED) for (id,) in rows]
        if others:
            others.sort(key=lambda change: change.id)
            rows = self._run(
                "job_set_state_many",
                client_id=client_id,
                ids=[change.id for change in others],
                attempts=[change.attempt for change in others],
                states=[change.state.value for change in others],
                delays=[None if change.delay is None else change.delay.total_seconds() for change in others],
                errors=[None if change.error is None else change.error.decode() for change in others],
                metadata=[None if change.metadata is None else change.metadata.decode() for change in others],
                give_back=[change.give_attempt_back for change in others],
            )
            stored += [StoredState._make(row) for row in rows]
        return stored

    def _fetch_of_queue(self, client_id: str, demand: Demand, limit: int) -> list[ClaimedJob]:
        params = {
            "client_id": client_id,
            "queue": demand.queue,
            "limit": min(demand.limit, limit),
            "attempted_by_limit": ATTEMPTED_BY_LIMIT,
        }
        if demand.after is None:
            rows = self._run("job_fetch_of_queue", **params)
        else:
            id, priority, waited = demand.after
            place = {"after_id": id, "after_priority": priority, "after_waited": waited}
            rows = self._run("job_fetch_of_queue_after", **params, **place)
        jobs = [ClaimedJob._make(row) for row in rows]
        jobs.sort(key=lambda job: (job.priority, -job.waited, job.id))
        return jobs

    def _insert_now(self, job: JobInsert, notify: Collection[str]) -> InsertedJob:
        params = _params(job)
        if notify:
            (queue,) = notify
            params["payload"] = insert_payload(queue)
            name = "job_insert_plain_now_and_notify" if _is_plain(job) else "job_insert_now_and_notify"
        else:
            name = "job_insert_plain_now" if _is_plain(job) else "job_insert_now"
        id, now, *_ = self.session.execute(SQL[name], params)[0]
        now = datetime.fromisoformat(now)
        return InsertedJob(id, "available", 0, now, now, False, job.max_attempts)

    def _insert_one(self, job: JobInsert, notify: Collection[str]) -> InsertedJob:
        rows = self._run(
            "job_insert",
            scheduled_at=job.scheduled_at,
            delay=job.delay,
            pending=job.pending,
            inherits=job.inherits_max_attempts,
            payload=insert_payload(*notify) if notify else None,
            **_params(job),
        )
        if not rows:
            self.as_queues_say([job])
            # It has been opened again since.
            return self._insert_one(job, notify)
        return InsertedJob._make(rows[0][:-1])

    def _insert_many(self, jobs: Sequence[JobInsert]) -> list[InsertedJob]:
        inserted: dict[int, InsertedJob] = {}
        missing = list(range(len(jobs)))
        for _ in range(TRIES):
            rows = self._run("job_insert_many", **_columns([jobs[index] for index in missing]))
            if any(row[-1] for row in rows):
                self.as_queues_say(jobs)
                # It has been opened again since.
                continue
            inserted |= {
                index: InsertedJob._make(row[:-1])
                for index, row in zip(missing, rows, strict=True)
                if row[0] is not None
            }
            missing = [index for index in missing if index not in inserted]
            if missing:
                keys = [jobs[index].unique_key for index in missing]
                rows = self._run("job_by_unique_key", unique_keys=keys)
                holders = {bytes(key): InsertedJob(*row) for *row, key in rows}
                inserted |= {i: holders[key] for i, key in zip(missing, keys, strict=True) if key in holders}
            # A holder may have gone between the two statements: then there is room, and we try again.
            missing = [index for index in missing if index not in inserted]
            if not missing:
                return [inserted[index] for index in range(len(jobs))]
        raise IntegrityError(f"unique job of kind {jobs[missing[0]].kind!r} could not be inserted or found")

    def _can_copy(self, jobs: Sequence[JobInsert]) -> bool:
        return len(jobs) >= COPY_FROM and isinstance(self.session, DjangoSession)

    def _copy(self, jobs: Sequence[JobInsert]) -> list[InsertedJob]:
        assert isinstance(self.session, DjangoSession)
        jobs = self.as_queues_say(jobs)
        connection = connections[self.session.using]
        drawn = self._run("job_insert_ids", count=len(jobs))
        now = drawn.pop()[1]
        # Without USE_TZ, moments are read in the zone of the connection.
        zone = ZoneInfo(connection.timezone_name) if now.tzinfo is None else None
        inserted = []
        with (
            connection.wrap_database_errors,
            connection.cursor() as cursor,
            cursor.copy(SQL["job_insert_copy"]) as copy,
        ):
            for start in range(0, len(jobs), COPY_ROWS):
                part = slice(start, start + COPY_ROWS)
                rows = [
                    _planned(job, id, now, zone) for job, (id, _) in zip(jobs[part], drawn[part], strict=True)
                ]
                copy.write("".join(map(_copied, jobs[part], rows, repeat(str(now)))))
                inserted += rows
        return inserted

    def _despite_races(self, attempt: Callable[[], T]) -> T:
        """Run statements that can meet others: an insert that takes a unique key after they looked, or a deadlock.

        A deadlock inside the caller's transaction has ended that; it is the caller's to begin again.
        """
        for tries_left in reversed(range(TRIES)):
            is_ours = not self.session.in_transaction
            try:
                with self.session.atomic():
                    return attempt()
            except IntegrityError:
                if not tries_left:
                    raise
            except OperationalError as error:
                if not (tries_left and is_ours and isinstance(error.__cause__, DeadlockDetected)):
                    raise
        raise AssertionError("unreachable")


def _array(ids: Iterable[int]) -> str:
    """An array as the server reads it: psycopg looks at every element by itself, which takes many times as long."""
    return "{" + ",".join(map(str, ids)) + "}"


def _planned(job: JobInsert, id: int, now: datetime, zone: ZoneInfo | None) -> InsertedJob:
    """What becomes of a job that is stored now."""
    if _is_to_run_now(job):
        return InsertedJob(id, "available", 0, now, now, False, job.max_attempts)
    due = now + (job.delay or timedelta(0))
    if job.scheduled_at is not None:
        due = job.scheduled_at if zone is None else job.scheduled_at.astimezone(zone).replace(tzinfo=None)
    state = "pending" if job.pending else "scheduled" if due > now else "available"
    return InsertedJob(id, state, 0, due, now, False, job.max_attempts)


def _copied(job: JobInsert, row: InsertedJob, now: str) -> str:
    """A row as COPY reads it, which psycopg would write cell by cell. Only JSON may hold what has to be escaped."""
    args = job.args.decode().replace("\\", "\\\\")
    metadata = job.metadata.decode().replace("\\", "\\\\")
    due = now if row.scheduled_at is row.created_at else row.scheduled_at
    return (
        f"{row.id}\t{job.kind}\t{args}\t{job.queue}\t{job.priority}\t{job.max_attempts}\t{metadata}\t{_tags(job)}\t"
        f"{due}\t{row.state}\t{now}\n"
    )


def _is_to_run_now(job: JobInsert) -> bool:
    return job.scheduled_at is None and job.delay is None and not job.pending


def _params(job: JobInsert) -> dict[str, Any]:
    return {
        "kind": job.kind,
        "args": job.args.decode(),
        "queue": job.queue,
        "priority": job.priority,
        "max_attempts": job.max_attempts,
        "metadata": job.metadata.decode(),
        "tags": _tags(job),
    }


def _is_plain(job: JobInsert) -> bool:
    """Whether it has neither metadata nor tags."""
    return job.metadata == b"{}" and not job.tags


def _tags(job: JobInsert) -> str:
    """Tags as the server reads an array; their characters need no more than quotes."""
    return "{" + ",".join([f'"{tag}"' for tag in job.tags]) + "}" if job.tags else "{}"


def _columns(jobs: Sequence[JobInsert]) -> dict[str, list[Any]]:
    return {
        "kinds": [job.kind for job in jobs],
        "args": [job.args.decode() for job in jobs],
        "queues": [job.queue for job in jobs],
        "priorities": [job.priority for job in jobs],
        "max_attempts": [job.max_attempts for job in jobs],
        "inherits": [job.inherits_max_attempts for job in jobs],
        "metadata": [job.metadata.decode() for job in jobs],
        # Rows of an unnested array of arrays would be flattened; tags hold no commas.
        "tags": [",".join(job.tags) for job in jobs],
        "scheduled_at": [job.scheduled_at for job in jobs],
        "delays": [None if job.delay is None else job.delay.total_seconds() for job in jobs],
        "pending": [job.pending for job in jobs],
        "unique_keys": [job.unique_key for job in jobs],
        "unique_states": [job.unique_states for job in jobs],
    }
