"""The lease and its terms on SQLite; what each statement does is said in ``river_leader.sql``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django_river.storage.base import ClaimedJob, Demand, Storage
from django_river.storage.batches import LeftOut
from django_river.storage.leaders import TERMS_KEPT, TERMS_KEPT_FOR, Lease, LeftJob, Renewal, Sight
from django_river.storage.sqlite.moments import as_moment, as_text
from django_river.storage.statements import load
from django_river.terms import Term, TermEnd

SQL = load("django_river.storage.sqlite")


class LeadersDriver(Storage):
    """The part of the driver that is about leading."""

    def job_fetch_as_leader(
        self, term: Term, demands: Sequence[Demand], limit: int, left_out: Sequence[LeftOut] = ()
    ) -> list[ClaimedJob]:
        # First a look: an idle leader must not take the write lock at every poll.
        if not self._run("job_ready_queues", queues=json.dumps([demand.queue for demand in demands])):
            return []
        with self.session.atomic():
            if not self._run("leader_hold", leader_id=term.leader_id, elected_at=as_text(term.elected_at)):
                return []
            if left_out:
                return self.job_fetch_without(term.leader_id, demands, limit, left_out)
            return self.job_fetch(term.leader_id, demands, limit)

    def job_left_by_leaders(self, queues: Sequence[str]) -> list[LeftJob]:
        rows = self._run("job_left_by_leaders", queues=json.dumps(list(queues)))
        return [LeftJob._make(row) for row in rows]

    def leader_elect(self, client_id: str, ttl: timedelta, *, vanished: Term | None = None) -> Lease | None:
        with self.session.atomic():
            for row in self._run("leader_delete_expired"):
                expired = _lease(row)
                self._end_term(expired.term, TermEnd.EXPIRED, ended_at=expired.expires_at)
            now = datetime.now(UTC)
            rows = self._run(
                "leader_elect", now=as_text(now), leader_id=client_id, expires_at=as_text(now + ttl)
            )
            if not rows:
                return None
            lease = _lease(rows[0])
            self._run("term_end_others", why=TermEnd.LOST.value)
            self._run("term_begin", client_id=client_id, elected_at=as_text(lease.elected_at))
            self._run("term_prune", kept=TERMS_KEPT, kept_after=as_text(now - TERMS_KEPT_FOR))
            return lease

    def leader_renew(self, term: Term, ttl: timedelta) -> Renewal | None:
        rows = self._run(
            "leader_renew",
            leader_id=term.leader_id,
            elected_at=as_text(term.elected_at),
            expires_at=as_text(datetime.now(UTC) + ttl),
        )
        return Renewal(_lease(rows[0]), bool(rows[0][3])) if rows else None

    def leader_request_resign(self) -> str | None:
        seen = self.leader_watch()
        if seen is None or seen.seconds_left < 0:
            return None
        self._run("leader_request_resign")
        return seen.lease.leader_id

    def leader_resign(self, term: Term, why: TermEnd = TermEnd.RESIGNED) -> bool:
        with self.session.atomic():
            rows = self._run("leader_resign", leader_id=term.leader_id, elected_at=as_text(term.elected_at))
            self._end_term(term, why)
        return bool(rows)

    def leader_rival_exists(self, client_id: str, preference: int, alive_for: timedelta) -> bool:
        rows = self._run(
            "leader_rival_exists",
            client_id=client_id,
            preference=preference,
            alive_after=as_text(datetime.now(UTC) - alive_for),
        )
        return bool(rows[0][0])

    def leader_watch(self, *, with_queues: bool = False) -> Sight | None:
        rows = self._run("leader_watch")
        if not rows:
            return None
        lease = _lease(rows[0])
        left = (lease.expires_at - datetime.now(UTC)).total_seconds()
        return Sight(lease, left, is_vanished=False, queues=self.job_queues() if with_queues else None)

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        return self.session.execute(SQL[statement], {"now": as_text(datetime.now(UTC)), **params})

    def _end_term(self, term: Term, why: TermEnd, *, ended_at: datetime | None = None) -> None:
        self._run(
            "term_end",
            client_id=term.leader_id,
            elected_at=as_text(term.elected_at),
            ended_at=as_text(ended_at or datetime.now(UTC)),
            why=why.value,
        )


def _lease(row: tuple[Any, ...]) -> Lease:
    return Lease(row[0], as_moment(row[1]), as_moment(row[2]))
