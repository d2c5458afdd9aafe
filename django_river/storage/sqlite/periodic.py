"""Periodic jobs on SQLite."""

from __future__ import annotations

import dataclasses
import json
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
from django_river.storage.sqlite.moments import as_moment, as_text
from django_river.storage.statements import load

SECOND = timedelta(seconds=1)


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

    def periodic_advance_many(self, advances: Sequence[PeriodicAdvance]) -> None:
        for each in advances:
            self._run(
                "periodic_advance",
                name=each.name,
                next_run_at=_text(each.next_run_at),
                last_run_at=_text(each.last_run_at),
                last_job_id=each.last_job_id,
            )

    def periodic_get(self, name: str) -> PausedPeriodic | None:
        for entry, next_run_at, is_paused in self._run("periodic_get", name=name):
            return PausedPeriodic(entry, _moment(next_run_at), bool(is_paused))
        return None

    def periodic_list_due(self, within: timedelta) -> tuple[datetime, list[DuePeriodic]]:
        now = self.now()
        rows = self._run("periodic_list_due", until=_text(now + within), soon=_text(now + SECOND))
        due = [
            DuePeriodic(name, fingerprint, _moment(next), _moment(extra), _moment(last), bool(has_failed))
            for name, fingerprint, next, extra, last, has_failed in rows
        ]
        return now, due

    def periodic_list_outcomes(self, job_ids: Sequence[int]) -> list[JobOutcome]:
        rows = self._run("periodic_list_outcomes", job_ids=json.dumps(list(job_ids)))
        return [JobOutcome(id, state, _moment(at)) for id, state, at in rows]

    def periodic_list_states(self) -> list[PeriodicState]:
        rows = self._run("periodic_list_states")
        return [PeriodicState(name, entry, _moment(at)) for name, entry, at in rows]

    def periodic_list_watched(self) -> list[WatchedPeriodic]:
        rows = self._run("periodic_list_watched")
        return [WatchedPeriodic(*row) for row in rows]

    def periodic_move_many(self, wanted: Sequence[PeriodicTake], advances: Sequence[PeriodicAdvance]) -> bool:
        """Nobody else can write meanwhile."""
        taken = self.periodic_take(wanted)
        self.periodic_advance_many(advances)
        return len(taken) == len(wanted) and not any(each.is_blocked for each in taken)

    def periodic_note_outcomes(self, outcomes: Mapping[str, Sequence[JobOutcome]]) -> None:
        with self.atomic():
            for name, found in outcomes.items():
                last = last_of(found)
                self._run(
                    "periodic_note_outcome",
                    name=name,
                    outcome=last.state,
                    finished_at=_text(last.finalized_at),
                    success_at=_text(last_success(found)),
                )

    def periodic_note_overdue(self) -> list[ExpectedPeriodic]:
        now = self.now()
        changed = []
        for name, kind, since, last_success_at, within, was_overdue in self._run("periodic_list_expected"):
            is_overdue = as_moment(since) + timedelta(seconds=within) < now
            if is_overdue != bool(was_overdue):
                self._run(
                    "periodic_mark_overdue", name=name, overdue_since=_text(now if is_overdue else None)
                )
                changed.append(ExpectedPeriodic(name, kind, _moment(last_success_at), within, is_overdue))
        return changed

    def periodic_replace(self, rows: Sequence[PeriodicRow]) -> None:
        with self.atomic():
            self._run("periodic_delete_others", names=json.dumps([row.name for row in rows]))
            for row in rows:
                moments = {
                    "next_run_at": _text(row.next_run_at),
                    "extra_run_at": _text(row.extra_run_at),
                }
                self._run("periodic_put", **(dataclasses.asdict(row) | moments))

    def periodic_resume(self, name: str, next_run_at: datetime | None) -> None:
        self._run("periodic_resume", name=name, next_run_at=_text(next_run_at))

    def periodic_take(self, wanted: Sequence[PeriodicTake]) -> list[TakenPeriodic]:
        taken = []
        for each in wanted:
            seen = (each.next_run_at, each.extra_run_at)
            rows = self._run(
                "periodic_take",
                name=each.name,
                fingerprint=each.fingerprint,
                may_overlap=each.may_overlap,
            )
            for next_run_at, extra_run_at, is_blocked in rows:
                if (_moment(next_run_at), _moment(extra_run_at)) == seen:
                    taken.append(TakenPeriodic(each.name, bool(is_blocked)))
        return taken

    def registry_in_force(self) -> RegistryInForce | None:
        for hash, release, since in self._run("registry_in_force"):
            return RegistryInForce(hash, release, as_moment(since))
        return None

    def registry_lock(self) -> None:
        """The transaction has the write lock from its beginning."""

    def registry_notify(self, hash: str) -> None:
        """Nobody can listen."""

    def _run(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        return super()._run(statement, now=as_text(self.now()), **params)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else as_text(moment)


def _moment(value: str | datetime | None) -> datetime | None:
    return None if value is None else as_moment(value)
