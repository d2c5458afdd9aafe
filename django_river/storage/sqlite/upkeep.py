"""What the leader does, on SQLite."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django_river.faults import Fault
from django_river.jobs.run_times import KEPT_FOR_DAYS, KEPT_OLDER, KEPT_PER_HOUR, Sample
from django_river.jobs.states import State
from django_river.storage.sqlite.moments import as_moment, as_text
from django_river.storage.statements import load
from django_river.storage.upkeep import (
    CleanedPage,
    ClientSight,
    QueuePage,
    RescuedJob,
    Retention,
    RunningJob,
    Sights,
    Upkeep,
)

SQL = load("django_river.storage.sqlite")


class SqliteUpkeep(Upkeep):
    """What each statement does is said in ``upkeep.sql``."""

    def client_clean(self, *, gone_for: timedelta, limit: int) -> list[str]:
        return [id for (id,) in self._run("client_clean", gone_before=_ago(gone_for), limit=limit)]

    def client_lose(self, sight: ClientSight, why: Fault, *, silent_for: timedelta) -> bool:
        heard_before = _ago(silent_for)
        return bool(self._run("client_lose", id=sight.id, why=why.value, heard_before=heard_before))

    def client_watch(self, *, with_queues: bool = False) -> Sights:
        now = datetime.now(UTC)
        rows = self._run("client_watch")
        return Sights(
            [
                ClientSight(id, session, (now - as_moment(heard_at)).total_seconds(), is_session_gone=False)
                for id, session, heard_at in rows
            ],
            at=now.timestamp(),
            due_in=self.job_seconds_until_due(),
            queues=[queue for (queue,) in self._run("job_queues")] if with_queues else None,
        )

    def index_drop(self, name: str) -> None:
        """There is nothing to drop."""

    def index_leftovers(self) -> list[str]:
        return []

    def index_list(self) -> list[str]:
        """None: SQLite's REINDEX keeps everybody else from writing."""
        return []

    def index_rebuild(self, name: str) -> None:
        """There is nothing to rebuild."""

    def index_seconds_until(self, at: time) -> float:
        now = datetime.now(UTC)
        today = datetime.combine(now, at, UTC)
        return (today + timedelta(days=today <= now) - now).total_seconds()

    def job_clean(
        self, retention: Retention, *, after: int, span: int, slack: timedelta, limit: int
    ) -> CleanedPage:
        rows = self._run(
            "job_page" if retention.state is State.COMPLETED else "job_page_failed",
            state=retention.state.value,
            kept_after=_ago(retention.kept_for),
            front=_ago(retention.kept_for + slack),
            queues=json.dumps(retention.queues),
            is_for_others=retention.is_for_others,
            after=after,
            span=span,
            limit=limit,
        )
        over = [id for id, _, is_over in rows if is_over]
        # Read first: who deletes nothing must not take the write lock.
        deleted = self._clean(over, retention) if over else 0
        old = [id for id, is_old, _ in rows if is_old]
        old_id = old[-1] if old else None
        if rows and old_id != rows[-1][0]:
            return CleanedPage(len(rows), deleted, old_id, has_more=False)
        if len(rows) == limit:
            return CleanedPage(limit, deleted, old_id, has_more=True)
        if after + span < self._last_id(retention.state) and self.leader_lasts():
            return CleanedPage(len(rows), deleted, after + span, has_more=True)
        return CleanedPage(len(rows), deleted, old_id, has_more=False)

    def job_flag(self, job: RunningJob, *, usual: float, cancel: bool) -> bool:
        return bool(self._run("job_flag", usual=usual, cancel=cancel, **_attempt_at(job)))

    def job_old(self, older_than: timedelta, *, limit: int) -> list[RunningJob]:
        now = datetime.now(UTC)
        rows = self._run("job_old", began_before=_ago(older_than), limit=limit)
        return [
            RunningJob(id, kind, queue, priority, attempt, owner, (now - as_moment(began_at)).total_seconds())
            for id, kind, queue, priority, attempt, owner, began_at in rows
        ]

    def job_take(self, job: RunningJob, *, error: str) -> bool:
        with self.session.atomic():
            rows = self._run("job_take", error=error, **_attempt_at(job))
            if rows:
                self._run("run_time_add_cut_off", kind=job.kind, seconds=job.seconds)
        return bool(rows)

    def run_time_clean(self) -> None:
        self._run(
            "run_time_clean",
            kept_per_hour=KEPT_PER_HOUR,
            kept_older=KEPT_OLDER,
            kept_after=_ago(timedelta(days=KEPT_FOR_DAYS)),
            a_day_ago=_ago(timedelta(days=1)),
        )

    def run_time_list(self) -> dict[str, list[Sample]]:
        samples: dict[str, list[Sample]] = {}
        now = datetime.now(UTC)
        for kind, at, seconds, was_cut_off in self._run("run_time_list"):
            sample = Sample((now - as_moment(at)).total_seconds(), seconds, bool(was_cut_off))
            samples.setdefault(kind, []).append(sample)
        return samples

    def job_rescue(
        self,
        *,
        rescue_after: timedelta | None,
        client_timeout: timedelta,
        poison_after: int,
        known_kinds: Sequence[str],
        limit: int,
    ) -> list[RescuedJob]:
        rows = self._run(
            "job_rescue",
            lost_before=None if rescue_after is None else _ago(rescue_after),
            alive_after=_ago(client_timeout),
            poison_after=poison_after,
            known_kinds=json.dumps(list(known_kinds)),
            limit=limit,
        )
        return sorted(
            RescuedJob(id, kind, queue, state, why or "", bool(is_poison))
            for id, kind, queue, state, why, is_poison in rows
        )

    def job_schedule(self, limit: int) -> list[tuple[str, int]]:
        return self._schedule(None, limit)

    def job_schedule_vacant(self, queues: Sequence[str], limit: int) -> list[tuple[str, int]]:
        return self._schedule(json.dumps(list(queues)), limit)

    def job_seconds_until_due(self) -> float | None:
        ((due_at,),) = self._run("job_seconds_until_due")
        return None if due_at is None else (as_moment(due_at) - datetime.now(UTC)).total_seconds()

    def leader_holds(self) -> bool:
        return bool(self._run("leader_hold"))

    def leader_lasts(self) -> bool:
        return bool(self._run("leader_lasts")[0][0])

    def leader_lease(self) -> float | None:
        rows = self._run("leader_lease")
        return (as_moment(rows[0][0]) - datetime.now(UTC)).total_seconds() if rows else None

    def queue_clean(self, names: Sequence[str], *, untouched_for: timedelta) -> list[str]:
        rows = self._run("queue_clean", names=json.dumps(list(names)), touched_before=_ago(untouched_for))
        return [name for (name,) in rows]

    def queue_idle(self, *, untouched_for: timedelta, keep: Collection[str], limit: int) -> list[str]:
        rows = self._run(
            "queue_idle", touched_before=_ago(untouched_for), keep=json.dumps(list(keep)), limit=limit
        )
        return [name for (name,) in rows]

    def queue_names(self) -> list[str]:
        return [name for (name,) in self._run("queue_names")]

    def queue_search(self, names: Sequence[str], *, after: int, limit: int) -> QueuePage:
        ((found, last_id),) = self._run(
            "queue_search", names=json.dumps(list(names)), after=after, limit=limit
        )
        return QueuePage(json.loads(found), last_id)

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        """Run a statement in the name of our term."""
        named = {
            "now": _ago(timedelta(0)),
            "leader_id": self.term and self.term.leader_id,
            "elected_at": self.term and as_text(self.term.elected_at),
        }
        return self.session.execute(SQL[statement], named | params)

    def _clean(self, ids: list[int], retention: Retention) -> int:
        with self.session.atomic():
            if not self.leader_lasts():
                return 0
            rows = self._run(
                "job_clean",
                ids=json.dumps(ids),
                state=retention.state.value,
                kept_after=_ago(retention.kept_for),
            )
        return len(rows)

    def _last_id(self, state: State) -> int:
        if state is State.COMPLETED:
            rows = self._run("job_last")
        else:
            rows = self._run("job_last_failed", state=state.value)
        return rows[0][0] or 0

    def _schedule(self, queues: str | None, limit: int) -> list[tuple[str, int]]:
        if not self._run("job_due", queues=queues, limit=1):
            return []
        moved: Counter[str] = Counter()
        with self.session.atomic():
            if not self._may_schedule():
                return []
            for id, queue in self._run("job_due", queues=queues, limit=limit):
                if self._run("job_make_available", id=id):
                    moved[queue] += 1
                else:
                    self._run("job_discard_conflicting", id=id)
        return list(moved.items())

    def _may_schedule(self) -> bool:
        """In our term; or, without one, while nobody leads."""
        if self.term is not None:
            return self.leader_lasts()
        lease = self.leader_lease()
        return lease is None or lease <= 0


def _ago(span: timedelta) -> str:
    return as_text(datetime.now(UTC) - span)


def _attempt_at(job: RunningJob) -> dict[str, Any]:
    return {"id": job.id, "attempt": job.attempt, "client_id": job.client_id}
