"""Rows of queues, and claims that have to count, on SQLite; what each statement does is said in ``queue_row.sql``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django_river.histogram import encoded
from django_river.storage.base import ATTEMPTED_BY_LIMIT, ClaimedJob, Demand
from django_river.storage.queues import (
    BACKLOG_LIMIT,
    MINUTES_KEPT,
    Backlog,
    Claim,
    LimitedDemand,
    MinuteFigures,
    ProcessLoad,
    QueueRow,
    Removal,
    Starts,
    begun,
    forget_exhausted,
    read_starts,
    sizes,
)
from django_river.storage.sqlite.batches import BatchesDriver, as_claimed
from django_river.storage.sqlite.moments import as_moment, as_text
from django_river.terms import Term


class QueuesDriver(BatchesDriver):
    """The part of the driver that is about queues."""

    def client_running(self, host: str, pids: Sequence[int]) -> list[ProcessLoad]:
        rows = self._run("client_running", host=host, pids=json.dumps(list(pids)))
        return [
            ProcessLoad(pid, queue, running, _seconds_since(oldest)) for pid, queue, running, oldest in rows
        ]

    def job_delete_in_queue(self, queue: str, limit: int) -> int:
        found = self._run("job_delete_available", queue=queue, limit=limit)
        return len(found or self._run("job_delete_later", queue=queue, limit=limit))

    def job_fetch_limited(
        self, client_id: str, demands: Sequence[LimitedDemand], limit: int, *, term: Term | None = None
    ) -> Claim:
        # First a look: an idle worker must not take the write lock at every poll.
        if not self._run("job_ready_queues", queues=json.dumps([demand.queue for demand in demands])):
            return Claim()
        with self.session.atomic():
            if term is not None and not self._run(
                "leader_hold", leader_id=term.leader_id, elected_at=as_text(term.elected_at)
            ):
                return Claim()
            began = time.monotonic()
            claim, starts = Claim(), self._starts(demands)
            running = self.queue_running([demand.queue for demand in demands if demand.most is not None])
            found = sizes(demands, running, starts, claim.again_in)
            for demand in demands:
                room = min(found[demand.queue], limit - len(claim.jobs))
                if room > 0:
                    claim.jobs += self._fetch(client_id, demand, room)
            forget_exhausted(claim, [demand for demand in demands if found[demand.queue]], found, limit)
            for name, remembered in begun(claim.jobs, starts, after=time.monotonic() - began):
                self._run("queue_starts_set", name=name, starts=remembered)
            return claim

    def job_move(self, queue: str, to: str, limit: int) -> int:
        found = self._run("job_move_available", queue=queue, to=to, limit=limit)
        return len(found or self._run("job_move_later", queue=queue, to=to, limit=limit))

    def queue_apply(self, client_id: str, applied: str) -> None:
        self._run("queue_apply", client_id=client_id, applied=applied)

    def queue_backlogs(self, names: Sequence[str]) -> list[Backlog]:
        rows = self._run("queue_backlogs", names=json.dumps(list(names)), limit=BACKLOG_LIMIT)
        return [Backlog(name, available, _seconds_since(oldest)) for name, available, oldest in rows]

    def queue_open(self, names: Sequence[str]) -> set[str]:
        return {name for (name,) in self._run("queue_open", names=json.dumps(list(names)))}

    def queue_minute(self) -> datetime:
        return datetime.now(UTC).replace(second=0, microsecond=0)

    def queue_minute_prune(self) -> None:
        self._run("queue_minute_prune", before=as_text(datetime.now(UTC) - MINUTES_KEPT))

    def queue_minute_put(self, minute: datetime, client_id: str, figures: Sequence[MinuteFigures]) -> None:
        with self.session.atomic():
            for seen in figures:
                self._run(
                    "queue_minute_put",
                    minute=as_text(minute),
                    client_id=client_id,
                    queue=seen.queue,
                    completed=seen.completed,
                    failed=seen.failed,
                    waits=json.dumps(encoded(seen.waits)),
                    runs=json.dumps(encoded(seen.runs)),
                )

    def queue_resume_at(
        self, names: Sequence[str], *, moment: datetime | None = None, delay: timedelta | None = None
    ) -> None:
        if moment is None and delay is None:
            self._run("queue_forget_resume", names=json.dumps(list(names)))
            return
        resume_at = as_text(moment or datetime.now(UTC) + (delay or timedelta(0)))
        self._run("queue_resume_at", names=json.dumps(list(names)), resume_at=resume_at)

    def queue_seconds_until_resume(self) -> float | None:
        ((resume_at,),) = self._run("queue_seconds_until_resume")
        return None if resume_at is None else (as_moment(resume_at) - datetime.now(UTC)).total_seconds()

    def queue_resume_due(self) -> list[str]:
        with self.session.atomic():
            due = [name for (name,) in self._run("queue_resume_due")]
            return [name for queue in due for (name,) in self._run("queue_resume", name=queue)]

    def queue_row_add(self, name: str, settings: str) -> bool:
        with self.session.atomic():
            found = self._run("queue_row_get", name=name)
            if found and not found[0][1]:
                return False
            self._run("queue_row_put", name=name, settings=settings, removal="", moved_to="")
            return True

    def queue_row_change(self, name: str, settings: str, *, inherit: Sequence[str] = ()) -> None:
        with self.session.atomic():
            found = self._run("queue_row_get", name=name)
            if not found:
                self._run("queue_row_put", name=name, settings=settings, removal="", moved_to="")
                return
            merged = {**json.loads(found[0][0]), **json.loads(settings)}
            kept = {key: value for key, value in merged.items() if key not in inherit}
            self._run("queue_row_settings", name=name, settings=json.dumps(kept))

    def queue_row_close(self, name: str, removal: Removal, moved_to: str = "") -> None:
        with self.session.atomic():
            found = self._run("queue_row_get", name=name)
            settings = found[0][0] if found else "{}"
            self._run("queue_row_put", name=name, settings=settings, removal=removal.value, moved_to=moved_to)

    def queue_row_digest(self) -> str:
        return str(self._run("queue_row_digest")[0][0])

    def queue_row_list(self, names: Sequence[str] | None = None) -> list[QueueRow]:
        rows = self._run("queue_row_list", names=None if names is None else json.dumps(list(names)))
        return [QueueRow._make((*row[:4], bool(row[4]), str(row[5]))) for row in rows]

    def queue_row_prune(self, keep: Sequence[str], kept_for: timedelta) -> list[str]:
        before = as_text(datetime.now(UTC) - kept_for)
        with self.session.atomic():
            gone = [
                name for (name,) in self._run("queue_row_prune", before=before, keep=json.dumps(list(keep)))
            ]
            for statement in ("queue_forget", "queue_starts_forget"):
                self._run(statement, names=json.dumps(gone))
        return sorted(gone)

    def queue_row_set_removed(self, name: str, *, is_removed: bool) -> None:
        removed_at = as_text(datetime.now(UTC)) if is_removed else None
        self._run("queue_row_set_removed", name=name, removed_at=removed_at)

    def queue_running(self, names: Sequence[str]) -> dict[str, int]:
        return dict(self._run("queue_running", queues=json.dumps(list(names)))) if names else {}

    def _starts(self, demands: Sequence[LimitedDemand]) -> dict[str, Starts]:
        rates = {demand.queue: demand.rate for demand in demands if demand.rate is not None}
        rows = self._run("queue_starts", queues=json.dumps(list(rates))) if rates else []
        now = datetime.now(UTC).timestamp()
        return {name: Starts(rates[name], read_starts(raw), now) for name, raw in rows}

    def _fetch(self, client_id: str, demand: LimitedDemand, limit: int) -> list[ClaimedJob]:
        if demand.ageing is None:
            return self.job_fetch(client_id, [Demand(queue=demand.queue, limit=limit)], limit)
        candidates = [
            row
            for priority in (1, 2, 3, 4)
            for row in self._run("job_fetch_aged", queue=demand.queue, priority=priority, limit=limit)
        ]
        order = _aged(candidates, demand.ageing)[:limit]
        rows = self._run(
            "job_fetch_chosen",
            client_id=client_id,
            ids=json.dumps(order),
            attempted_by_limit=ATTEMPTED_BY_LIMIT,
        )
        # RETURNING knows no order.
        return sorted(map(as_claimed, rows), key=lambda job: order.index(job.id))


def _seconds_since(moment: str | None) -> float:
    return 0.0 if moment is None else max(0.0, (datetime.now(UTC) - as_moment(moment)).total_seconds())


def _aged(candidates: Sequence[tuple[Any, ...]], ageing: float) -> list[int]:
    """Ids, first those whose priority is highest when so many seconds of waiting count as one."""
    now = datetime.now(UTC)

    def place(row: tuple[Any, ...]) -> tuple[float, str, int]:
        id, priority, scheduled_at = row
        waited = (now - as_moment(scheduled_at)).total_seconds()
        return max(1, priority - waited // ageing), str(scheduled_at), id

    return [row[0] for row in sorted(candidates, key=place)]
