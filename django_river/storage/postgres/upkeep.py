"""What the leader does, on Postgres."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import time, timedelta
from typing import Any

from django.db import IntegrityError, OperationalError
from psycopg.errors import LockNotAvailable

from django_river.chance import chance
from django_river.faults import Fault
from django_river.jobs.run_times import KEPT_FOR_DAYS, KEPT_OLDER, KEPT_PER_HOUR, Sample
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

SQL = load("django_river.storage.postgres")
#: How long to wait for whoever is about to take or free a unique key.
LOCK_TIMEOUT = "50ms"


class PostgresUpkeep(Upkeep):
    """What each statement does is said in ``upkeep.sql``."""

    def client_clean(self, *, gone_for: timedelta, limit: int) -> list[str]:
        return [id for (id,) in self._run("client_clean", gone_for=gone_for, limit=limit)]

    def client_lose(self, sight: ClientSight, why: Fault, *, silent_for: timedelta) -> bool:
        return bool(
            self._run("client_lose", id=sight.id, session=sight.session, why=why.value, silent_for=silent_for)
        )

    def client_watch(self, *, with_queues: bool = False) -> Sights:
        rows = self._run("client_watch", with_queues=with_queues)
        clients = [ClientSight(*row[:4]) for row in rows if row[0] is not None]
        return Sights(clients, *rows[0][4:])

    def index_drop(self, name: str) -> None:
        self.session.execute(SQL["index_drop"].format(index=name), {})

    def index_leftovers(self) -> list[str]:
        return [name for (name,) in self._run("index_leftovers")]

    def index_list(self) -> list[str]:
        return [name for (name,) in self._run("index_list")]

    def index_rebuild(self, name: str) -> None:
        self.session.execute(SQL["index_rebuild"].format(index=name), {})

    def index_seconds_until(self, at: time) -> float:
        seconds: float = self._run("index_seconds_until", hour=at.hour, minute=at.minute)[0][0]
        return seconds

    def job_clean(
        self, retention: Retention, *, after: int, span: int, slack: timedelta, limit: int
    ) -> CleanedPage:
        ((examined, deleted, passed_id, has_more),) = self._run(
            "job_clean",
            state=retention.state.value,
            kept_for=retention.kept_for,
            queues=list(retention.queues),
            is_for_others=retention.is_for_others,
            after=after,
            span=span,
            slack=slack,
            limit=limit,
        )
        return CleanedPage(examined, deleted, passed_id, has_more)

    def job_flag(self, job: RunningJob, *, usual: float, cancel: bool) -> bool:
        return bool(self._run("job_flag", usual=usual, cancel=cancel, **_attempt_at(job)))

    def job_old(self, older_than: timedelta, *, limit: int) -> list[RunningJob]:
        rows = self._run("job_old", older_than=older_than, limit=limit)
        return [RunningJob._make(row) for row in rows]

    def job_take(self, job: RunningJob, *, error: str) -> bool:
        return bool(self._run("job_take", error=error, **_attempt_at(job)))

    def run_time_clean(self) -> None:
        self._run(
            "run_time_clean",
            kept_per_hour=KEPT_PER_HOUR,
            kept_older=KEPT_OLDER,
            kept_for=timedelta(days=KEPT_FOR_DAYS),
        )

    def run_time_list(self) -> dict[str, list[Sample]]:
        samples: dict[str, list[Sample]] = {}
        for kind, *sample in self._run("run_time_list"):
            samples.setdefault(kind, []).append(Sample(*sample))
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
            rescue_after=rescue_after,
            client_timeout=client_timeout,
            poison_after=poison_after,
            known_kinds=list(known_kinds),
            limit=limit,
        )
        return sorted(RescuedJob._make(row) for row in rows)

    def job_schedule(self, limit: int) -> list[tuple[str, int]]:
        return self._schedule(None, limit)

    def job_schedule_vacant(self, queues: Sequence[str], limit: int) -> list[tuple[str, int]]:
        return self._schedule(list(queues), limit)

    def job_seconds_until_due(self) -> float | None:
        seconds: float | None = self._run("job_seconds_until_due")[0][0]
        return seconds

    def leader_holds(self) -> bool:
        return bool(self._run("leader_hold"))

    def leader_lasts(self) -> bool:
        return bool(self._run("leader_lasts")[0][0])

    def leader_lease(self) -> float | None:
        rows = self._run("leader_lease")
        return rows[0][0] if rows else None

    def queue_clean(self, names: Sequence[str], *, untouched_for: timedelta) -> list[str]:
        rows = self._run("queue_clean", names=list(names), untouched_for=untouched_for)
        return [name for (name,) in rows]

    def queue_idle(self, *, untouched_for: timedelta, keep: Collection[str], limit: int) -> list[str]:
        rows = self._run("queue_idle", untouched_for=untouched_for, keep=list(keep), limit=limit)
        return [name for (name,) in rows]

    def queue_names(self) -> list[str]:
        return [name for (name,) in self._run("queue_names")]

    def queue_search(self, names: Sequence[str], *, after: int, limit: int) -> QueuePage:
        ((found, last_id),) = self._run("queue_search", names=list(names), after=after, limit=limit)
        return QueuePage(found or [], last_id)

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        """Run a statement in the name of our term."""
        term = self.term
        named = {"leader_id": term and term.leader_id, "elected_at": term and term.elected_at}
        return self.session.execute(SQL[statement], named | params)

    def _schedule(self, queues: list[str] | None, limit: int) -> list[tuple[str, int]]:
        moved: list[tuple[str, int]] = []
        for queue, count, takers, _ in self._run("job_schedule", queues=queues, limit=limit):
            moved += [(queue, count)] if takers is None else self._schedule_unique(takers)
        return moved

    def _schedule_unique(self, ids: list[int]) -> list[tuple[str, int]]:
        """All at once if nobody is in the way; else one by one until somebody is, in another order each time."""
        moved = self._try_schedule_unique(ids)
        if moved is not None:
            return moved
        moved = []
        if len(ids) > 1:
            chance.shuffle(ids)
            for id in ids:
                one = self._try_schedule_unique([id])
                if one is None:
                    break
                moved += one
        return moved

    def _try_schedule_unique(self, ids: list[int]) -> list[tuple[str, int]] | None:
        """``None`` if somebody is about to take or free one of the keys, or has just taken it."""
        try:
            rows = self._run("job_schedule_unique", ids=ids, lock_timeout=LOCK_TIMEOUT)
        except IntegrityError:
            return None
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                return None
            raise
        return [(queue, count) for queue, count, _ in rows]


def _attempt_at(job: RunningJob) -> dict[str, Any]:
    return {"id": job.id, "attempt": job.attempt, "client_id": job.client_id}
