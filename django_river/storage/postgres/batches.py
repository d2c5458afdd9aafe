"""Claims by kind on Postgres; what each statement does is said in ``river_batch.sql``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

from django_river.storage.base import ATTEMPTED_BY_LIMIT, ClaimedJob, Demand
from django_river.storage.batches import LOOK_AT, LeftOut, LivingClient, Wanted
from django_river.storage.postgres.leaders import LeadersDriver
from django_river.terms import Term


class BatchesDriver(LeadersDriver):
    """The part of the driver that is about batches."""

    def client_list_living(self, alive_for: timedelta) -> list[LivingClient]:
        rows = self._run("client_list_living", alive_for=alive_for)
        return [LivingClient(id, json.loads(queues)) for id, queues in rows]

    def job_fetch_matching(
        self, client_id: str, wanted: Sequence[Wanted], *, term: Term | None = None
    ) -> list[ClaimedJob]:
        if term is not None:
            with self.session.atomic():
                if not self._run("leader_hold", leader_id=term.leader_id, elected_at=term.elected_at):
                    return []
                return self.job_fetch_matching(client_id, wanted)
        rows = self._run(
            "job_fetch_matching",
            client_id=client_id,
            queues=[want.queue for want in wanted],
            kinds=[want.kind for want in wanted],
            arguments=[want.argument for want in wanted],
            values=[want.value for want in wanted],
            limits=[want.limit for want in wanted],
            depth=LOOK_AT,
            attempted_by_limit=ATTEMPTED_BY_LIMIT,
        )
        return [ClaimedJob._make(row) for row in rows]

    def job_fetch_without(
        self, client_id: str, demands: Sequence[Demand], limit: int, left_out: Sequence[LeftOut]
    ) -> list[ClaimedJob]:
        rows = self._run(
            "job_fetch_without",
            client_id=client_id,
            queues=[demand.queue for demand in demands],
            limits=[demand.limit for demand in demands],
            out_queues=[out.queue for out in left_out],
            out_kinds=[out.kind for out in left_out],
            out_seconds=[out.seconds for out in left_out],
            limit=limit,
            depth=LOOK_AT,
            attempted_by_limit=ATTEMPTED_BY_LIMIT,
        )
        return [ClaimedJob._make(row) for row in rows]
