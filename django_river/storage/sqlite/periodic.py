"""Periodic jobs on SQLite."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django_river.storage.periodic import (
    LiveClient,
    PeriodicRow,
    PeriodicState,
    PeriodicStorage,
    RegistryInForce,
)
from django_river.storage.sqlite.moments import as_moment, as_text
from django_river.storage.statements import load


class SqlitePeriodic(PeriodicStorage):
    """What each statement does is said in ``periodic.sql``."""

    statements = load("django_river.storage.sqlite")

    def now(self) -> datetime:
        return datetime.now(UTC)

    def client_list_live(self, client_timeout: timedelta) -> list[LiveClient]:
        now = self.now()
        rows = self._run("client_list_live", alive_after=as_text(now - client_timeout))
        return [
            LiveClient(
                id,
                host,
                pid,
                as_moment(started_at),
                (now - as_moment(beat_at)).total_seconds(),
                release,
                hash,
            )
            for id, host, pid, started_at, beat_at, release, hash in rows
        ]

    def periodic_list_states(self) -> list[PeriodicState]:
        rows = self._run("periodic_list_states")
        return [PeriodicState(name, entry, at and as_moment(at)) for name, entry, at in rows]

    def periodic_replace(self, rows: Sequence[PeriodicRow]) -> None:
        with self.atomic():
            self._run("periodic_delete_others", names=json.dumps([row.name for row in rows]))
            for row in rows:
                moments = {
                    "next_run_at": row.next_run_at and as_text(row.next_run_at),
                    "extra_run_at": row.extra_run_at and as_text(row.extra_run_at),
                }
                self._run("periodic_put", **(dataclasses.asdict(row) | moments))

    def registry_in_force(self) -> RegistryInForce | None:
        for hash, release, since in self._run("registry_in_force"):
            return RegistryInForce(hash, release, as_moment(since))
        return None

    def registry_lock(self) -> None:
        """The transaction has the write lock from its beginning."""

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        return super()._run(statement, now=as_text(self.now()), **params)
