"""Periodic jobs on Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django_river.storage.periodic import (
    DuePeriodic,
    ExpectedPeriodic,
    JobOutcome,
    LiveClient,
    PausedPeriodic,
    PeriodicAdvance,
    PeriodicRow,
    PeriodicState,
    PeriodicStorage,
    PeriodicTake,
    RegistryInForce,
    TakenPeriodic,
    WatchedPeriodic,
    last_of,
    last_success,
)
from django_river.storage.statements import load


class PostgresPeriodic(PeriodicStorage):
    """What each statement does is said in ``periodic.sql``."""

    statements = load("django_river.storage.postgres")

    def now(self) -> datetime:
        moment: datetime = self._run("now")[0][0]
        return moment

    def client_list_live(self, client_timeout: timedelta) -> list[LiveClient]:
        return [LiveClient(*row) for row in self._run("client_list_live", client_timeout=client_timeout)]

    def periodic_advance_many(self, advances: Sequence[PeriodicAdvance]) -> None:
        self._run(
            "periodic_advance_many",
            names=[each.name for each in advances],
            next_run_at=[each.next_run_at for each in advances],
            last_run_at=[each.last_run_at for each in advances],
            last_job_ids=[each.last_job_id for each in advances],
        )

    def periodic_get(self, name: str) -> PausedPeriodic | None:
        rows = self._run("periodic_get", name=name)
        return PausedPeriodic(*rows[0]) if rows else None

    def periodic_list_due(self, within: timedelta) -> tuple[datetime, list[DuePeriodic]]:
        rows = self._run("periodic_list_due", within=within)
        return rows[0][0], [DuePeriodic(*row) for _, *row in rows if row[0] is not None]

    def periodic_list_outcomes(self, job_ids: Sequence[int]) -> list[JobOutcome]:
        return [JobOutcome(*row) for row in self._run("periodic_list_outcomes", job_ids=list(job_ids))]

    def periodic_list_states(self) -> list[PeriodicState]:
        return [PeriodicState(*row) for row in self._run("periodic_list_states")]

    def periodic_list_watched(self) -> list[WatchedPeriodic]:
        return [WatchedPeriodic(*row) for row in self._run("periodic_list_watched")]

    def periodic_move_many(self, wanted: Sequence[PeriodicTake], advances: Sequence[PeriodicAdvance]) -> bool:
        moved = self._run(
            "periodic_move_many",
            names=[each.name for each in wanted],
            fingerprints=[each.fingerprint for each in wanted],
            seen_next_run_at=[each.next_run_at for each in wanted],
            seen_extra_run_at=[each.extra_run_at for each in wanted],
            may_overlap=[each.may_overlap for each in wanted],
            next_run_at=[each.next_run_at for each in advances],
            last_run_at=[each.last_run_at for each in advances],
            last_job_ids=[each.last_job_id for each in advances],
        )
        return len(moved) == len(wanted)

    def periodic_note_outcomes(self, outcomes: Mapping[str, Sequence[JobOutcome]]) -> None:
        last = {name: last_of(found) for name, found in outcomes.items()}
        self._run(
            "periodic_note_outcomes",
            names=list(outcomes),
            outcomes=[last[name].state for name in outcomes],
            finished_at=[last[name].finalized_at for name in outcomes],
            success_at=[last_success(found) for found in outcomes.values()],
        )

    def periodic_note_overdue(self) -> list[ExpectedPeriodic]:
        return [ExpectedPeriodic(*row) for row in self._run("periodic_note_overdue")]

    def periodic_replace(self, rows: Sequence[PeriodicRow]) -> None:
        with self.atomic():
            self._run("periodic_delete_others", names=[row.name for row in rows])
            self._run(
                "periodic_put_many",
                names=[row.name for row in rows],
                kinds=[row.kind for row in rows],
                schedules=[row.schedule for row in rows],
                entries=[row.entry for row in rows],
                fingerprints=[row.fingerprint for row in rows],
                next_run_at=[row.next_run_at for row in rows],
                extra_run_at=[row.extra_run_at for row in rows],
                expect_success_within=[row.expect_success_within for row in rows],
            )

    def periodic_resume(self, name: str, next_run_at: datetime | None) -> None:
        self._run("periodic_resume", name=name, next_run_at=next_run_at)

    def periodic_take(self, wanted: Sequence[PeriodicTake]) -> list[TakenPeriodic]:
        rows = self._run(
            "periodic_take",
            names=[each.name for each in wanted],
            fingerprints=[each.fingerprint for each in wanted],
            next_run_at=[each.next_run_at for each in wanted],
            extra_run_at=[each.extra_run_at for each in wanted],
            may_overlap=[each.may_overlap for each in wanted],
        )
        return [TakenPeriodic(*row) for row in rows]

    def registry_in_force(self) -> RegistryInForce | None:
        rows = self._run("registry_in_force")
        return RegistryInForce(*rows[0]) if rows else None

    def registry_lock(self) -> None:
        self._run("registry_lock")

    def registry_notify(self, hash: str) -> None:
        self._run("registry_notify", hash=hash)

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        """In UTC, whatever the zone of the connection: sums of moments in another zone are those of its clock."""
        return [tuple(map(_in_utc, row)) for row in super()._run(statement, **params)]


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
