"""Claims by kind on SQLite; what each statement does is said in ``river_batch.sql``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django_river.storage.base import ATTEMPTED_BY_LIMIT, ClaimedJob, Demand
from django_river.storage.batches import LOOK_AT, LeftOut, LivingClient, Wanted
from django_river.storage.sqlite.leaders import LeadersDriver
from django_river.storage.sqlite.moments import as_moment, as_text
from django_river.terms import Term


class BatchesDriver(LeadersDriver):
    """The part of the driver that is about batches."""

    def client_list_living(self, alive_for: timedelta) -> list[LivingClient]:
        rows = self._run("client_list_living", alive_after=as_text(datetime.now(UTC) - alive_for))
        return [LivingClient(id, json.loads(queues)) for id, queues in rows]

    def job_fetch_matching(
        self, client_id: str, wanted: Sequence[Wanted], *, term: Term | None = None
    ) -> list[ClaimedJob]:
        claimed: list[ClaimedJob] = []
        with self.session.atomic():
            if term is not None and not self._run(
                "leader_hold", leader_id=term.leader_id, elected_at=as_text(term.elected_at)
            ):
                return []
            for want in wanted:
                claimed += self._claim(
                    "job_fetch_matching",
                    client_id=client_id,
                    queue=want.queue,
                    kind=want.kind,
                    argument=want.argument,
                    value=want.value,
                    limit=want.limit,
                )
        return claimed

    def job_fetch_without(
        self, client_id: str, demands: Sequence[Demand], limit: int, left_out: Sequence[LeftOut]
    ) -> list[ClaimedJob]:
        ready = {
            name for (name,) in self._run("job_ready_queues", queues=json.dumps([d.queue for d in demands]))
        }
        now = datetime.now(UTC)
        claimed: list[ClaimedJob] = []
        with self.session.atomic():
            for demand in demands:
                room = min(demand.limit, limit - len(claimed))
                if demand.queue not in ready or room <= 0:
                    continue
                out = [
                    [out.kind, as_text(now - timedelta(seconds=out.seconds))]
                    for out in left_out
                    if out.queue == demand.queue
                ]
                claimed += self._claim(
                    "job_fetch_without",
                    client_id=client_id,
                    queue=demand.queue,
                    left_out=json.dumps(out),
                    limit=room,
                )
        return claimed

    def _claim(self, statement: str, **params: Any) -> list[ClaimedJob]:
        rows = self._run(statement, attempted_by_limit=ATTEMPTED_BY_LIMIT, depth=LOOK_AT, **params)
        # RETURNING knows no order.
        rows.sort(key=lambda row: (row[3], row[9], row[0]))
        return [as_claimed(row) for row in rows]


def as_claimed(row: tuple[Any, ...]) -> ClaimedJob:
    """A job as a claim answers with it: the moment it was due comes last."""
    *columns, scheduled_at = row
    return ClaimedJob._make((*columns, (datetime.now(UTC) - as_moment(scheduled_at)).total_seconds()))
