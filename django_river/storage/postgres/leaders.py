"""The lease, its terms and sessions on Postgres; what each statement does is said in ``river_leader.sql``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django_river.storage.base import TOPIC_LEADERSHIP, ClaimedJob, Demand, Storage
from django_river.storage.batches import LeftOut
from django_river.storage.leaders import TERMS_KEPT, TERMS_KEPT_FOR, Lease, LeftJob, Renewal, Sight
from django_river.storage.payloads import leadership_payload
from django_river.storage.statements import load
from django_river.terms import Term, TermEnd

SQL = load("django_river.storage.postgres")


class LeadersDriver(Storage):
    """The part of the driver that is about leading."""

    def job_fetch_as_leader(
        self, term: Term, demands: Sequence[Demand], limit: int, left_out: Sequence[LeftOut] = ()
    ) -> list[ClaimedJob]:
        with self.session.atomic():
            if not self._run("leader_hold", leader_id=term.leader_id, elected_at=term.elected_at):
                return []
            if left_out:
                return self.job_fetch_without(term.leader_id, demands, limit, left_out)
            return self.job_fetch(term.leader_id, demands, limit)

    def job_left_by_leaders(self, queues: Sequence[str]) -> list[LeftJob]:
        return [LeftJob._make(row) for row in self._run("job_left_by_leaders", queues=list(queues))]

    def leader_elect(self, client_id: str, ttl: timedelta, *, vanished: Term | None = None) -> Lease | None:
        with self.session.atomic():
            if vanished is not None and self._run(
                "leader_delete_vanished", leader_id=vanished.leader_id, elected_at=vanished.elected_at
            ):
                self._end_term(vanished, TermEnd.LOST)
            for row in self._run("leader_delete_expired"):
                expired = Lease._make(row)
                self._end_term(expired.term, TermEnd.EXPIRED, ended_at=expired.expires_at)
            rows = self._run("leader_elect", leader_id=client_id, ttl=ttl)
            if not rows:
                return None
            lease = Lease._make(rows[0])
            self._run("term_end_others", why=TermEnd.LOST.value)
            self._run("term_begin", client_id=client_id, elected_at=lease.elected_at)
            self._run("term_prune", kept=TERMS_KEPT, kept_for=TERMS_KEPT_FOR)
            return lease

    def leader_renew(self, term: Term, ttl: timedelta) -> Renewal | None:
        rows = self._run("leader_renew", leader_id=term.leader_id, elected_at=term.elected_at, ttl=ttl)
        return Renewal(Lease(*rows[0][:3]), rows[0][3]) if rows else None

    def leader_request_resign(self) -> str | None:
        with self.session.atomic():
            rows = self._run("leader_request_resign")
            if not rows:
                return None
            self.notify_many(TOPIC_LEADERSHIP, [leadership_payload("request_resign", "")])
            return str(rows[0][0])

    def leader_resign(self, term: Term, why: TermEnd = TermEnd.RESIGNED) -> bool:
        with self.session.atomic():
            rows = self._run("leader_resign", leader_id=term.leader_id, elected_at=term.elected_at)
            self._end_term(term, why)
            if rows:
                self.notify_many(TOPIC_LEADERSHIP, [leadership_payload("resigned", term.leader_id)])
        return bool(rows)

    def leader_rival_exists(self, client_id: str, preference: int, alive_for: timedelta) -> bool:
        rows = self._run(
            "leader_rival_exists", client_id=client_id, preference=preference, alive_for=alive_for
        )
        return bool(rows[0][0])

    def leader_watch(self, *, with_queues: bool = False) -> Sight | None:
        rows = self._run("leader_watch", with_queues=with_queues)
        return Sight(Lease(*rows[0][:3]), *rows[0][3:]) if rows else None

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        return self.session.execute(SQL[statement], params)

    def _end_term(self, term: Term, why: TermEnd, *, ended_at: datetime | None = None) -> None:
        self._run(
            "term_end",
            client_id=term.leader_id,
            elected_at=term.elected_at,
            ended_at=ended_at,
            why=why.value,
        )
