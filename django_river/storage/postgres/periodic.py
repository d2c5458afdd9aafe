"""Periodic jobs on Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django_river.storage.periodic import (
    LiveClient,
    PeriodicRow,
    PeriodicState,
    PeriodicStorage,
    RegistryInForce,
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

    def periodic_list_states(self) -> list[PeriodicState]:
        return [PeriodicState(*row) for row in self._run("periodic_list_states")]

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

    def registry_in_force(self) -> RegistryInForce | None:
        rows = self._run("registry_in_force")
        return RegistryInForce(*rows[0]) if rows else None

    def registry_lock(self) -> None:
        self._run("registry_lock")
