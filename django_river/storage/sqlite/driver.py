"""Storage on SQLite: the same behaviour, for one machine."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError

from django_river.storage.base import (
    ATTEMPTED_BY_LIMIT,
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
from django_river.storage.sqlite.batches import as_claimed
from django_river.storage.sqlite.long_jobs import LongJobsDriver
from django_river.storage.sqlite.metadata import merged
from django_river.storage.sqlite.moments import as_moment as _moment
from django_river.storage.sqlite.moments import as_text as _text
from django_river.storage.sqlite.session import SqliteSession
from django_river.storage.statements import load

SQL = load("django_river.storage.sqlite")


def open_driver(using: str, *, timeout: float) -> Driver:
    """Storage on a connection of its own."""
    return Driver(SqliteSession(using, timeout=timeout))


def open_listener(using: str) -> None:
    """SQLite has no notifications: clients of one process wake one another, and all poll."""


class Driver(LongJobsDriver):
    """The contract in SQLite's words; what each statement does is said in ``river.sql``."""

    default_poll_interval = 0.2
    can_notify = False

    def client_beat(self, info: ClientInfo) -> str:
        with self.session.atomic():
            rows = self._run("client_lost_why", id=info.id)
            self._beat(info)
        return rows[0][0] if rows else ""

    def client_delete(self, client_id: str) -> None:
        self._run("client_delete", id=client_id)

    def job_cancel(self, ids: Sequence[int]) -> list[ChangedJob]:
        return self._change("job_cancel", ids)

    def job_delete(self, ids: Sequence[int]) -> list[ChangedJob]:
        return self._change("job_delete", ids)

    def job_fetch(self, client_id: str, demands: Sequence[Demand], limit: int) -> list[ClaimedJob]:
        ready = {
            name for (name,) in self._run("job_ready_queues", queues=json.dumps([d.queue for d in demands]))
        }
        if not ready:
            return []
        claimed: list[ClaimedJob] = []
        with self.session.atomic():
            for demand in demands:
                room = min(demand.limit, limit - len(claimed))
                if demand.queue not in ready or room <= 0:
                    continue
                rows = self._run(
                    "job_fetch",
                    client_id=client_id,
                    queue=demand.queue,
                    limit=room,
                    attempted_by_limit=ATTEMPTED_BY_LIMIT,
                )
                # RETURNING knows no order.
                rows.sort(key=lambda row: (row[3], row[9], row[0]))
                claimed += map(as_claimed, rows)
        return claimed

    def job_has_due(self, queues: Sequence[str], *, scheduled: bool = True) -> bool:
        return bool(self._run("job_has_due", queues=json.dumps(list(queues)), scheduled=scheduled)[0][0])

    def job_insert_many(
        self, jobs: Sequence[JobInsert], *, notify: Collection[str] = (), are_open: bool = False
    ) -> list[InsertedJob]:
        if len(jobs) == 1 and jobs[0].unique_key is None:
            return [self._insert(jobs[0])]
        with self.session.atomic():
            return [self._insert(job) for job in jobs]

    def job_queues(self) -> list[str]:
        return [queue for (queue,) in self._run("job_queues")]

    def job_release_unknown(self, client_id: str, known_ids: Sequence[int]) -> list[int]:
        rows = self._run("job_release_unknown", client_id=client_id, known_ids=json.dumps(list(known_ids)))
        return [id for (id,) in rows]

    def job_retry(self, ids: Sequence[int]) -> list[ChangedJob]:
        with self.session.atomic():
            before = self._run("job_states", ids=json.dumps(list(ids)))
            changed = {id for id, _, _ in before if self._run("job_retry", id=id)}
        return [
            ChangedJob(id, queue, "available" if id in changed else state, id in changed)
            for id, queue, state in before
        ]

    def job_set_state_many(self, client_id: str, changes: Sequence[JobSetState]) -> list[StoredState]:
        plain: dict[int, list[int]] = {}
        stored: list[tuple[Any, ...]] = []
        with self.session.atomic():
            for change in changes:
                if change.is_plain_success:
                    plain.setdefault(change.attempt, []).append(change.id)
                else:
                    stored += self._set_state(client_id, change)
            for attempt, ids in plain.items():
                stored += self._run("job_complete", ids=json.dumps(ids), attempt=attempt, client_id=client_id)
        return [StoredState(*row) for row in stored]

    def notify_many(self, topic: str, payloads: Sequence[str]) -> None:
        """Nobody could hear it."""

    def queue_list(self, names: Sequence[str]) -> list[QueueState]:
        rows = self._run("queue_list", names=json.dumps(list(names)))
        return [QueueState(name, bool(is_paused)) for name, is_paused in rows]

    def queue_pause(self, name: str) -> list[str]:
        with self.session.atomic():
            if name != "*":
                self._run("queue_insert", name=name)
            return [name for (name,) in self._run("queue_pause", name=name)]

    def queue_resume(self, name: str) -> list[str]:
        return [name for (name,) in self._run("queue_resume", name=name)]

    def queue_touch(self, names: Sequence[str]) -> list[QueueState]:
        rows = self._run("queue_touch", names=json.dumps(list(names)))
        return [QueueState(name, paused_at is not None) for name, paused_at in rows]

    def _beat(self, info: ClientInfo) -> None:
        self._run("client_beat", **info.row())

    def _change(self, statement: str, ids: Sequence[int]) -> list[ChangedJob]:
        with self.session.atomic():
            before = self._run("job_states", ids=json.dumps(list(ids)))
            after = dict(self._run(statement, ids=json.dumps(list(ids))))
        return [ChangedJob(id, queue, after.get(id, state), id in after) for id, queue, state in before]

    def _insert(self, job: JobInsert) -> InsertedJob:
        now = datetime.now(UTC)
        rows = self._run(
            "job_insert",
            now=_text(now),
            kind=job.kind,
            args=job.args.decode(),
            queue=job.queue,
            priority=job.priority,
            max_attempts=job.max_attempts,
            inherits=job.inherits_max_attempts,
            metadata=job.metadata.decode(),
            tags=json.dumps(list(job.tags)),
            scheduled_at=_text(job.scheduled_at or now + (job.delay or timedelta(0))),
            pending=job.pending,
            unique_key=job.unique_key,
            unique_states=job.unique_states,
        )
        skipped = not rows
        if skipped:
            self.as_queues_say([job])
            rows = [(*row, None) for row in self._run("job_by_unique_key", unique_key=job.unique_key)]
        if not rows:
            raise IntegrityError(f"unique job of kind {job.kind!r} could not be inserted or found")
        id, state, attempt, scheduled_at, created_at, attempts = rows[0]
        return InsertedJob(id, state, attempt, _moment(scheduled_at), _moment(created_at), skipped, attempts)

    def _set_state(self, client_id: str, change: JobSetState) -> list[tuple[Any, ...]]:
        due_at = None if change.delay is None else _text(datetime.now(UTC) + change.delay)
        rows = self._run(
            "job_set_state",
            client_id=client_id,
            id=change.id,
            attempt=change.attempt,
            state=change.state.value,
            due_at=due_at,
            error=None if change.error is None else change.error.decode(),
            give_attempt_back=change.give_attempt_back,
        )
        if rows and change.metadata is not None:
            ((before,),) = self._run("job_metadata", id=change.id)
            self._run("job_set_metadata", id=change.id, metadata=merged(before, change.metadata))
        return rows
