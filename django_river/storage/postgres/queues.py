"""Rows of queues, and claims that have to count, on Postgres; what each statement does is said in ``queue_row.sql``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django_river.histogram import encoded
from django_river.storage.base import (
    ATTEMPTED_BY_LIMIT,
    TOPIC_CONTROL,
    TOPIC_INSERT,
    TOPIC_QUEUES,
    ClaimedJob,
    Demand,
)
from django_river.storage.payloads import QUEUES_CHANGED, insert_payload, queue_payload
from django_river.storage.postgres.batches import BatchesDriver
from django_river.storage.queues import (
    BACKLOG_LIMIT,
    BUSY_SECONDS,
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
from django_river.terms import Term

#: The first half of the keys of advisory locks on queues: "river", as the alphabet counts.
LOCK_SPACE = 18_92_25_18


class QueuesDriver(BatchesDriver):
    """The part of the driver that is about queues."""

    def client_running(self, host: str, pids: Sequence[int]) -> list[ProcessLoad]:
        rows = self._run("client_running", host=host, pids=list(pids))
        return [ProcessLoad(pid, queue, running, max(0.0, longest)) for pid, queue, running, longest in rows]

    def job_delete_in_queue(self, queue: str, limit: int) -> int:
        found = self._run("job_delete_available", queue=queue, limit=limit)
        return len(found or self._run("job_delete_later", queue=queue, limit=limit))

    def job_fetch_limited(
        self, client_id: str, demands: Sequence[LimitedDemand], limit: int, *, term: Term | None = None
    ) -> Claim:
        with self.session.atomic():
            if term is not None and not self._run(
                "leader_hold", leader_id=term.leader_id, elected_at=term.elected_at
            ):
                return Claim()
            claim = Claim()
            counted = [demand.queue for demand in demands if demand.is_counted]
            ours = {name for (name,) in self._run("queue_lock", queues=counted, space=LOCK_SPACE)}
            claim.again_in = dict.fromkeys(set(counted) - ours, BUSY_SECONDS)
            free = [demand for demand in demands if demand.queue not in claim.again_in]
            began = time.monotonic()
            starts = self._starts(free)
            running = self.queue_running([demand.queue for demand in free if demand.most is not None])
            found = sizes(free, running, starts, claim.again_in)
            asked = [demand for demand in free if found[demand.queue] > 0]
            if asked:
                claim.jobs = self._fetch(client_id, asked, found, limit)
                forget_exhausted(claim, asked, found, limit)
                for name, remembered in begun(claim.jobs, starts, after=time.monotonic() - began):
                    self._run("queue_starts_set", name=name, starts=remembered)
            return claim

    def job_move(self, queue: str, to: str, limit: int) -> int:
        with self.session.atomic():
            moved = len(self._run("job_move_available", queue=queue, to=to, limit=limit))
            if moved:
                self.notify_many(TOPIC_INSERT, [insert_payload(to)])
                return moved
            return len(self._run("job_move_later", queue=queue, to=to, limit=limit))

    def queue_apply(self, client_id: str, applied: str) -> None:
        self._run("queue_apply", client_id=client_id, applied=applied)

    def queue_backlogs(self, names: Sequence[str]) -> list[Backlog]:
        rows = self._run("queue_backlogs", names=list(names), limit=BACKLOG_LIMIT)
        return [Backlog(name, available, max(0.0, waiting)) for name, available, waiting in rows]

    def queue_open(self, names: Sequence[str]) -> set[str]:
        return {name for (name,) in self._run("queue_open", names=list(names))}

    def queue_minute(self) -> datetime:
        minute: datetime = self._run("queue_minute")[0][0]
        return minute

    def queue_minute_prune(self) -> None:
        self._run("queue_minute_prune", kept=MINUTES_KEPT)

    def queue_minute_put(self, minute: datetime, client_id: str, figures: Sequence[MinuteFigures]) -> None:
        self._run(
            "queue_minute_put",
            minute=minute,
            client_id=client_id,
            queues=[seen.queue for seen in figures],
            completed=[seen.completed for seen in figures],
            failed=[seen.failed for seen in figures],
            waits=[json.dumps(encoded(seen.waits)) for seen in figures],
            runs=[json.dumps(encoded(seen.runs)) for seen in figures],
        )

    def queue_resume_at(
        self, names: Sequence[str], *, moment: datetime | None = None, delay: timedelta | None = None
    ) -> None:
        if moment is None and delay is None:
            self._run("queue_forget_resume", names=list(names))
        else:
            self._run(
                "queue_resume_at", names=list(names), moment=moment, delay=delay, payload=QUEUES_CHANGED
            )

    def queue_seconds_until_resume(self) -> float | None:
        seconds: float | None = self._run("queue_seconds_until_resume")[0][0]
        return seconds

    def queue_resume_due(self) -> list[str]:
        with self.session.atomic():
            due = [name for (name,) in self._run("queue_resume_due")]
            resumed = [name for queue in due for (name,) in self._run("queue_resume", name=queue)]
            if resumed:
                self.notify_many(TOPIC_CONTROL, [queue_payload("resume", name) for name in resumed])
        return resumed

    def queue_row_add(self, name: str, settings: str) -> bool:
        return bool(self._run("queue_row_add", name=name, settings=settings, payload=QUEUES_CHANGED))

    def queue_row_change(self, name: str, settings: str, *, inherit: Sequence[str] = ()) -> None:
        self._run(
            "queue_row_change", name=name, settings=settings, inherit=list(inherit), payload=QUEUES_CHANGED
        )

    def queue_row_close(self, name: str, removal: Removal, moved_to: str = "") -> None:
        self._run(
            "queue_row_close", name=name, removal=removal.value, moved_to=moved_to, payload=QUEUES_CHANGED
        )

    def queue_row_digest(self) -> str:
        return str(self._run("queue_row_digest")[0][0])

    def queue_row_list(self, names: Sequence[str] | None = None) -> list[QueueRow]:
        rows = self._run("queue_row_list", names=None if names is None else list(names))
        return [QueueRow._make(row) for row in rows]

    def queue_row_prune(self, keep: Sequence[str], kept_for: timedelta) -> list[str]:
        with self.session.atomic():
            gone = [name for (name,) in self._run("queue_row_prune", keep=list(keep), kept_for=kept_for)]
            if gone:
                self.notify_many(TOPIC_QUEUES, [QUEUES_CHANGED])
        return gone

    def queue_row_set_removed(self, name: str, *, is_removed: bool) -> None:
        self._run("queue_row_set_removed", name=name, is_removed=is_removed, payload=QUEUES_CHANGED)

    def queue_running(self, names: Sequence[str]) -> dict[str, int]:
        return dict(self._run("queue_running", queues=list(names))) if names else {}

    def _starts(self, demands: Sequence[LimitedDemand]) -> dict[str, Starts]:
        rates = {demand.queue: demand.rate for demand in demands if demand.rate is not None}
        rows = self._run("queue_starts", queues=list(rates)) if rates else []
        return {name: Starts(rates[name], read_starts(raw), now) for name, raw, now in rows}

    def _fetch(
        self, client_id: str, demands: Sequence[LimitedDemand], found: Mapping[str, int], limit: int
    ) -> list[ClaimedJob]:
        if all(demand.ageing is None for demand in demands):
            plain = [Demand(queue=demand.queue, limit=found[demand.queue]) for demand in demands]
            return self.job_fetch(client_id, plain, limit)
        rows = self._run(
            "job_fetch_aged",
            client_id=client_id,
            queues=[demand.queue for demand in demands],
            limits=[found[demand.queue] for demand in demands],
            ageing=[demand.ageing or float("inf") for demand in demands],
            limit=limit,
            attempted_by_limit=ATTEMPTED_BY_LIMIT,
        )
        return [ClaimedJob._make(row) for row in rows]
